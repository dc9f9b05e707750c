"""The synthesis step keeps its promises whatever a synthesizer does: one row for each sample, ids of their own."""

import json
from pathlib import Path
from typing import Any

import pytest

from infimed_core import ComponentError
from infimed_core.records import open_run
from infimed_core.testing import run as run_body

PLUGIN = """
from infimed_core import Fault, Request, Synthesizer, Turn, hookimpl


class Made(Synthesizer):
    way: str = "well"

    def models(self):
        return ["teacher"] if self.way == "asks" else []

    def synthesize(self, samples, context):
        for place, sample in enumerate(samples):
            if self.way == "asks":
                (answer,) = context.ask("teacher", [Request(sample_id=sample.id, turns=sample.turns[:1])])
                context.details["error"] = answer.error
                context.complete = answer.error is None
            if self.way == "loses" and place:
                continue
            if place == 1:
                yield Fault(sample_id=sample.id, code="too_hard", detail="said so")
            elif self.way == "nothing":
                yield None
            else:
                end = "" if self.way == "empty" else "because. yes"
                turns = (sample.turns[0], Turn(role="assistant", content=(end,)))
                identity = "one" if self.way == "same" else f"{sample.id}/more"
                tags = {**sample.tags, "reasoning": "general"}
                yield sample.model_copy(update={"id": identity, "turns": turns, "tags": tags})


@hookimpl
def infimed_synthesizers():
    return {"made": Made}
"""


def run(tmp_path: Path, way: str, **more: Any) -> Any:
    (tmp_path / "made.py").write_text(PLUGIN)
    rows = []
    for place in range(3):
        turns = [{"role": "user", "content": [f"Is {place} a number?"]}, {"role": "assistant", "content": ["yes"]}]
        rows.append(json.dumps({"id": f"s{place}", "turns": turns}))
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    body = {
        "run": {"name": "made", "plugins": [str(tmp_path / "made.py")]},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(tmp_path / "rows.jsonl")}}]},
        "reasoning": {"use": "made", "with": {"way": way}},
        **more,
    }
    return run_body(body, tmp_path)


def step(record: Any) -> Any:
    return next(step for step in record.steps if step.kind == "reasoning")


def test_what_is_made_is_added_and_what_is_not_is_counted(tmp_path: Path) -> None:
    found = step(run(tmp_path, "well"))
    assert (found.num_in, found.num_out, found.dropped) == (3, 2, {"too_hard": 1})
    (directory,) = (tmp_path / "runs" / "made" / "artifacts").glob("reasoning-[0-9a-f]*")
    rows = [json.loads(line) for line in (directory / "samples.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["s0", "s1", "s2", "s0/more", "s2/more"]
    assert [row["tags"]["reasoning"] for row in rows] == ["direct"] * 3 + ["general"] * 2
    assert [(row.sample.id, row.kept) for row in open_run(tmp_path / "runs" / "made").samples()] == [
        (row["id"], True) for row in rows
    ]
    assert step(run(tmp_path, "well")).status == "reused"


def test_a_sample_that_cannot_be_trained_on_is_a_counted_fault(tmp_path: Path) -> None:
    assert step(run(tmp_path, "empty")).dropped == {"empty_text": 2, "too_hard": 1}


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("loses", "gave 1 rows for 3 samples"),
        ("same", "two samples with the id 'one'"),
        ("nothing", "yielded a NoneType"),
    ],
)
def test_a_synthesizer_that_breaks_its_promise_is_named(tmp_path: Path, way: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message) as error:
        run(tmp_path, way)
    assert "Made.synthesize" in str(error.value)


def test_a_sample_whose_identity_nobody_checked_does_not_leave_the_machine(tmp_path: Path) -> None:
    away = {"use": "openai-compatible", "with": {"base_url": "http://192.0.2.1/v1", "model": "m", "max_retries": 0}}
    found = step(run(tmp_path, "asks", models={"teacher": away}))
    assert "identity=unchecked" in found.details["error"]
