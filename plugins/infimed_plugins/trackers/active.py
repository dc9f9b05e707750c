"""Which trackers a process has active: events.jsonl always, others as the run file or INFIMED_TRACKERS says."""

from __future__ import annotations

import atexit
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infimed_core import RunEvent
from infimed_plugins.trackers.reporters import trackers_of_run
from infimed_plugins.trackers.services import OPENERS, Tracker

VARIABLE = "INFIMED_TRACKERS"

BURST, STEP_SECONDS = 100, 1.0
"""So many training steps are written at once; after them one in so many seconds, and the last of all."""

_allowed: dict[str, tuple[float, float]] = {}
"""Of each run directory, how many steps may be written now, and since when."""
_held: dict[str, str] = {}
"""Of each run directory, the line of the last step where it was not written."""
_open: dict[str, dict[str, Tracker]] = {}
"""Trackers of each run directory that is under way."""


def tell(event: RunEvent) -> None:
    """Write the event down, and pass its numbers to the trackers of its run."""
    record(event)
    if event.directory not in _open:
        if event.kind == "run_finished":
            return
        _open[event.directory] = _opened(event)
    trackers = _open[event.directory]
    for name, tracker in list(trackers.items()):
        try:
            if event.kind in ("log", "evaluation"):
                tracker.log(event.step, int(event.payload.get("step", 0)), numbers(event.payload))
            if event.kind == "run_finished":
                tracker.close()
        except Exception as error:  # a tracker that fails is told of once and left out; the run and the others go on
            del trackers[name]
            warnings.warn(f"tracker '{name}' failed and is off for this run: {error}", stacklevel=2)
    if event.kind == "run_finished":
        del _open[event.directory]


def record(event: RunEvent) -> None:
    """Append the event to events.jsonl in the run's directory, one object a line; of training steps not all."""
    line = {"time": datetime.now(UTC).isoformat(), "kind": event.kind, "step": event.step, **_plain(event.payload)}
    text = json.dumps(line, ensure_ascii=False) + "\n"
    held = _held.pop(event.directory, "")
    if event.kind != "log":
        text = held + text
    elif not _may_write_step(event.directory):
        _held[event.directory] = text
        return
    _append(event.directory, text)
    if event.kind == "run_finished":
        _allowed.pop(event.directory, None)


def _append(directory: str, text: str) -> None:
    Path(directory).mkdir(parents=True, exist_ok=True)
    with open(Path(directory) / "events.jsonl", "a", encoding="utf-8") as file:
        file.write(text)


def _may_write_step(directory: str) -> bool:
    now = time.monotonic()
    number, since = _allowed.get(directory, (float(BURST), now))
    number = min(float(BURST), number + (now - since) / STEP_SECONDS)
    _allowed[directory] = (number - 1 if number >= 1 else number, now)
    return number >= 1


@atexit.register
def _write_held() -> None:
    """The last step of runs that end without a further event, as one that fails does."""
    for directory, text in _held.items():
        if os.path.isdir(directory):
            with suppress(OSError):
                _append(directory, text)
    _held.clear()


def numbers(payload: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a training step, or of what was measured after it; those of a mapping (a loss for each
    source) under ``name/key``."""
    found: dict[str, float] = {}
    for name, value in payload.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{key}": number for key, number in numbers(value).items()}
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[str(name)] = float(value)
    found.pop("step", None)
    return found


def _opened(event: RunEvent) -> dict[str, Tracker]:
    trackers: dict[str, Tracker] = {}
    wanted: dict[str, dict[str, Any]] = {
        name: {} for part in os.environ.get(VARIABLE, "").split(",") if (name := part.strip())
    }
    for name, settings in (wanted | trackers_of_run(Path(event.directory))).items():
        opener: Callable[..., Tracker] | None = OPENERS.get(name)
        if opener is None:
            warnings.warn(f"{VARIABLE}: no tracker '{name}' (there are: {', '.join(OPENERS)})", stacklevel=3)
            continue
        try:
            trackers[name] = opener(Path(event.directory), **settings)
        except ImportError:
            package = "infimed[trackers]" if name == "tensorboard" else name
            warnings.warn(f"tracker '{name}' is not installed: pip install '{package}'", stacklevel=3)
        except Exception as error:
            warnings.warn(f"tracker '{name}' cannot be started: {error}", stacklevel=3)
    return trackers


def _plain(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload as JSON takes it: NaN and infinities as text, anything unknown as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)

    taken = {"time", "kind", "step"}
    return {(f"payload_{key}" if key in taken else str(key)): plain(value) for key, value in payload.items()}
