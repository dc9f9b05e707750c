"""run.json and the artifacts beside it: atomic writes, names by hash of what a thing was made from, resume."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infimed_core.api.reporting import PluginInfo, RunRecord, StepRecord
from infimed_core.errors import InfimedError
from infimed_core.store.files import write_atomically

RECORDED_PACKAGES = (
    "infimed", "torch", "transformers", "accelerate", "tokenizers", "numpy", "pillow", "pydicom", "nibabel",
    "opencv-python-headless", "lm_eval", "pydantic", "pluggy",
)  # fmt: skip


class RunDirectory:
    """One run's directory and its run.json, rewritten by rename after every step."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record
        self._lock = path / "lock"
        self._held = False

    def hold(self) -> None:
        """Take the directory for this process.

        Raises:
            InfimedError: another living process works in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                handle = os.open(self._lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                owner = self._owner()
                if owner is not None and _alive(owner):
                    raise InfimedError(
                        f"{self.path}: another process ({owner}) is working in this directory; wait for it, stop it, "
                        "or give the run another name"
                    ) from None
                self._lock.unlink(missing_ok=True)
                continue
            with os.fdopen(handle, "w") as stream:
                stream.write(str(os.getpid()))
            self._held = True
            return

    def release(self) -> None:
        """Give the directory back."""
        if self._held:
            self._lock.unlink(missing_ok=True)
            self._held = False

    def _owner(self) -> int | None:
        return _owner_of(self.path)

    def write(self, **changes: Any) -> None:
        """Change fields of the record and write it."""
        self.record = self.record.model_copy(update=changes)
        write_atomically(self.path / "run.json", self.record.model_dump_json(indent=1))

    def put_step(self, step: StepRecord) -> None:
        """Add a step, or replace the one of that name, and write."""
        steps = [existing for existing in self.record.steps if existing.name != step.name]
        self.write(steps=(*steps, step))


def read_record(path: Path) -> RunRecord:
    """Read a run's record; ``path`` is run.json or the directory that holds it.

    Raises:
        InfimedError: there is none, or it is of another format.
    """
    file = path / "run.json" if path.is_dir() else path
    try:
        return RunRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InfimedError(f"{file}: no such run; give a directory that `infimed-run` has made") from None
    except (ValidationError, OSError) as error:
        first = str(error).splitlines()[0]
        raise InfimedError(f"{file}: not a run record of this version: {first}") from None


def new_record(name: str, seed: int, config: dict[str, Any], plugins: tuple[PluginInfo, ...]) -> RunRecord:
    """A record for a run that begins now."""
    return RunRecord(
        name=name, status="running", started=now(), config=config, plugins=plugins, environment=environment(), seed=seed
    )


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def environment() -> dict[str, Any]:
    """Versions, machine and revision, found without importing what they are the versions of."""
    packages: dict[str, str | None] = {}
    for name in RECORDED_PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "num_cpus": os.cpu_count(),
        "packages": packages,
        "git_revision": _git_revision(),
    }


def _git_revision() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            cwd=Path(__file__).parent,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measure wall seconds into ``["seconds"]``."""
    result = {"seconds": 0.0}
    start = time.perf_counter()
    try:
        yield result
    finally:
        result["seconds"] = round(time.perf_counter() - start, 3)


def is_gone(path: Path, record: RunRecord) -> bool:
    """Whether a run calls itself running and no living process of this machine works in its directory."""
    owner = _owner_of(path)
    return record.status == "running" and owner is not None and not _alive(owner)


def _owner_of(path: Path) -> int | None:
    try:
        return int((path / "lock").read_text())
    except (OSError, ValueError):
        return None


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
