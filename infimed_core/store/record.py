"""run.json: written whole after every step, by one process at a time, and read back."""

from __future__ import annotations

import errno
import functools
import json
import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from infimed_core.api.reporting import RECORD_FORMAT, PluginInfo, RunRecord, StepRecord
from infimed_core.errors import InfimedError
from infimed_core.named_files import read_named
from infimed_core.plugin_loading import GROUP, required_packages
from infimed_core.store.files import first_mistake, with_checksum, without_checksum, write_atomically
from infimed_core.texts import whole_in

if TYPE_CHECKING:
    from filelock import BaseFileLock

_version = functools.cache(metadata.version)  # what a process has imported stays what it was
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
LOCK, OWNER = "lock", "owner"
"""The file that the owner of a run directory holds locked, and the one that says who that is."""
LEASE, LEASE_SECONDS = "lease", 30.0
"""Where the file system has no locks: the file that its owner touches three times in so many seconds."""


class RunDirectory:
    """One run's directory and its run.json, rewritten by rename after every step."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record
        self.left_by = ""
        """Who held it last and did not give it back."""
        self._lock: BaseFileLock | None = None
        self._writing = threading.RLock()

    def hold(self) -> str:
        """Take the directory for this process; returns who held it last and did not give it back, "" where none.

        Raises:
            InfimedError: another living process works in it.
        """
        from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock = _file_lock(self.path)
                lock.acquire(timeout=0)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                lock = SoftFileLease(self.path / LEASE, lease_duration=LEASE_SECONDS, on_compromise=self._lose)
                lock.acquire(timeout=1.2 * LEASE_SECONDS)  # so long a lease must be seen untouched to be of the dead
            self.left_by = _owner_of(self.path)
            started = f"started {process_start()}, " if process_start() else ""
            write_atomically(self.path / OWNER, f"process {os.getpid()} on {platform.node()}, {started}since {now()}")
        except (Timeout, LeaseSettingsMismatch):
            raise InfimedError(
                f"{self.path}: another process ({_owner_of(self.path) or 'unknown'}) is working in this directory, as "
                f"{self.path / OWNER} says; wait for it, stop it, or give the run another name"
            ) from None
        except OSError as error:
            raise InfimedError(
                f"{self.path}: cannot be used as a run's directory ({error.strerror}); give it to the user who runs "
                "this, or set run.directory to a place that is yours to write"
            ) from None
        self._lock = lock
        return self.left_by

    def _lose(self, event: object) -> None:
        """End this process where its lease is another's, or nobody's: two that write to one run would spoil it."""
        owner = _owner_of(self.path) or "unknown"
        print(f"{self.path}: this process has lost its lease of the directory to {owner}", file=sys.stderr, flush=True)
        os._exit(1)

    def release(self) -> None:
        """Give the directory back."""
        if self._lock is not None:
            (self.path / OWNER).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def write(self, **changes: Any) -> None:
        """Change fields of the record and write it."""
        with self._writing:
            self.record = self.record.model_copy(update=changes)
            try:
                text = self.record.model_dump_json(indent=1)
            except ValueError:  # half of a surrogate pair, in the name of a file or of a column for example
                text = json.dumps(whole_in(self.record.model_dump(mode="json")), ensure_ascii=False, indent=1)
            write_atomically(self.path / "run.json", with_checksum(text))

    def put_step(self, step: StepRecord) -> None:
        """Add a step, or replace the one of that name and subject, and write.

        `train-a-b` may be of one pair of names or of another, so the name alone does not tell two steps apart.
        """
        key = step.name, step.subject
        with self._writing:
            steps = [existing for existing in self.record.steps if (existing.name, existing.subject) != key]
            self.write(steps=(*steps, step))


def read_record(path: Path) -> RunRecord:
    """Read a run's record; ``path`` is run.json or the directory that holds it.

    Raises:
        InfimedError: there is none, or it is of another format; the message says what to do.
    """
    file = path / "run.json" if path.is_dir() else path
    try:
        return RunRecord.model_validate_json(without_checksum(read_named(file, 2**28))[0])
    except FileNotFoundError:
        raise InfimedError(f"{file}: no such run; give a directory that `infimed-run` has made") from None
    except OSError as error:
        raise InfimedError(
            f"{file}: cannot be read ({error.strerror}); give a run of yours, or ask its owner"
        ) from None
    except ValidationError as error:
        number = record_format(file)
        if number is not None and number != RECORD_FORMAT:
            raise InfimedError(f"{file}: {_other_format(number)}") from None
        raise DamagedRecordError(file, first_mistake(error)) from None


class DamagedRecordError(InfimedError):
    """A run.json that cannot be read, and that no other version wrote."""

    def __init__(self, file: Path, cause: str) -> None:
        self.problem = f"{file}: not a run record of this version ({cause}): it is damaged or was edited"
        remedy = "run its run file again with `infimed-run`, which writes it anew and reuses every finished step"
        super().__init__(f"{self.problem}; {remedy}")


def record_format(file: Path) -> int | None:
    """The format that a run.json says it has; ``None`` where there is none, or it is no run record."""
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        number = json.loads(read_named(file, 2**28))["format"]
        return number if type(number) is int else None
    return None


def _other_format(number: int) -> str:
    versions = f"(record format {number}; this one reads {RECORD_FORMAT})"
    if number > RECORD_FORMAT:
        return f"made by a later version {versions}: update InfiMed"
    return f"made by an earlier version {versions}: run its file again with `infimed-run`, which does every step anew"


def new_record(
    name: str, seed: int, config: dict[str, Any], plugins: tuple[PluginInfo, ...], folder: Path | None = None
) -> RunRecord:
    """A record for a run that begins now; ``folder`` is that of its run file."""
    return RunRecord(
        name=name,
        status="running",
        started=now(),
        config=config,
        plugins=plugins,
        environment=environment(folder),
        seed=seed,
    )


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def environment(folder: Path | None = None) -> dict[str, Any]:
    """Versions, machine and revision, found without importing what they are the versions of."""
    packages: dict[str, str] = {}
    for name in (GROUP, *required_packages()):
        with suppress(metadata.PackageNotFoundError):
            packages[name] = _version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "num_cpus": os.cpu_count(),
        "packages": packages,
        "git_revision": _git_revision(folder) if folder is not None else None,
    }


def _git_revision(folder: Path) -> str | None:
    """Of the repository that the run file lies in: it says what was run, and InfiMed's own version who ran it."""
    command = ["git", "rev-parse", "HEAD"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, cwd=folder, check=False)
        return done.stdout.strip() or None
    return None


