"""The two-step questions: answers follow from their reasoning, splits share nothing, the example makes what it says."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from infimed_core import Answer, Sample
from infimed_core.testing import check_benchmark, check_reader
from infimed_core.testing import run as run_body
from infimed_plugins.demo.two_step import KINDS, DemoTwoStep, DemoTwoStepBenchmark

ROOT = Path(__file__).parents[2]
SMALL = {"side": 48}


def read(**settings: object) -> list[Sample]:
    rows = DemoTwoStep.model_validate({**SMALL, **settings}).read("")
    return [row for row in rows if isinstance(row, Sample)]


@pytest.fixture(scope="module")
def train() -> list[Sample]:
    return read(num_samples=240, rationales="computed")


@pytest.fixture(scope="module")
def asked() -> list[Sample]:
    benchmark = DemoTwoStepBenchmark.model_validate({**SMALL, "max_samples": 160})
    return [row for row in benchmark.samples() if isinstance(row, Sample)]


def again(sample: Sample) -> str:
    """The answer, found from the reasoning's first step alone."""
    text, kind = sample.turns[-1].text, sample.tags["kind"]
    seen = re.findall(r"(?:Slice|Study) \d: (?:level )?([^.]+)\.", text)
    if kind == "count-planes":
        plane = re.findall(r"slices are (\w+)\?", sample.turns[0].text)[0]
        return str(seen.count(plane))
    if kind == "levels-apart":
        return str(abs(int(seen[0]) - int(seen[1])))
    if kind == "same-modality":
        return "yes" if seen[0] == seen[1] else "no"
    return "first" if seen[0].startswith("rich") else "second"


def test_every_answer_follows_from_what_was_seen(train: list[Sample]) -> None:
    assert len(train) == 240
    for sample in train:
        final = re.findall(r"<answer>(.*)</answer>", sample.turns[-1].text)
        assert final == [sample.references[0]] == [again(sample)]
        assert sample.tags["reasoning"] == "computed"


def test_what_is_seen_is_what_the_pictures_are(train: list[Sample]) -> None:
    for sample in train:
        if sample.tags["kind"] == "count-planes":
            planes = [str(image).split("-")[2] for image in sample.meta["images"]]  # type: ignore[union-attr]
            assert re.findall(r"Slice \d: (\w+)\.", sample.turns[-1].text) == planes


def test_every_answer_of_a_kind_is_asked_equally_often(train: list[Sample], asked: list[Sample]) -> None:
    for rows in (train, asked):
        counts = Counter((row.tags["kind"], row.references[0]) for row in rows)
        for kind, (answers, _, _) in KINDS.items():
            of_kind = [counts[kind, answer] for answer in answers]
            assert max(of_kind) - min(of_kind) <= 1 and min(of_kind) > 0, kind


def test_no_picture_or_study_is_trained_on_and_asked_about(train: list[Sample], asked: list[Sample]) -> None:
    validation = read(split="validation", num_samples=80)
    parts = [{image for row in rows for image in row.meta["images"]} for rows in (train, asked, validation)]  # type: ignore[union-attr]
    assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    studies = [{row.tags["study"] for row in rows} for rows in (train, asked, validation)]
    assert not studies[0] & studies[1] and not studies[0] & studies[2]


def test_the_benchmark_grades_its_own_answers_as_right_and_others_as_wrong(asked: list[Sample]) -> None:
    benchmark = DemoTwoStepBenchmark.model_validate({**SMALL, "max_samples": 40})
    for sample in asked[:40]:
        right = benchmark.grade(sample, Answer(sample_id=sample.id, text=sample.references[0]), "strict")
        others = [text for text in sample.options if text != sample.references[0]]
        wrong = benchmark.grade(sample, Answer(sample_id=sample.id, text=others[0]), "strict")
        assert right.value == 1.0 and wrong.value == 0.0
    check_benchmark(benchmark)
    check_reader(DemoTwoStep.model_validate({**SMALL, "num_samples": 16}))


def test_the_example_makes_general_and_reflective_samples_of_computed_reasoning(tmp_path: Path) -> None:
    body = yaml.safe_load((ROOT / "examples" / "reasoning.yaml").read_text(encoding="utf-8"))
    for source in body["data"]["sources"]:
        source["with"] |= {"num_samples": 40, **SMALL}
    kept = {name: body[name] for name in ("run", "data", "reasoning")}
    record = run_body(kept, tmp_path)
    (step,) = [step for step in record.steps if step.kind == "reasoning"]
    assert step.details["routes"] == {"kept": 40, "not_chosen": 40}
    assert step.details["patterns"] == {"general": 30, "reflective": 10}
