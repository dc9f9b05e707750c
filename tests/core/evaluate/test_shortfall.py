"""What models left unanswered, told in one line: the same reason once, and never one that stands further back."""

from __future__ import annotations

from infimed_core.api.reporting import RunRecord, StepRecord
from infimed_core.evaluate.shortfall import shortfall


def test_the_same_is_the_reason_just_before() -> None:
    steps = tuple(
        StepRecord(
            name=f"evaluate {model}", kind="evaluate", status="done", num_in=10, num_out=10,
            subject={"model": model, "benchmark": "b"}, details={"errors": 5, "first_error": reason},
        )
        for model, reason in (("m", "slow"), ("n", "slow"), ("o", "gone"), ("p", "slow"))
    )  # fmt: skip
    _, told = shortfall(RunRecord(name="r", status="done", started="", config={}, steps=steps))
    reasons = [line.partition(" no answer ")[2] for line in told.split("; ")]
    assert reasons == ["(mostly: slow)", "(mostly the same)", "(mostly: gone)", "(mostly: slow)"]