def is_gone(path: Path, record: RunRecord) -> bool:
    """Whether a run calls itself running, or a step of it, and no living process works in its directory.

    The operating system holds the lock, and lets it go when its process ends, however that comes about. To look at it
    takes no more than to read it.
    """
    is_under_way = record.status == "running" or any(step.status == "running" for step in record.steps)
    if not is_under_way or not (path / LOCK).exists():
        return False
    import fcntl

    try:
        with (path / LOCK).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except OSError as error:  # also that another holds it
        return error.errno in NO_LOCKS and not _is_touched(path / LEASE)


def _file_lock(path: Path) -> BaseFileLock:
    """The lock of a run's directory; where there is none, its error and no lock file that a kill would leave."""
    from filelock import FileLock

    return FileLock(path / LOCK, preserve_lock_file=True)


def _is_touched(lease: Path) -> bool:
    with suppress(OSError):
        return time.time() - lease.stat().st_mtime < 2 * LEASE_SECONDS
    return False


def _owner_of(path: Path) -> str:
    with suppress(OSError, ValueError):
        return (path / OWNER).read_text(encoding="utf-8") if (path / OWNER).is_file() else ""
    return ""


def process_start() -> str:
    """When this process was started, as the system counts it: with its number it names one process for good."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        booted = next(line for line in Path("/proc/stat").read_text(encoding="ascii").split("\n") if "btime" in line)
        seconds = int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return ""
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=0).isoformat()
