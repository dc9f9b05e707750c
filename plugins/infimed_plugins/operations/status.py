"""What state the runs below a directory are in, from their records, locks, heartbeats and the space they take."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from infimed_core import InfimedError
from infimed_core.records import RunRecord, open_run
from infimed_plugins.operations.heartbeat import OWNER, read

State = Literal["alive", "waiting", "dead", "done", "failed", "interrupted", "unreadable"]
FRESH_SECONDS = 60.0
"""A beat this young is of a process that lives, on whatever machine."""
FASTEST_CLOCK = 3600.0
"""So far may another machine's clock be ahead."""
WAITING_SECONDS = 600.0
"""A run that has told nothing for so long waits for something: a server, a disk, another process."""
DEEPEST = 4
"""Levels of directories below the first that are looked through for runs."""


@dataclass(frozen=True)
class RunStatus:
    """One run at one moment.

    Attributes:
        state: ``alive``: its process works; ``waiting``: it lives and has told nothing for ten minutes; ``dead``: it
            calls itself running and its process is gone; else how it ended. ``unreadable``: see ``problem``.
        step: the step that is under way, or the last one.
        rate: of ``unit`` a second; ``None`` where it is not known.
        ends: when the step will end at this rate, ISO 8601; for a run that has ended, when that was.
        owner: process and machine that work on it, or last did.
    """

    path: str
    state: State
    name: str = ""
    step: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    rate: float | None = None
    started: str = ""
    ends: str | None = None
    num_bytes: int = 0
    owner: str = ""
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return asdict(self)


def find_runs(root: Path) -> Iterator[Path]:
    """Every run directory at or below ``root``, in the order of their names; nothing within a run is looked through.

    Directories that cannot be looked into come last: there may be runs in them.
    """
    if (root / "run.json").is_file():
        yield root
        return
    refused: list[Path] = []
    for place, folders, files in os.walk(root, onerror=lambda error: refused.append(Path(error.filename))):
        folders.sort()
        if "run.json" in files and Path(place) != root:
            folders.clear()
            yield Path(place)
        elif len(Path(place).relative_to(root).parts) >= DEEPEST:
            folders.clear()
    yield from refused


def status_of(directory: Path) -> RunStatus:
    """The state of one run."""
    owner = _owner(directory)
    try:
        run = open_run(directory)
    except InfimedError as error:
        if not os.access(directory, os.R_OK | os.X_OK):
            return RunStatus(str(directory), "unreadable", problem=f"{directory}: cannot be read (permission denied)")
        return RunStatus(str(directory), "unreadable", num_bytes=size_of(directory), owner=owner, problem=str(error))
    record, beat = run.record, read(directory) or {}
    running = [step.name for step in record.steps if step.status == "running"]
    last = running[-1:] or [step.name for step in record.steps[-1:]]
    shown: dict[str, Any] = {"step": last[0] if last else "", "ends": record.finished}
    # Reports are made when the rest is done.
    state: State = record.status if record.status != "running" and not running else _living(run.is_abandoned, beat)
    if record.status == "running" or running:
        shown["ends"] = None
        if beat and beat.get("step") == shown["step"]:
            shown |= {name: beat.get(name) for name in ("done", "total", "unit", "rate")}
            if beat.get("seconds_left") is not None and state == "alive":
                shown["ends"] = _time(beat["time"] + beat["seconds_left"])
    return RunStatus(
        str(directory), state, record.name, started=record.started, num_bytes=size_of(directory),
        owner=owner or _last_owner(beat), problem=record.error or "", **shown,
    )  # fmt: skip


def is_alive(directory: Path, record: RunRecord) -> bool:
    """Whether a process works on the run."""
    return status_of(directory).state in ("alive", "waiting")


def _living(lock_is_free: bool, beat: dict[str, Any]) -> State:
    """Of a run that calls itself running. A lock may not be seen from another machine, a beat is."""
    is_elsewhere = beat.get("host", platform.node()) != platform.node()
    is_elsewhere = is_elsewhere and -FASTEST_CLOCK < time.time() - beat["time"] < FRESH_SECONDS
    if lock_is_free and not is_elsewhere:
        return "dead"
    told = beat.get("last_event")
    is_waiting = isinstance(told, int | float) and time.time() - told > WAITING_SECONDS
    return "waiting" if is_waiting else "alive"


def _owner(directory: Path) -> str:
    try:
        return (directory / OWNER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _last_owner(beat: dict[str, Any]) -> str:
    return f"process {beat['process']} on {beat['host']}" if "process" in beat and "host" in beat else ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def size_of(path: Path) -> int:
    """Bytes on disk below ``path``; a file with several names counts once, and what vanishes meanwhile not at all."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for place, _, files in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
        for name in files:
            try:
                state = os.lstat(os.path.join(place, name))
            except OSError:
                continue
            if state.st_nlink == 1 or (state.st_dev, state.st_ino) not in seen:
                seen.add((state.st_dev, state.st_ino))
                total += state.st_size
    return total
