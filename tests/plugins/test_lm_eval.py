"""lm-eval and InfiMed give the same accuracy on the same task and answers, sample by sample, in both directions."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Answer, DataError, Sample
from infimed_core.plugins import load_plugins
from infimed_core.testing import check_component, make_image
from infimed_plugins.lm_eval.benchmark import LmEvalTask
from infimed_plugins.lm_eval.export import write_tasks

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval and datasets warn on import; theirs, not ours

TASK = """\
task: colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
{image}generation_kwargs: {{until: ["\\n"], max_gen_toks: 16, do_sample: false}}
filter_list:
  - name: last-word
    filter: [{{function: regex, regex_pattern: "(\\\\w+)\\\\W*$"}}, {{function: take_first}}]
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}}]
"""


def reply(question: str) -> str:
    """A stand-in for a model: right on some questions, in a wording that needs the filter."""
    return f"I think it is {random.Random(question).choice(['red', 'Green', 'blue'])}.\nand more"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    rows = [{"question": f"Colour of {n}?", "answer": ["red", "green", "blue"][n % 3]} for n in range(12)]
    data = tmp_path / "colours.json"
    data.write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "colours.yaml").write_text(TASK.format(data=data, image=""))
    return tmp_path


def lm_eval_samples(task: str, include: Path) -> list[dict[str, Any]]:
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Replies(LM):  # type: ignore[misc]
        MULTIMODAL = True
        tokenizer_name = "none"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            texts = []
            for request in requests:
                text = reply(request.args[0].replace("<image>", ""))
                for stop in request.args[1].get("until") or []:
                    text = text.split(stop)[0]
                texts.append(text)
            return texts

        def loglikelihood(self, requests: list[Any]) -> list[Any]:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: list[Any]) -> list[Any]:
            raise NotImplementedError

    manager = TaskManager(include_path=str(include), include_defaults=False)
    found = lm_eval.simple_evaluate(model=Replies(), tasks=[task], task_manager=manager, bootstrap_iters=0)
    return sorted(found["samples"][task], key=lambda sample: sample["doc_id"])


def test_lm_eval_task_scores_the_same_here_and_there(folder: Path) -> None:
    benchmark = LmEvalTask(task="colours", include_path=str(folder))
    check_component(benchmark)
    ours = []
    for sample in benchmark.samples():
        assert isinstance(sample, Sample)
        answer = Answer(sample_id=sample.id, text=reply(sample.turns[-1].text))
        ours.append(benchmark.grade(sample, answer, "strict").value)
    theirs = [sample["exact_match"] for sample in lm_eval_samples("colours", folder)]
    assert ours == theirs
    assert 0 < sum(theirs) < len(theirs)


def test_task_scored_by_loglikelihood_is_refused_with_a_remedy(folder: Path) -> None:
    text = TASK.format(data=folder / "colours.json", image="").replace("generate_until", "loglikelihood")
    (folder / "colours.yaml").write_text(text)
    with pytest.raises(DataError, match="scored by loglikelihood"):
        list(LmEvalTask(task="colours", include_path=str(folder)).samples())


def test_task_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(DataError, match="no task 'colour'"):
        LmEvalTask(task="colour", include_path=str(folder))._task  # noqa: B018


def test_our_benchmark_scores_the_same_in_lm_eval(tmp_path: Path) -> None:
    names = write_tasks(tmp_path / "tasks")
    assert "infimed_demo_text" in names
    theirs = lm_eval_samples("infimed_demo_text", tmp_path / "tasks")
    benchmark = load_plugins().find("benchmark", "demo-text")()
    ours = []
    for sample in benchmark.samples():  # type: ignore[attr-defined]
        answer = Answer(sample_id=sample.id, text=reply(sample.turns[-1].text))
        ours.append(benchmark.grade(sample, answer, "strict").value or 0.0)  # type: ignore[attr-defined]
    assert ours == [sample["accuracy"] for sample in theirs]


def test_images_of_an_lm_eval_task_reach_the_sample(folder: Path) -> None:
    (folder / "picture.png").write_bytes(make_image())
    (folder / "functions.py").write_text(
        f"from PIL import Image\ndef images(doc):\n    return [Image.open({str(folder / 'picture.png')!r})]\n"
    )
    text = TASK.format(data=folder / "colours.json", image="doc_to_image: !function functions.images\n")
    (folder / "colours.yaml").write_text(text)
    sample = next(iter(LmEvalTask(task="colours", include_path=str(folder)).samples()))
    assert isinstance(sample, Sample)
    assert len(sample.media) == 1 and sample.turns[0].media_indices == (0,)
    assert load_plugins().media_loader().load(sample.media[0]).shape == (48, 64, 3)
