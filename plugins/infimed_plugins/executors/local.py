"""Executors on this machine: one after the other, or a pool of processes."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field

from infimed_core import Executor, WorkerDiedError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

THREADS = "OMP_NUM_THREADS"
"""The environment variable that torch and numpy look at when they are imported."""
T = TypeVar("T")
R = TypeVar("R")


class Serial(Executor):
    """One item after the other, in this process: the one to debug with."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``."""
        return map(function, items)

    def uses(self) -> str:
        """This process, and its threads."""
        return f"computes on {processors()}: data in this process, {threads()}"


@dataclass
class _Waiting:
    """Pools between two maps."""

    is_open: bool = False
    pools: list[ProcessPoolExecutor] = field(default_factory=list)


class Processes(Executor):
    """A pool of fresh Python processes.

    Started by spawn, since a fork of a process with threads (torch, pyarrow, OpenCV) may hang; within ``opened`` they
    wait for the next ``map``, for what a process has imported it need not import again. Only
    ``num_processes * queue_per_process`` results are ever waiting, so memory stays flat as items grow. A process whose
    parent has died ends by itself.
    """

    num_processes: int | None = Field(
        default=None, ge=1, description="Worker processes; the CPUs of this process by default."
    )
    queue_per_process: int = Field(default=4, ge=1, description="Items handed out ahead for each process.")

    max_retries: int = Field(default=1, ge=0, description="How often an item is repeated, apart, whose worker died.")

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``. A single item, or all for one process that is asked for, is done here.

        Where a worker dies, every item in work at that time is repeated apart from the others.

        Raises:
            WorkerDiedError: a worker process died (killed for memory, say) at one item each time; names the item.
        """
        num_processes = min(_default_processes() if self.num_processes is None else self.num_processes, len(items))
        if len(items) <= 1 or num_processes == 0 or self.num_processes == 1:
            yield from map(function, items)
            return
        from concurrent.futures.process import BrokenProcessPool

        pool = self._taken()
        waiting: deque[tuple[int, T, Future[R]]] = deque()
        following = iter(enumerate(items))
        num_suspects = 0  # of those that wait: in work when a worker died
        try:
            while True:
                while not num_suspects and len(waiting) < num_processes * self.queue_per_process:
                    if (given := next(following, None)) is None:
                        break
                    waiting.append((*given, _submitted(pool, function, given[1])))
                if not waiting:
                    break
                index, item, future = waiting[0]
                for num_tries in count():
                    try:
                        result = future.result()
                        break
                    except BrokenProcessPool:
                        if num_tries == self.max_retries:
                            last = index if num_tries else waiting[-1][0]
                            raise WorkerDiedError(index, _died(index, last, len(items))) from None
                        if num_tries or not num_suspects:
                            pool.shutdown(wait=True)
                            pool = self._taken()
                        num_suspects = num_suspects or len(waiting)
                        future = _submitted(pool, function, item)
                num_suspects = max(0, num_suspects - 1)
                waiting.popleft()
                yield result
        except BaseException:  # also the caller's: Ctrl-C, or no more results wanted
            _stop(pool)
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        if self._waiting.is_open:
            self._waiting.pools.append(pool)
        else:
            pool.shutdown(wait=True)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within this, processes wait for the next ``map`` instead of ending."""
        self._waiting.is_open = True
        try:
            yield
        finally:
            self._waiting.is_open = False
            while self._waiting.pools:
                self._waiting.pools.pop().shutdown(wait=True)

    def uses(self) -> str:
        """How many processes, how many threads, and where the numbers are from."""
        number, named = self.num_processes or _num_cpus(), "num_processes" if self.num_processes else "one a processor"
        return f"computes on {processors()}: data in up to {number} processes ({named}), {threads()}"

    @cached_property
    def _waiting(self) -> _Waiting:
        return _Waiting()

    def _taken(self) -> ProcessPoolExecutor:
        """A pool for one ``map``; a ``map`` within another gets one of its own."""
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        if self._waiting.pools:
            return self._waiting.pools.pop()
        num_processes = self.num_processes or _num_cpus()  # started one by one, as items come
        return ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"), initializer=_begin)


def _default_processes() -> int:
    """One for each processor, and one where there is one: what dies in it does not end the run.

    (With 0, which tests put in its place, all is done in this process.)
    """
    return _num_cpus()


def _submitted(pool: ProcessPoolExecutor, function: Callable[[T], R], item: T) -> Future[R]:
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    try:
        return pool.submit(function, item)
    except BrokenProcessPool as error:
        future: Future[R] = Future()
        future.set_exception(error)
        return future


def _num_cpus() -> int:
    """CPUs this process may use, which in a container is fewer than the machine has: by affinity and by quota."""
    quota = cpu_quota()
    return _allowed() if quota is None else max(1, min(_allowed(), math.ceil(quota)))


def _allowed() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processors() -> str:
    """How many processors there are to use, of how many, and what bounds them."""
    machine, allowed, quota = os.cpu_count() or 1, _allowed(), cpu_quota()
    bounds = [f"affinity {allowed}"] if allowed < machine else []
    bounds += [f"quota {quota:g}"] if quota is not None and quota < allowed else []
    shown = f"{_num_cpus()} of {machine} processors" if bounds else f"{machine} processors"
    return shown + (f" ({', '.join(bounds)})" if bounds else "")


def threads() -> str:
    """How many threads a model computes with in this process."""
    given = os.environ.get(THREADS, "")
    return f"models with {given} threads ({THREADS})" if given else f"models with {_num_cpus()} threads"


def bound_threads() -> None:
    """Where a quota grants fewer processors than the machine has: as many threads, unless ``OMP_NUM_THREADS`` says.

    torch starts one for each processor that affinity allows, and would wait for its turn with all of them.
    """
    if THREADS in os.environ or _num_cpus() == _allowed():
        return
    os.environ[THREADS] = str(_num_cpus())
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(_num_cpus())


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the process's control groups (version 2 or 1) grant it, the least of them all; ``None``: no bound."""
    groups = []
    for line in _text(own).split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            groups.append((root if not controllers else root / "cpu", place.strip("/")))
    found = []
    for base, place in groups or [(root, "")]:
        inner = base / place
        for folder in [inner, *inner.parents]:  # a container may show its own group as the root
            quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
            quota, period = (
                quota or _text(folder / "cpu.cfs_quota_us").strip(),
                period or _text(folder / "cpu.cfs_period_us"),
            )
            if quota.isdigit() and period.strip().isdigit() and int(period):
                found.append(int(quota) / int(period))
            if folder == base:
                break
    return min(found, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _begin() -> None:
    """Make a worker leave Ctrl-C to the main process, and use one thread: n processes of n threads are slower."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _end_with_parent() -> None:
    """End this process when the main one is gone, which a kill leaves no time to tell: a queue is silent for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers in the middle of their items: what a step writes is whole or not there, so nothing is spoilt."""
    for process in list((pool._processes or {}).values()):
        process.terminate()


def _died(first: int, last: int, num_items: int) -> str:
    which = f"item {first}" if first == last else f"item {first} (or one up to {last}, all in work at that time)"
    return (
        f"a worker process died at {which} of {num_items}, killed (out of memory?) or crashed in a library; "
        "use fewer processes (executor: num_processes), or 'serial' to see the crash"
    )
