"""lm-eval and InfiMed give the same accuracy on the same task and answers, sample by sample, in both directions."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Answer, DataError, Sample
from infimed_core.plugins import load_plugins
from infimed_core.testing import check_component, make_image, run
from infimed_plugins.lm_eval.benchmark import LmEvalTask
from infimed_plugins.lm_eval.export import _benchmarks_of, write_tasks
from infimed_plugins.medevalkit.benchmarks import table

sys.path.insert(0, str(Path(__file__).parent))

from lm_eval_both_ways import ask_both_ways

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
    return sorted(lm_eval_results([task], include)["samples"][task], key=lambda sample: sample["doc_id"])


def lm_eval_results(tasks: list[str], include: Path) -> dict[str, Any]:
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
    return dict(lm_eval.simple_evaluate(model=Replies(), tasks=tasks, task_manager=manager, bootstrap_iters=0))


def test_lm_eval_task_scores_the_same_here_and_there(folder: Path) -> None:
    benchmark = LmEvalTask(task="colours", include_path=str(folder), trust_code=True)
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
        list(LmEvalTask(task="colours", include_path=str(folder), trust_code=True).samples())


def test_task_that_is_not_there_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import manager

    # lm-eval looks beside its own code as well, through some ten thousand files of tasks.
    (tmp_path / "built-in").mkdir()
    monkeypatch.setattr(manager, "__file__", str(tmp_path / "built-in" / "manager.py"))
    with pytest.raises(DataError, match="no task 'colour'"):
        LmEvalTask(task="colour", include_path=str(folder), trust_code=True)._task  # noqa: B018


def test_our_benchmark_scores_the_same_in_lm_eval(tmp_path: Path) -> None:
    names = write_tasks(tmp_path / "tasks")
    assert "infimed_demo_text" in names
    theirs = lm_eval_samples("infimed_demo_text", tmp_path / "tasks")
    benchmark = load_plugins().find("benchmark", "demo-text")()
    ours = []
    for sample in benchmark.samples():  # type: ignore[attr-defined]
        answer = Answer(sample_id=sample.id, text=reply(sample.turns[-1].text))
        ours.append(benchmark.grade(sample, answer, "strict").value)  # type: ignore[attr-defined]
    assert [value or 0.0 for value in ours] == [sample["accuracy"] for sample in theirs]


def test_images_of_an_lm_eval_task_reach_the_sample(folder: Path) -> None:
    (folder / "picture.png").write_bytes(make_image())
    (folder / "functions.py").write_text(
        f"from PIL import Image\ndef images(doc):\n    return [Image.open({str(folder / 'picture.png')!r})]\n"
    )
    text = TASK.format(data=folder / "colours.json", image="doc_to_image: !function functions.images\n")
    (folder / "colours.yaml").write_text(text)
    sample = next(iter(LmEvalTask(task="colours", include_path=str(folder), trust_code=True).samples()))
    assert isinstance(sample, Sample)
    assert len(sample.media) == 1 and sample.turns[0].media_indices == (0,)
    assert load_plugins().media_loader().load(sample.media[0]).shape == (48, 64, 3)


FIXTURES = Path(__file__).parents[2] / "examples" / "medevalkit_fixtures.yaml"


def letter(question: str) -> str:
    """Right, wrong and unreadable answers of many kinds, by the question's words."""
    return random.Random(question).choice(["A", "(B)", "The answer is C.", "yes", "No", "", "D or A", "CT", "是"])


def test_every_medevalkit_task_has_the_same_strict_numbers_in_lm_eval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FIXTURES.parents[1])
    monkeypatch.setitem(globals(), "reply", letter)
    uses = _benchmarks_of(FIXTURES)
    names = write_tasks(tmp_path, uses)
    rubrics = {use.use for use in uses if use.use.startswith("healthbench")}
    assert len(names) == len(uses) - len(rubrics) == 26
    registry, counted, unscored = load_plugins(), 0, 0
    found = lm_eval_results(names, tmp_path)
    for use in uses:
        if use.use in rubrics:
            continue
        benchmark = registry.find("benchmark", use.use).model_validate(use.settings)
        task = "infimed_" + use.use.replace("-", "_")
        theirs = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
        samples = [row for row in benchmark.samples() if isinstance(row, Sample)]  # type: ignore[attr-defined]
        answers = [Answer(sample_id=s.id, text=letter(s.turns[-1].text)) for s in samples]
        pairs = zip(samples, answers, strict=True)
        ours = [benchmark.grade(sample, answer, "strict").value for sample, answer in pairs]  # type: ignore[attr-defined]
        assert [value or 0.0 for value in ours] == [sample["accuracy"] for sample in theirs], task
        assert [float(value is None) for value in ours] == [sample["unscored"] for sample in theirs]
        right = sum(value or 0.0 for value in ours)
        assert found["results"][task]["accuracy,none"] == pytest.approx(right / len(ours)), "every question counts"
        counted, unscored = counted + len(ours), unscored + ours.count(None)
    assert counted > 60 and 0 < unscored < counted


def test_all_images_of_a_question_reach_lm_eval_in_their_places(tmp_path: Path) -> None:
    from infimed_plugins.lm_eval import functions

    data = FIXTURES.parents[1] / "tests/fixtures/medevalkit/data/medframeqa"
    settings = json.dumps({"path": str(data)})
    rows = functions.load("medframeqa", settings)["test"]
    sample = next(row for row in table()["medframeqa"](path=str(data)).samples() if isinstance(row, Sample))
    doc = next(row for row in rows if row["id"] == sample.id)
    assert functions.question(doc).count("<image>") == len(functions.images(doc)) == len(sample.media) > 1
    assert functions.question(doc).replace("<image>", "") == sample.turns[-1].text


def test_a_conversation_cannot_be_an_lm_eval_task(tmp_path: Path) -> None:
    from infimed_plugins.lm_eval import functions

    row = {"prompt_id": "a", "rubrics": [], "prompt": [{"role": "user", "content": c} for c in ("one", "two")]}
    (tmp_path / "x_oss_eval.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="healthbench: question healthbench-a is a conversation"):
        functions.load("healthbench", json.dumps({"path": str(tmp_path)}))


@pytest.mark.slow
def test_one_checkpoint_answers_and_scores_the_same_through_lm_eval_and_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pairs = ask_both_ways(FIXTURES.parents[1] / "tests/fixtures/medevalkit/data", tmp_path)
    assert len(pairs) == 2 * 17
    assert [pair.ours for pair in pairs] == [pair.theirs for pair in pairs]
    assert len({pair.ours.text for pair in pairs}) > 3  # the questions matter
    assert {None, 0.0, 1.0} == {pair.ours.value for pair in pairs}


def test_several_tasks_are_several_benchmarks_under_their_own_names(folder: Path) -> None:
    shapes = (folder / "colours.yaml").read_text().replace("task: colours\n", "task: shapes\n")
    (folder / "shapes.yaml").write_text(shapes)
    lm_tasks = {
        "use": "lm-eval",
        "with": {"tasks": ["colours", "shapes"], "include_path": str(folder), "trust_code": True},
    }
    model = {"use": "constant", "with": {"text": "red"}}
    record = run({"run": {"name": "both"}, "model": model, "evaluation": {"benchmarks": [lm_tasks]}}, folder)
    found = {r.benchmark: r.metrics["accuracy"].value for r in record.results if r.model == "base" and not r.group}
    assert found == {"colours": pytest.approx(1 / 3), "shapes": pytest.approx(1 / 3)}
