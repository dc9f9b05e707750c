"""Our benchmarks as lm-eval tasks, with our grading: ``lm-eval --include_path "$(infimed lm-eval-path)"``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

TEMPLATE = """\
task: {task}
custom_dataset: !function functions.load
dataset_kwargs:
  benchmark: {benchmark}
test_split: test
output_type: generate_until
doc_to_text: !function functions.question
doc_to_target: !function functions.reference
{images}process_results: !function functions.grade
generation_kwargs:
  until: []
  do_sample: false
  max_gen_toks: {max_new_tokens}
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
  - metric: unscored
    aggregation: mean
    higher_is_better: false
metadata:
  version: {version}
"""

FUNCTIONS = """\
\"\"\"What the task files beside this one call.\"\"\"

from infimed_plugins.lm_eval.functions import grade, images, load, question, reference  # noqa: F401
"""


def write_tasks(directory: Path) -> list[str]:
    """Write one task file for every benchmark that needs no settings; return the tasks' names."""
    from pydantic import ValidationError

    from infimed_core.plugins import load_plugins

    registry = load_plugins()
    directory.mkdir(parents=True, exist_ok=True)
    names = []
    for name in sorted(registry.names("benchmark")):
        try:
            benchmark = registry.find("benchmark", name).model_validate({})
        except ValidationError:
            continue  # it needs settings, which a task file without them cannot give
        generation = benchmark.generation()  # type: ignore[attr-defined]
        task = f"infimed_{name.replace('-', '_')}"
        text = TEMPLATE.format(
            task=task,
            benchmark=name,
            images="doc_to_image: !function functions.images\n" if _has_images(benchmark) else "",
            max_new_tokens=generation.max_new_tokens if generation else 64,
            version=benchmark.version,  # type: ignore[attr-defined]
        )
        (directory / f"{task}.yaml").write_text(text, encoding="utf-8")
        names.append(task)
    (directory / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    return names


def _has_images(benchmark: object) -> bool:
    """lm-eval wants to know beforehand; a benchmark says so by ``has_images``, and is taken to have some otherwise."""
    return bool(getattr(benchmark, "has_images", True))


def print_path() -> None:
    """Print a folder of task files for `lm-eval --include_path`: every InfiMed benchmark, with its own grading."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infimed" / "lm-eval-tasks"
    try:
        write_tasks(folder)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="infimed-lm-eval-"))
        write_tasks(folder)
    print(folder)
