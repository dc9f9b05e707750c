"""Choosing questions, baselines that do not look, and comparisons by the metric that counts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from scipy import stats

from infimed_core import Answer, InfimedError, LoadedModel, MediaLoader, Metric, Request, Sample, Score, Turn
from infimed_core.api.data import Media
from infimed_core.api.reporting import Comparison, RunRecord
from infimed_core.evaluate import statistics
from infimed_core.evaluate.choices import chosen_samples
from infimed_core.evaluate.graded import Graded
from infimed_core.evaluate.grading import without_images
from infimed_core.evaluate.mcnemar import exact_p_value
from infimed_core.evaluate.paired_comparison import adjust, compare_models, mean_difference
from infimed_core.testing import run
from infimed_plugins.medevalkit.benchmarks import table
from infimed_plugins.medevalkit.questions import Questions
from infimed_plugins.metrics.constants import constant_letter, most_common_answers
from infimed_plugins.vlm.baselines import Constant

DATA = Path(__file__).parents[2] / "fixtures" / "medevalkit" / "data"


def document(*names: str, model: dict[str, Any] | None = None, **evaluation: Any) -> dict[str, Any]:
    return {
        "run": {"name": "asked"},
        "model": model or {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [{"use": n, "with": {"path": str(DATA / n)}} for n in names], **evaluation},
    }


def whole(record: RunRecord, model: str, benchmark: str) -> Any:
    rows = [r for r in record.results if (r.model, r.benchmark, r.scoring, r.group) == (model, benchmark, "strict", {})]
    return rows[0].metrics["accuracy"]


def ids(directory: Path, benchmark: str) -> list[str]:
    lines = (directory / f"runs/asked/answers/{benchmark}--base.jsonl").read_text().splitlines()
    return [json.loads(line)["sample"]["id"] for line in lines]


def test_only_the_chosen_questions_are_asked_and_the_choice_is_part_of_the_protocol(tmp_path: Path) -> None:
    every = [row.id for row in table()["vqa-rad"](path=str(DATA / "vqa-rad")).samples() if isinstance(row, Sample)]
    file = tmp_path / "ids.txt"
    file.write_text(f"# two of three\n{every[2]}\n{every[0]}\n")
    record = run(document("vqa-rad", "pmc-vqa", samples=str(file)), tmp_path)
    assert ids(tmp_path, "vqa-rad") == [every[0], every[2]]
    assert not (tmp_path / "runs/asked/answers/pmc-vqa--base.jsonl").exists()
    step = next(step for step in record.steps if step.name == "evaluate-base-vqa-rad")
    assert step.details["protocol"]["samples"] == sorted([every[0], every[2]])  # type: ignore[index, call-overload]
    run(document("vqa-rad", samples=[every[1]]), tmp_path)
    assert ids(tmp_path, "vqa-rad") == [every[1]]


def test_an_id_that_no_benchmark_has_is_told_before_a_model_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InfimedError, match="no benchmark of this run has nobody; see 'id' in"):
        run(document("vqa-rad", samples=["nobody"]), tmp_path)
    assert not (tmp_path / "runs/asked/cache").exists()
    with pytest.raises(InfimedError, match=r"nowhere.txt: cannot be read .*one id a line"):
        chosen_samples("nowhere.txt")
    (tmp_path / "empty.txt").write_text("# none\n")
    with pytest.raises(InfimedError, match="names no question"):
        chosen_samples(str(tmp_path / "empty.txt"))


def test_limit_and_samples_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    told = document("vqa-rad")
    told["run"]["directory"] = str(tmp_path / "runs")
    file.write_text(json.dumps(told))
    main = "from infimed_core.cli import run_main; run_main()"

    def command(*options: str) -> subprocess.CompletedProcess[str]:
        return forked.finish(["-c", main, file, *options])

    assert command("--limit", "2", "--quiet").returncode == 0
    every = ids(tmp_path, "vqa-rad")
    assert len(every) == 2
    assert command("--samples", f"{every[1]}", "--quiet").returncode == 0
    assert ids(tmp_path, "vqa-rad") == [every[1]]
    (tmp_path / "ids.txt").write_text(every[0])
    assert command("--samples", str(tmp_path / "ids.txt")).returncode == 0
    assert ids(tmp_path, "vqa-rad") == [every[0]]
    failed = command("--samples", "nobody")
    assert failed.returncode == 2 and "no benchmark of this run has nobody" in failed.stderr


class Looking(LoadedModel):
    """Answers how many images it was shown."""

    identity = "looking"

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        for request in requests:
            shown = sum(len(turn.media_indices) for turn in request.turns)
            yield Answer(sample_id=request.sample_id, text="B" if shown and request.media else "A")


def test_baselines_on_request_take_the_images_away_and_answer_one_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Constant, "load", lambda self, checkpoint: Looking())
    names = ("medframeqa", "medqa-usmle", "vqa-rad")
    record = run(document(*names, baselines=["constant-letter", "image-blind"]), tmp_path)
    models = {name: {row.model for row in record.results if row.benchmark == name} for name in names}
    assert models["medframeqa"] == {"base", "base-image-blind", "constant-letter", "most-common-answer"}
    assert models["medqa-usmle"] == {"base", "constant-letter", "most-common-answer"}, "no image to take away"
    assert models["vqa-rad"] == {"base", "base-image-blind", "most-common-answer"}, "no letter to answer"
    blind = (tmp_path / "runs/asked/answers/medframeqa--base-image-blind.jsonl").read_text().splitlines()
    assert {json.loads(line)["answer"]["text"] for line in blind} == {"A"}
    seen = (tmp_path / "runs/asked/answers/medframeqa--base.jsonl").read_text().splitlines()
    assert {json.loads(line)["answer"]["text"] for line in seen} == {"B"}
    assert whole(record, "constant-letter", "medframeqa").value == 1.0
    pairs = {(one.benchmark, one.model, one.against) for one in record.comparisons}
    assert {("medframeqa", "base", "base-image-blind"), ("medframeqa", "base", "constant-letter")} <= pairs
    assert all(one.p_adjusted is not None and one.p_adjusted >= (one.p_value or 0.0) for one in record.comparisons)
    before = record.results
    again = run(document(*names, baselines=["constant-letter", "image-blind"]), tmp_path)
    assert again.results == before and {step.status for step in again.steps} == {"reused"}


def test_taking_images_away_leaves_every_word() -> None:
    turn = Turn(role="user", content=("<image_1>: ", 0, "What?", 1))
    media = (Media(uri="/a"), Media(uri="/b"))
    blind = without_images(Request(sample_id="a", turns=(turn, Turn(role="user", content=(0,))), media=media))
    assert blind.media == () and blind.turns[0].text == turn.text and blind.turns[1].content == ("",)


def test_the_constant_letter_is_the_one_most_often_right() -> None:
    def sample(number: int, letter: str, options: tuple[str, ...] = ("x", "y")) -> Sample:
        turns = (Turn(role="user", content=("?",)),)
        return Sample(id=str(number), turns=turns, references=(letter,), options=options)

    assert (
        constant_letter([sample(0, "B"), sample(1, "A"), sample(2, "B"), sample(3, "AB"), sample(4, "no", ())]) == "B"
    )
    assert constant_letter([sample(0, "yes", ())]) == ""


class Bare(Questions):
    """Questions as they are given."""

    def wording(self, sample: Sample) -> str:
        return sample.turns[0].text


def asked(number: int, question: str, answer: str) -> Sample:
    turns = (Turn(role="user", content=(question,)),)
    tags = {"form": "closed" if answer in ("yes", "no") else "open"}
    return Sample(id=str(number), turns=turns, references=(answer,), tags=tags)


def test_the_most_common_answer_never_follows_the_form_of_the_gold() -> None:
    # yes 5, no 3, maybe 2: the best constant is right on 0.5; by the form of the gold ("maybe" is open) it were 0.7
    answers = ["yes"] * 5 + ["no"] * 3 + ["maybe"] * 2
    samples = [asked(number, f"Does {number} help?", answer) for number, answer in enumerate(answers)]
    found, chosen = most_common_answers(Bare.model_construct(), samples)
    assert {one.text for one in found} == {"yes"} and chosen == {"kind": 10}


def test_the_most_common_answer_is_chosen_by_wording_and_by_training_data() -> None:
    views = [asked(number, "Which view is it?", "AP" if number < 4 else "PA") for number in range(6)]
    findings = [asked(10 + number, "Is there an\neffusion?", "no" if number < 5 else "yes") for number in range(7)]
    samples = [*views, *findings, asked(20, "Is the heart enlarged?", "yes")]
    found, chosen = most_common_answers(Bare.model_construct(), samples)
    texts = {one.sample_id: one.text for one in found}
    assert {texts[str(number)] for number in range(6)} == {"AP"} and texts["10"] == "no" and chosen["wording"] == 13
    assert texts["20"] == "no" and chosen["kind"] == 1, "of its kind: no is said most often"

    def trained(question: str, answer: str) -> Sample:
        turns = (Turn(role="user", content=(question,)), Turn(role="assistant", content=(answer,)))
        return Sample(id=question + answer, turns=turns)

    training = [trained("which view is it?", "PA"), trained("Is the heart enlarged?", "yes"), trained("Other?", "x")]
    found, chosen = most_common_answers(Bare.model_construct(), samples, training)
    texts = {one.sample_id: one.text for one in found}
    assert (texts["0"], texts["10"], texts["20"]) == ("PA", "no", "yes")
    assert chosen == {"training": 7, "wording": 7}


class Share(Metric):
    """A metric that is no mean: the share of values above one half, squared."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        return (sum((score.value or 0.0) > 0.5 for score in scores) / len(scores)) ** 2


