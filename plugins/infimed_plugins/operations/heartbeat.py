"""The heartbeat of a run: ``heartbeat.json`` in its directory, rewritten every few seconds while its process lives."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_core import RunEvent, write_atomically

FILE = "heartbeat.json"
OWNER = "owner"
"""The core's file in the directory of a run that a process works on; it goes when the process lets go of the run."""
SECONDS = 10.0
"""Between two beats."""
MOST = 1e11
"""Seconds in a beat beyond which they are none: in the year 5138."""


@dataclass
class _Beating:
    """What the last beat of a run says."""

    directory: Path
    step: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    began_with: tuple[float, int] = (0.0, 0)
    """When the step was heard of first, and how much of it was done then."""
    last_event: float = field(default_factory=time.time)
    over: threading.Event = field(default_factory=threading.Event)

    def hear(self, event: RunEvent) -> None:
        """Take one event."""
        self.last_event = time.time()
        if event.step and event.step != self.step:
            self.step, self.done, self.total, self.unit = event.step, None, None, ""
        done, total, unit = event.payload.get("done"), event.payload.get("total"), str(event.payload.get("unit", ""))
        if event.kind == "progress" and isinstance(done, int) and isinstance(total, int):
            if self.done is None or self.unit != unit:
                self.began_with = (self.last_event, done)
            self.done, self.total, self.unit = done, total, unit

    def as_json(self) -> dict[str, Any]:
        """What is written."""
        body: dict[str, Any] = {
            "host": platform.node(), "process": os.getpid(), "time": time.time(), "last_event": self.last_event,
            "step": self.step, "done": self.done, "total": self.total, "unit": self.unit, "rate": None,
            "seconds_left": None,
        }  # fmt: skip
        since, at_first = self.began_with
        if self.done is not None and self.total is not None and self.done > at_first and self.last_event > since:
            body["rate"] = (self.done - at_first) / (self.last_event - since)
            body["seconds_left"] = max(0, self.total - self.done) / body["rate"]
        return body


_beating: dict[str, _Beating] = {}


def take(event: RunEvent) -> None:
    """Note what a run tells; its beats begin with its first event and end with its last, or with its process."""
    run = _beating.get(event.directory)
    if run is None or run.over.is_set():
        if event.kind != "run_started":
            return
        run = _beating[event.directory] = _Beating(Path(event.directory))
        threading.Thread(target=_beat, args=(run,), name="heartbeat", daemon=True).start()
    run.hear(event)
    if event.kind == "run_finished":
        run.over.set()


def _beat(run: _Beating) -> None:
    while not run.over.wait(SECONDS):
        if not (run.directory / OWNER).exists():  # the run has ended without a word, as a run that fails does
            run.over.set()
            return
        with suppress(OSError):  # a full disk: the next beat may be written
            write_atomically(run.directory / FILE, json.dumps(run.as_json()))


def read(directory: Path) -> dict[str, Any] | None:
    """The last beat of a run; ``None`` where there is none (yet) that can be read."""
    try:
        body = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    kinds = {"host": str, "step": str, "unit": str, "process": int, "done": int, "total": int}
    kept = {name: body[name] for name, kind in kinds.items() if isinstance(body.get(name), kind)}
    for name in ("time", "last_event", "rate", "seconds_left"):
        if isinstance(number := body.get(name), int | float) and 0 <= number < MOST:
            kept[name] = number
    return kept if "time" in kept else None
