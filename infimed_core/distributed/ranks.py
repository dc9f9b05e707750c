"""The processes of one run: the first does its steps and gives the others work; each knows whether the others live."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infimed_core.api.component import JsonObject
from infimed_core.errors import InfimedError

BEAT_SECONDS = 1.0
"""How often a process says that it lives, and looks whether the others did."""

SILENT_SECONDS = 30.0
"""A process that said nothing for so long is taken for dead."""

GRACE_SECONDS = 15.0
"""What a process gets to end by itself after another died; then it is ended, whatever it waits for."""

POLL_SECONDS = 0.05


def own_rank() -> int:
    """This process's number under a launcher (torchrun, accelerate launch); 0 without one."""
    return int(os.environ.get("RANK") or 0)


class Ranks:
    """One process alone; see ``start_ranks`` for several."""

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this process does the steps and writes the record."""
        return self.rank == 0

    def give(self, task: JsonObject) -> None:
        """Hand a task (JSON) to every other process; only the first process may."""

    def collect(self) -> list[JsonObject]:
        """Wait until the others have done the last task; their results in the order of ranks."""
        return []

    def done(self) -> bool:
        """Whether the others have done the last task."""
        return True

    def take(self) -> JsonObject:
        """Wait for the next task from the first process."""
        raise InfimedError("a process alone has nobody to take work from")

    def report(self, result: JsonObject) -> None:
        """Say that the task taken last is done."""

    def check(self) -> None:
        """Raise ``InfimedError`` where another process is gone."""

    def cause(self, seconds: float = 0.0) -> str | None:
        """Why another process ended, if one did (waits so long for it to show); ``None``: all live."""
        return None

    def last_words(self, say: Callable[[str], None]) -> None:
        """What to do before this process is ended because another is gone and it does not end by itself."""

    def close(self, problem: str | None = None) -> None:
        """End this process's part, and tell the others the problem if that is why."""