class Mean(Metric):
    def compute(self, scores: Sequence[Score]) -> float | None:
        return float(np.mean([score.value for score in scores]))

    def values(self, scores: Sequence[Score]) -> Any:
        return np.array([score.value for score in scores])


def rows(values: Sequence[float | None], scoring: str = "strict") -> list[Graded]:
    return [
        Graded(
            Sample(id=str(number), turns=(Turn(role="user", content=("?",)),), tags={"cluster": str(number // 2)}),
            Answer(sample_id=str(number), text=""),
            {scoring: Score(value=value, status="ok" if value is not None else "unscored")},
        )
        for number, value in enumerate(values)
    ]


def test_a_comparison_names_the_metric_that_it_compares() -> None:
    component = table()["healthbench"]()
    generator = np.random.default_rng(0)
    ours, theirs = rows([*generator.random(40) * 0.5 + 0.4, None]), rows(list(generator.random(41)))
    (one,) = compare_models("x", component, {"base": theirs, "tuned": ours}, ["base"], {"rouge-l": Mean()})
    assert (one.metric, one.num_pairs) == ("rouge-l", 40)
    a = np.array([row.scores["strict"].value for row in ours[:40]], dtype=float)
    b = np.array([row.scores["strict"].value for row in theirs[:40]], dtype=float)
    assert one.difference == pytest.approx((a - b).mean())
    assert one.test == "t" and one.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=1e-12)
    assert one.minimum_detectable == statistics.minimum_detectable_difference(statistics.clustered_mean(a - b))
    (other,) = compare_models("x", component, {"base": theirs, "tuned": ours}, ["base"], {"share": Share()})
    assert other.metric == "share" and other.low <= other.difference <= other.high
    assert other.p_value is not None and 0 < other.p_value <= 1


def test_questions_on_one_image_are_not_given_to_mcnemar() -> None:
    ours, theirs = rows([1.0] * 48 + [0.0] * 16), rows([0.0] * 48 + [1.0] * 16)
    clustered, alone = table()["vqa-rad"](), table()["pubmedqa"]()
    assert clustered.cluster_by == "cluster" and alone.cluster_by == ""
    pair = {"base": theirs, "tuned": ours}
    a = [row.scores["strict"].value for row in ours]
    b = [row.scores["strict"].value for row in theirs]
    (one,) = compare_models("x", alone, pair, ["base"], {"accuracy": Mean()})
    assert one.p_value == exact_p_value(48, 16)
    (two,) = compare_models("x", clustered, pair, ["base"], {"accuracy": Mean()})
    units = [row.sample.tags["cluster"] for row in ours]
    over_images = statistics.clustered_mean(np.subtract(a, b), units)  # type: ignore[arg-type]
    assert two.test == "t" and two.p_value == over_images.p_value() and two.num_clusters == 32


def test_few_pairs_and_pairs_without_spread_have_an_interval_and_no_false_certainty() -> None:
    clustered = table()["vqa-rad"]()  # two questions of ours to an image

    def between(ours: list[float | None], theirs: list[float | None]) -> Comparison:
        pair = {"base": rows(theirs), "tuned": rows(ours)}
        (one,) = compare_models("x", clustered, pair, ["base"], {"accuracy": Mean()})
        return one

    alike = between([1.0, 0.0] * 40, [1.0, 0.0] * 40)
    assert alike.difference == 0.0 and alike.low < 0.0 < alike.high and alike.p_value == 1.0
    one_image = between([1.0, 1.0], [0.0, 0.0])
    assert one_image.difference == one_image.high == 1.0 and one_image.low < 0.25 and one_image.p_value == 1.0
    few = between([1.0] * 12 + [0.0] * 4, [0.0] * 12 + [1.0] * 4)
    images = np.array([1.0] * 6 + [-1.0] * 2)
    draws = stats.bootstrap((images,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    assert few.high - few.low > draws.high - draws.low, "Student's t is wider than a bootstrap of eight clusters"
    assert few.num_pairs == 16 and few.p_value is not None and few.p_value > 0.1


def test_images_that_all_differ_alike_leave_a_difference_uncertain() -> None:
    units = [str(number // 2) for number in range(80)]
    half = np.array([1.0, 0.0] * 40)  # in every image one question of two is won
    found = mean_difference(half, np.zeros(80), units)
    assert found is not None and found.test == "no-spread" and found.minimum_detectable is None
    assert found.difference == 0.5 and found.low < 0.45 and found.high > 0.55
    assert statistics.interval(half, clusters=units) == statistics.wilson(0.5, 40)
    thirds = np.array([np.mean([1.0, 0.0, 0.0])] * 20 + [np.mean([0.0, 0.0, 1.0])] * 20) + np.arange(40) * 1e-17
    found = mean_difference(thirds, np.zeros(40), [str(number) for number in range(40)])
    assert found is not None and found.low < 0.3 and found.high > 0.36, "rounding is no spread"


def test_a_measure_without_bound_is_no_more_certain_for_few_pairs() -> None:
    assert mean_difference(np.array([4.0]), np.array([2.0]), ["a"]) is None
    assert mean_difference(np.full(50, 37.0), np.full(50, 36.0), [str(n) for n in range(50)]) is None
    found = mean_difference(np.array([4.0, 9.0]), np.array([2.0, 3.0]), ["a", "b"])
    assert found is not None and found.low < 0.0 and found.high > 6.0 and found.difference == 4.0
    low, high = statistics.interval([4.0, 9.0])
    assert low is not None and high is not None and low < 0.0 and high > 9.0, "Student's t of two"
    assert statistics.interval([37.2] * 5) == (None, None)


def test_a_judges_scores_are_compared_beside_the_rules() -> None:
    ours, theirs = rows([1.0, 0.0, 1.0]), rows([0.0, 0.0, 1.0])
    judged = [
        [Graded(row.sample, row.answer, row.scores | {"judge:one": Score(value=value)}) for row in side]
        for side, value in ((ours, 1.0), (theirs, 0.0))
    ]
    pair = {"base": judged[1], "tuned": judged[0]}
    found = compare_models("x", table()["pubmedqa"](), pair, ["base"], {"accuracy": Mean()})
    assert [(one.scoring, one.difference) for one in found] == [("strict", pytest.approx(1 / 3)), ("judge:one", 1.0)]


def test_the_family_of_the_correction_is_every_comparison_of_the_run() -> None:
    def one(p_value: float | None) -> Comparison:
        return Comparison(
            benchmark="x", scoring="strict", metric="accuracy", model="a", against="b", difference=0.1, low=0.0,
            high=0.2, p_value=p_value, num_pairs=9,
        )  # fmt: skip

    adjusted = [found.p_adjusted for found in adjust([one(0.01), one(None), one(0.04), one(0.03)])]
    assert adjusted == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]


def test_thought_is_taken_off_before_grading_and_counted(tmp_path: Path) -> None:
    thinking = {"use": "constant", "with": {"text": "<think>Not A, so it may be B.</think>The answer is A."}}
    record = run(document("pmc-vqa", model=thinking), tmp_path)
    assert whole(record, "base", "pmc-vqa").num_unscored == 0
    assert whole(record, "base", "pmc-vqa").value == 1.0
    assert next(step for step in record.steps if step.name.startswith("evaluate")).details["reasoned"] == 2
