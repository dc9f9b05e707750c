"""The bookkeeping of a run's steps: complete artifacts are reused, work is recorded, everything is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_core.api.component import JsonObject
from infimed_core.api.data import MediaLoader
from infimed_core.api.models import ModelPool
from infimed_core.api.reporting import RunEvent, StepRecord
from infimed_core.contracts import raised_in
from infimed_core.distributed.ranks import Ranks
from infimed_core.errors import ComponentError, InfimedError
from infimed_core.plugins import Registry
from infimed_core.runfile.plan import Plan
from infimed_core.stopping import handled, stop_signal
from infimed_core.store.artifacts import Artifact, verify_files
from infimed_core.store.record import RunDirectory

SAME_SIGNAL_SECONDS = 2.0


@dataclass(frozen=True)
class Outcome:
    """What a step has to say for the record."""

    num_in: int | None = None
    num_out: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    details: JsonObject = field(default_factory=dict)
    complete: bool = True
    """Whether the work need not be done again; an answer that is an error is worth asking for in the next run."""


@dataclass
class RunState:
    """What every step of a run needs: the checked plan, the plugins, the directory and who listens."""

    plan: Plan
    registry: Registry
    directory: RunDirectory
    listen: Callable[[RunEvent], None]
    media: MediaLoader
    model_pool: ModelPool
    """The run file's further models."""
    stopped: threading.Event = field(default_factory=threading.Event)
    ranks: Ranks = field(default_factory=Ranks)
    _telling: threading.RLock = field(default_factory=threading.RLock)

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.directory.path

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.plan.file.run.seed

    @property
    def media_directory(self) -> Path:
        """Where media that came inline are stored by content."""
        return self.path / "media"

    def opened_by(self, kinds: Collection[str]) -> dict[str, str]:
        """Who opens media of these kinds, where that is more than InfiMed's own with its defaults; noted in the run."""
        if missing := self.media.missing_packages(kinds):
            raise InfimedError(missing)
        identities = self.media.identities(kinds)
        plugins = {info.name: info for info in self.directory.record.plugins}
        for kind in identities:
            info = self.registry.plugins.get(self.registry.owner("modality", kind))
            if info is not None and info.name not in plugins:
                plugins[info.name] = info
                self.directory.write(plugins=tuple(plugins[name] for name in sorted(plugins)))
        return identities

    def tell(self, kind: str, step: str, payload: Mapping[str, Any] | None = None) -> None:
        """Tell the listener of this process and every listener of the plugins."""
        with self._telling:  # servers are asked side by side, and listeners know of no threads
            self.listen(RunEvent(kind=kind, step=step, directory=str(self.path), payload=payload or {}))

    def say(self, text: str, step: str = "") -> None:
        """Tell a line of text, for people."""
        self.tell("message", step, {"text": text})

    def emitter(self, step: str) -> Callable[[str, Mapping[str, Any]], None]:
        """``tell`` bound to a step."""
        return lambda kind, payload: self.tell(kind, step, payload)

    def step(
        self,
        name: str,
        inputs_digest: str,
        work: Callable[[Path], Outcome],
        *,
        kind: str | None = None,
        subject: Mapping[str, str] | None = None,
        folder: str = "artifacts",
        keep: bool = False,
        prefix: str | None = None,
    ) -> Artifact:
        """Do a step, unless its artifact is complete.

        ``kind`` (default: ``name``) and ``subject`` tell what the step is of, as in ``StepRecord``.
        ``work`` gets the artifact's directory: empty, or with ``keep`` as an interrupted run left it.

        Raises:
            InfimedError: a file of an artifact that stands is not as it was written.
        """
        artifact = Artifact(self.path / folder, prefix or name, inputs_digest)
        relative = str(artifact.directory.relative_to(self.path))
        if artifact.is_complete:
            verify_files(artifact.directory)
            record = artifact.record().model_copy(update={"status": "reused"})
            self.directory.put_step(record)
            self.tell("step_skipped", name, {"artifact": relative})
            return artifact
        begun = StepRecord(
            name=name, kind=kind or name, subject=dict(subject or {}), status="running", artifact=relative
        )
        self.directory.put_step(begun)
        self.tell("step_started", name)
        start = time.perf_counter()
        try:
            outcome = work(artifact.open(keep=keep))
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) or stop_signal() else "failed"
            with suppress(OSError):
                artifact.directory.rmdir()  # where it left nothing
            seconds = round(time.perf_counter() - start, 3)
            details = {} if status == "interrupted" else {"failure": str(error) or type(error).__name__}
            failed = {"status": status, "seconds": seconds, "details": details}
            self.directory.put_step(begun.model_copy(update=failed))
            blamed = error if isinstance(error, ComponentError) else None
            if blamed is None and isinstance(error, Exception):
                blamed = raised_in(error)
            if blamed is not None and status == "failed":  # a plugin's fault: whose, in which method and in which step
                raise ComponentError(f"step '{name}': {blamed}") from error
            raise
        done = {
            "status": "done",
            "num_in": outcome.num_in,
            "num_out": outcome.num_out,
            "dropped": dict(outcome.dropped),
            "seconds": round(time.perf_counter() - start, 3),
            "details": dict(outcome.details),
        }
        record = StepRecord.model_validate({**begun.model_dump(), **done})
        if outcome.complete:
            artifact.seal(record)
        self.directory.put_step(record)
        facts = {"seconds": record.seconds, "num_in": record.num_in, "dropped": dict(record.dropped)}
        self.tell("step_finished", name, facts)
        return artifact

    @contextmanager
    def stop_softly(self) -> Iterator[None]:
        """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request to stop, a later one into an immediate one."""
        requested = 0.0

        def handle() -> None:
            nonlocal requested
            # A launcher passes on what the terminal has sent already: that is one wish, told twice.
            if self.stopped.is_set() and (self.ranks.size == 1 or time.monotonic() > requested + SAME_SIGNAL_SECONDS):
                raise KeyboardInterrupt
            if not self.stopped.is_set():
                requested = time.monotonic()
                self.stopped.set()
                self.say("stopping after this step; press Ctrl-C again to stop at once")

        with handled(handle):
            yield
