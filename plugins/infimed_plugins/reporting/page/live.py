"""What a run in progress has told so far: the curve of the stage that is being trained, from ``events.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infimed_core.api.reporting import RunRecord

EVENTS = "events.jsonl"
MOST_BYTES = 8_000_000
"""Read from the end of the file: about 40,000 steps."""


def with_running_curves(record: RunRecord, directory: Path) -> RunRecord:
    """The record, with the losses so far in every training step that is still running.

    Its curve is in the record only once the stage is done. Without the file, or with lines that are none, what can be
    read is shown.
    """
    running = {step.name for step in record.steps if step.status == "running" and step.name.startswith("train-")}
    if not running:
        return record
    keys = {"log": "curve", "evaluation": "evaluations"}
    told: dict[str, dict[str, dict[int, dict[str, Any]]]] = {
        name: {key: {} for key in keys.values()} for name in running
    }
    for event in _events(directory / EVENTS):
        name, step, key = event.get("step"), event.get("payload_step"), keys.get(str(event.get("kind")))
        if key is not None and name in told and isinstance(step, int):
            # A stage that was killed tells some steps twice; the later telling is the one that counts.
            told[name][key][step] = {**event, "step": step}
    steps = tuple(
        step.model_copy(
            update={
                "details": {
                    **step.details,
                    **{key: [found[at] for at in sorted(found)] for key, found in told[step.name].items() if found},
                }
            }
        )
        if step.name in told
        else step
        for step in record.steps
    )
    return record.model_copy(update={"steps": steps})


def _events(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            stream.seek(max(0, size - MOST_BYTES))
            lines = stream.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the first line where the file was cut into, or the last while it is being written
        if isinstance(event, dict):
            found.append(event)
    return found
