"""What a run says of the division of its data, and what is made anew when its questions are asked otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from infimed_core import InfimedError
from infimed_core.records import open_run
from infimed_core.testing import make_sample, run


@pytest.fixture
def sources(tmp_path: Path) -> list[dict[str, Any]]:
    rows = [
        make_sample(f"s{n}", question=f"Which plane is number {n}?").model_copy(
            update={"tags": {"patient": f"p{n % 20}"}}
        )
        for n in range(80)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return [{"use": "jsonl", "with": {"path": str(tmp_path / "rows.jsonl")}}]


def test_how_many_samples_are_held_out_is_told(tmp_path: Path, sources: list[dict[str, Any]]) -> None:
    split = {"by": "patient", "held_out": 0.4}
    run({"run": {"name": "r"}, "data": {"sources": sources, "split": split, "filters": []}}, tmp_path)
    tags = [row.sample.tags for row in open_run(tmp_path / "runs" / "r").samples()]
    num_held = sum(tag["split"] == "held-out" for tag in tags)
    assert 0 < num_held < 80
    told = f"data.split by 'patient': {80 - num_held} samples to train on, {num_held} held out"
    assert told in (tmp_path / "runs" / "r" / "events.jsonl").read_text()


def test_a_tag_that_no_sample_has_cannot_divide(tmp_path: Path, sources: list[dict[str, Any]]) -> None:
    body = {"run": {"name": "r"}, "data": {"sources": sources, "split": {"by": "patients"}, "filters": []}}
    with pytest.raises(InfimedError, match=r"no sample has the tag 'patients'; samples have the tags: patient, source"):
        run(body, tmp_path)


def test_asking_otherwise_makes_no_data_anew(tmp_path: Path, sources: list[dict[str, Any]]) -> None:
    rows = tmp_path / "questions.jsonl"
    asked = [make_sample(f"q{n}", question=f"Which plane is number {n}?") for n in range(2)]  # two that are trained on
    rows.write_text("".join(row.model_dump_json() + "\n" for row in asked))

    def body(longest: int) -> dict[str, Any]:
        own = {"reader": {"use": "jsonl", "with": {"path": str(rows)}}, "max_new_tokens": longest}
        return {
            "run": {"name": "r"},
            "data": {"sources": sources},
            "quality": {"scorers": [{"use": "five-dimension"}]},
            "model": {"use": "constant"},
            "evaluation": {"benchmarks": [{"use": "questions", "with": own}]},
        }

    first, second = run(body(64), tmp_path), run(body(8), tmp_path)
    (filtered,) = [step for step in first.steps if step.kind == "filter"]
    assert filtered.dropped, "questions that are trained on are left out"
    again = {step.kind: step.status for step in second.steps}
    assert again["evaluate"] == "done" and again["filter"] == "done"
    assert {again[kind] for kind in ("read", "score")} == {"reused"}, json.dumps(again)
