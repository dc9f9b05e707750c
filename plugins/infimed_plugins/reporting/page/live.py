"""What a run in progress has told so far: the curve of the stage that is being trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infimed_core.records import Run, StepRecord

KEYS = {"log": "curve", "evaluation": "evaluations"}
"""Where the payload of an event of a training step stands in the step's details once the stage is done."""


def with_running_curves(run: Run) -> Run:
    """The run, with the losses so far in every training step that is still running.

    Its curve is in the record only once the stage is done. Without events, or with lines that are none, what can be
    read is shown.
    """
    running = {step.name for step in run.steps("train") if step.status == "running"}
    if not running:
        return run
    entries: dict[str, dict[str, dict[int, dict[str, Any]]]] = {
        name: {key: {} for key in KEYS.values()} for name in running
    }
    for event in run.events():
        key, number = KEYS.get(event.kind), event.payload.get("step")
        if key is not None and event.step in entries and isinstance(number, int):
            # A stage that was killed tells some steps twice; the later telling is the one that counts.
            entries[event.step][key][number] = dict(event.payload)
    steps = tuple(_with(step, entries[step.name]) if step.name in entries else step for step in run.record.steps)
    return replace(run, record=run.record.model_copy(update={"steps": steps}))


def _with(step: StepRecord, entries: dict[str, dict[int, dict[str, Any]]]) -> StepRecord:
    curves = {key: [by_step[number] for number in sorted(by_step)] for key, by_step in entries.items() if by_step}
    return step.model_copy(update={"details": {**step.details, **curves}})