class _LaunchedRanks(Ranks):
    """The processes that a launcher started, over a store that the first of them keeps."""

    def __init__(self) -> None:
        import torch
        from accelerate import PartialState

        distributed: Any = torch.distributed
        state = PartialState(cpu=not torch.cuda.is_available())
        self.rank, self.size = state.process_index, state.num_processes
        host = os.environ.get("MASTER_ADDR", "localhost")
        port = torch.zeros(1, dtype=torch.int64, device=state.device)
        if self.rank == 0:
            self._store: Any = distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)
            port += self._store.port
        distributed.broadcast(port, 0)
        if self.rank:
            self._store = distributed.TCPStore(host, int(port), is_master=False)
        # A store's connection is used by one thread at a time.
        self._watched: Any = distributed.TCPStore(host, int(port), is_master=False)
        self._num_tasks = 0
        self._lost: str | None = None
        self._say: Callable[[str], None] = lambda text: None
        self._closed = threading.Event()
        self._store.set(f"process/{self.rank}", json.dumps([socket.gethostname(), os.getpid()]))
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()

    def give(self, task: JsonObject) -> None:
        self._num_tasks += 1
        self._store.set(f"task/{self._num_tasks}", json.dumps(task))

    def collect(self) -> list[JsonObject]:
        return [json.loads(self._wait(f"done/{self._num_tasks}/{rank}")) for rank in range(1, self.size)]

    def done(self) -> bool:
        self.check()
        return bool(self._store.check([f"done/{self._num_tasks}/{rank}" for rank in range(1, self.size)]))

    def take(self) -> JsonObject:
        self._num_tasks += 1
        task: JsonObject = json.loads(self._wait(f"task/{self._num_tasks}"))
        return task

    def report(self, result: JsonObject) -> None:
        self._store.set(f"done/{self._num_tasks}/{self.rank}", json.dumps(result))

    def _wait(self, key: str) -> str:
        while True:
            self.check()
            try:
                if self._store.check([key]):
                    return str(self._store.get(key).decode())
            except RuntimeError as error:
                raise InfimedError(
                    self.cause(BEAT_SECONDS) or f"the first process of the run is gone ({error})"
                ) from None
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        if self._lost is not None:
            raise InfimedError(self._lost)

    def cause(self, seconds: float = 0.0) -> str | None:
        until = time.monotonic() + seconds
        while self._lost is None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return self._lost

    def last_words(self, say: Callable[[str], None]) -> None:
        self._say = say

    def close(self, problem: str | None = None) -> None:
        from accelerate import PartialState

        try:
            self._store.set(f"ended/{self.rank}", json.dumps(problem))
            if self.rank == 0:
                # The store ends with this process: the others must have read what it holds.
                until = time.monotonic() + 5 * BEAT_SECONDS
                others = [f"ended/{rank}" for rank in range(1, self.size)]
                while self._lost is None and time.monotonic() < until and not self._store.check(others):
                    time.sleep(POLL_SECONDS)
            elif problem is not None:
                # A launcher ends the others as soon as one has failed: the first may write its record before.
                until = time.monotonic() + 5 * BEAT_SECONDS
                while time.monotonic() < until and not self._store.check(["ended/0"]):
                    time.sleep(POLL_SECONDS)
                time.sleep(BEAT_SECONDS)
        except RuntimeError:
            pass  # the store went with the first process
        self._closed.set()
        if problem is None and self._lost is None:
            PartialState().destroy_process_group()
            PartialState._reset_state()

    def _watch(self) -> None:
        others = range(1, self.size) if self.rank == 0 else (0,)
        seen = {rank: (-1, time.monotonic()) for rank in others}
        while not self._closed.wait(BEAT_SECONDS):
            try:
                self._watched.add(f"beat/{self.rank}", 1)
                for rank in others:
                    count = self._watched.add(f"beat/{rank}", 0)
                    if count != seen[rank][0]:
                        seen[rank] = (count, time.monotonic())
                    self._lost = self._lost or self._trouble(rank, time.monotonic() - seen[rank][1])
            except RuntimeError:
                self._lost = self._gone(0, "its connection is closed")
            if self._lost is not None:
                break
        if self._lost is None or self._closed.wait(GRACE_SECONDS):
            return
        self._say(self._lost)
        print(self._lost, file=sys.stderr, flush=True)
        os._exit(1)

    def _trouble(self, rank: int, silent: float) -> str | None:
        if self._watched.check([f"ended/{rank}"]):
            problem = json.loads(self._watched.get(f"ended/{rank}").decode())
            return f"rank {rank} of {self.size} ended: {problem}" if problem is not None else None
        if self._watched.check([f"process/{rank}"]):
            host, process = json.loads(self._watched.get(f"process/{rank}").decode())
            if host == socket.gethostname() and not _lives(process):
                return self._gone(rank, "it was killed or crashed")
        if silent > SILENT_SECONDS:
            return self._gone(rank, f"no sign of life for {silent:.0f} s")
        return None

    def _gone(self, rank: int, how: str) -> str:
        return (
            f"rank {rank} of the run's {self.size} processes is gone ({how}); its own output says more. What is "
            "finished is kept: the same command goes on from there"
        )


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # dead, but its parent has not asked how it ended
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def start_ranks() -> Ranks:
    """The processes of this run, by the environment that a launcher sets; one process without a launcher.

    Returns once every process is there.

    Raises:
        InfimedError: the environment is not complete, or the processes do not find each other.
    """
    size = int(os.environ.get("WORLD_SIZE") or 1)
    if size == 1:
        return Ranks()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise InfimedError(
            f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set: start the run by torchrun or accelerate "
            "launch (docs/several-gpus.md), or unset WORLD_SIZE for one process"
        )
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else every store warns at length when one process ends
    try:
        return _LaunchedRanks()
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InfimedError(
            f"rank {own_rank()}: the {size} processes of the run did not find each other at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({first}); check that every node was started"
        ) from None


def run_worker(ranks: Ranks, handlers: Mapping[str, Callable[[JsonObject], None]]) -> None:
    """Do each task of the first process with the handler of its ``kind``, until the run ends.

    Raises:
        InfimedError: another process is gone, or a handler failed.
    """
    while (task := ranks.take())["kind"] != "end":
        handlers[task["kind"]](task)
        ranks.report({})


def wait_for_file(path: Path, rank: int) -> None:
    """Wait up to a minute for a file of the first process; a network file system shows it late.

    Raises:
        InfimedError: the file did not appear, so the processes do not share the run directory.
    """
    until = time.monotonic() + 60.0
    while not path.exists():
        if time.monotonic() > until:
            raise InfimedError(
                f"rank {rank} does not see {path}, which the first process has written: every process needs the same "
                "run directory, on storage that all nodes share"
            )
        time.sleep(POLL_SECONDS)
