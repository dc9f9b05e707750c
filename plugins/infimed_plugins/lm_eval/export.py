"""Our benchmarks as lm-eval tasks, with our grading: ``lm-eval --include_path "$(infimed lm-eval-path)"``."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from infimed_core import ComponentRef, DataError, canonical_json

TEMPLATE = """\
task: {task}
custom_dataset: !function functions.load
dataset_kwargs:
  benchmark: {benchmark}
  settings: {settings}
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
  version: "{version}"
"""

FUNCTIONS = """\
\"\"\"What the task files beside this one call.\"\"\"

from infimed_plugins.lm_eval.functions import grade, images, load, question, reference  # noqa: F401
"""


def write_tasks(directory: Path, uses: Sequence[ComponentRef] | None = None) -> list[str]:
    """Write one task file for every benchmark that needs no settings, or for those of ``uses``; return their names.

    A benchmark that only a judge can grade has no number that lm-eval could compute, and is left out.
    """
    from pydantic import ValidationError

    from infimed_core import load_plugins

    registry = load_plugins()
    directory.mkdir(parents=True, exist_ok=True)
    names = []
    for use in [ComponentRef(use=name) for name in sorted(registry.names("benchmark"))] if uses is None else uses:
        try:
            benchmark = registry.find("benchmark", use.use).model_validate(use.settings)
        except ValidationError:
            continue  # it needs settings, which a task file without them cannot give
        if getattr(benchmark, "needs_judge", False):
            continue
        generation = benchmark.generation()  # type: ignore[attr-defined]
        task = "infimed_" + use.use.rsplit("/", 1)[-1].replace("-", "_")
        text = TEMPLATE.format(
            task=task,
            benchmark=use.use,
            settings=json.dumps(canonical_json(use.settings)),
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


def print_path(
    file: Annotated[
        Path | None, typer.Argument(help="A run file: only its benchmarks, with its settings.", metavar="[FILE]")
    ] = None,
) -> None:
    """Print a folder of task files for `lm-eval --include_path`: InfiMed's benchmarks, with their own grading."""
    uses: Sequence[ComponentRef] | None = None
    name = "lm-eval-tasks"
    if file is not None:
        uses = _benchmarks_of(file)
        name += (
            "-"
            + hashlib.sha256(canonical_json([use.model_dump(mode="json") for use in uses]).encode()).hexdigest()[:12]
        )
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infimed" / name
    try:
        write_tasks(folder, uses)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="infimed-lm-eval-"))
        write_tasks(folder, uses)
    print(folder)


def _benchmarks_of(file: Path) -> Sequence[ComponentRef]:
    """The benchmarks of a run file, their paths made absolute: lm-eval may run elsewhere."""
    from infimed_core import load_plugins, load_run_file

    section = load_run_file(file, load_plugins()).file.evaluation
    if section is None:
        raise DataError("no_benchmarks", f"{file}: has no 'evaluation:' section, so there is no benchmark to offer")
    uses = []
    for use in section.benchmarks:
        settings = dict(use.settings)
        if isinstance(settings.get("path"), str):
            settings["path"] = str(Path(settings["path"]).resolve())
        uses.append(ComponentRef(use=use.use, **{"with": settings}))
    return uses
