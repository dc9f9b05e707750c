"""Gates in a run: contamination is checked by default, told in the record, and kept out of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimed_core.testing import run

DATA = {"sources": [{"use": "demo-anatomy", "with": {"split": "test", "max_images": 12}}]}
ASKED = {"benchmarks": [{"use": "demo-vqa", "with": {"split": "test"}}], "limit": 40}


def filter_step(tmp_path: Path, data: dict, name: str):
    tmp_path.mkdir(exist_ok=True)
    document = {"run": {"name": "filters"}, "data": data, "model": {"use": "constant"}, "evaluation": ASKED}
    record = run(document, tmp_path)
    found = [step for step in record.steps if step.name == name]
    return (found[0] if found else None), tmp_path / "runs" / "filters"


@pytest.fixture(scope="module", autouse=True)
def _demo():
    pytest.importorskip("nilearn")


def test_a_run_with_an_evaluation_checks_contamination_unless_told_otherwise(tmp_path):
    step, directory = filter_step(tmp_path, DATA, "filter-contamination")
    assert step is not None and step.num_in == step.num_out + sum(step.dropped.values())
    assert set(step.dropped) <= {"benchmark_picture", "benchmark_near_picture"}
    assert sum(step.dropped.values()) == step.details["num_contaminated"] > 0
    assert step.details["by_benchmark"]["demo-vqa"]["num_questions_met"] > 0
    rejected = json.loads((directory / step.artifact / "rejected.json").read_text(encoding="utf-8"))
    assert len(rejected) == sum(step.dropped.values())


def test_reporting_only_and_no_gates_at_all(tmp_path):
    told, _ = filter_step(
        tmp_path / "a",
        {**DATA, "filters": [{"use": "contamination", "with": {"remove": False}}]},
        "filter-contamination",
    )
    assert told.dropped == {} and told.details["num_contaminated"] > 0
    none, _ = filter_step(tmp_path / "b", {**DATA, "filters": []}, "filter-contamination")
    assert none is None


def test_samples_that_a_filter_rejected_are_not_scored(tmp_path):
    document = {
        "run": {"name": "scored"}, "data": DATA, "model": {"use": "constant"}, "evaluation": ASKED,
        "quality": {"scorers": [{"use": "five-dimension"}]},
    }  # fmt: skip
    tmp_path.mkdir(exist_ok=True)
    record = run(document, tmp_path)
    steps = {step.name: step for step in record.steps}
    num_rejected = sum(steps["filter-contamination"].dropped.values())
    assert steps["score"].details["reasons"]["left_out_by_filter"] == num_rejected > 0
    assert steps["score"].details["num_scored"] == steps["score"].num_in - num_rejected
