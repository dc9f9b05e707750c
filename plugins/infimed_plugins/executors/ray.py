"""The executor ``ray``: tasks on a Ray cluster, or on this machine where none is named."""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import platform
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import Field

from infimed_core import Component, DataError, Executor, InfimedError, WorkerDiedError
from infimed_plugins.executors.local import processors, threads

T = TypeVar("T")
R = TypeVar("R")


class Ray(Executor):
    """One Ray task per item, results in order, a bounded number in flight.

    Needs the package ray. A task asks for ``cpus_per_task`` CPUs; a fraction leaves room for Ray's own actors on a
    small machine. Ray is started by the first ``map`` and shut down when all work on the data is done, unless it ran
    already.
    """

    address: str | None = Field(
        default=None, description="Of a cluster ('auto', 'ray://host:10001'); started here by default."
    )
    cpus_per_task: float = Field(default=0.5, gt=0, description="CPUs that one task claims; may be a fraction.")
    memory_per_task: int | None = Field(default=None, ge=1, description="Bytes of memory that one task claims.")
    max_in_flight: int = Field(default=64, ge=1, description="Most items handed out and not yet returned.")
    max_retries: int = Field(default=3, ge=0, description="How often a task is repeated whose worker died.")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """That ray is not installed."""
        return missing_ray()

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``; an exception is raised as it was.

        Raises:
            InfimedError: ray is not installed or the cluster cannot be reached, or an item's worker died every time.
        """
        ray = start_ray(self.address)
        options = {"num_cpus": self.cpus_per_task, "max_retries": self.max_retries, "memory": self.memory_per_task}
        return map_tasks(ray, function, items, options, self.max_in_flight)

    def uses(self) -> str:
        """The cluster's processors, and the threads of this process."""
        where = f"the cluster at {self.address}" if self.address else "this machine"
        return f"computes on {processors()}: data on Ray's workers on {where}, {threads()}"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within this Ray waits for the next ``map``; afterwards it is shut down, unless it ran before."""
        with shut_down_after():
            yield


def missing_ray() -> dict[str, str]:
    """What an executor that needs ray has to say where it is not installed, as ``Component.problems`` does."""
    try:
        found = importlib.util.find_spec("ray") is not None
    except (ImportError, ValueError):
        found = False
    return {} if found else {"": "needs the package ray, not installed here; run: pip install 'infimed[ray]'"}


@contextmanager
def shut_down_after() -> Iterator[None]:
    """End Ray where it was started within: idle it holds more than a gigabyte, which training may need."""
    before = sys.modules.get("ray")
    was_running = before is not None and before.is_initialized()
    try:
        yield
    finally:
        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized() and not was_running:
            ray.shutdown()


def start_ray(address: str | None) -> Any:
    """The package ray, connected; started here where no address is given and it does not run yet.

    Raises:
        InfimedError: it is not installed, or cannot be started.
    """
    try:
        import ray
    except ImportError:
        raise InfimedError(
            "the executors 'ray' and 'ray-data' need the package ray: pip install 'infimed[ray]'"
        ) from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default; silences its notice
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        for is_last in (address is not None, True):  # a busy machine may not start it in the 30 s that Ray waits
            try:
                with _own_signals():
                    ray.init(address=address, **settings)
                break
            except Exception as error:
                if is_last:
                    raise InfimedError(f"Ray cannot be started at address {address!r}: {error}") from None
                ray.shutdown()
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself and ends the process; the run has its own way to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def map_tasks(
    ray: Any,
    function: Callable[[T], R],
    items: Sequence[T],
    options: Mapping[str, Any],
    max_in_flight: int,
    start: int = 0,
) -> Iterator[R]:
    """Results of the items from ``start`` on, in order, one Ray task for each; an exception is raised as it was.

    Raises:
        InfimedError: a worker died at an item every time, or lacks something; names the item, or what to install.
    """
    task = ray.remote(call).options(**options)
    shared = ray.put(ray.cloudpickle.dumps(function))
    waiting: deque[tuple[int, Any]] = deque()
    following = iter(range(start, len(items)))
    # Where the caller stops half-way the tasks in flight run to their end: Ray aborts this whole process where a task
    # that is cancelled ends at that moment ("Tried to complete task that was not pending").
    while True:
        while len(waiting) < max_in_flight and (index := next(following, None)) is not None:
            waiting.append((index, task.remote(shared, ray.cloudpickle.dumps(items[index]))))
        if not waiting:
            return
        index, reference = waiting[0]
        try:
            outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            raise _gave_up(error, index, len(items)) from None
        yield result(outcome)
        waiting.popleft()


def call(function: bytes, item: bytes) -> tuple[bool, Any, str]:
    """What runs on a worker. Its own exception travels as a value: not retried, not rewrapped."""
    try:
        # What this run's own process pickled and Ray brought here: a cluster runs its users' code by design.
        return True, pickle.loads(function)(pickle.loads(item)), platform.node()
    except Exception as error:
        return False, error, platform.node()


def result(outcome: tuple[bool, Any, str]) -> Any:
    """What a worker has returned.

    Raises:
        InfimedError: the worker lacks a module or a file that is here; else the worker's own exception.
    """
    is_good, value, host = outcome
    if is_good:
        return value
    if isinstance(value, ImportError):
        raise InfimedError(_lacks(value.name or str(value), host)) from None
    if isinstance(value, FileNotFoundError) or (isinstance(value, DataError) and value.code == "missing_file"):
        raise InfimedError(
            f"a worker on {host} does not find what it needs ({value}): the workers need to see the data and the run's "
            "directory under the same paths as this machine"
        ) from None
    raise value


def _lacks(module: str, host: str) -> str:
    return (
        f"a Ray worker{host and ' on '}{host} lacks the module '{module}': install it on the workers; they need the "
        "same packages and plugins as this machine"
    )


def _gave_up(error: Exception, index: int, num_items: int) -> InfimedError:
    found = re.search(r"No module named '([\w.]+)'", str(error))
    if found:  # before our own code runs: InfimedError itself may be what is not there
        return InfimedError(_lacks(found.group(1), ""))
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return WorkerDiedError(
        index,
        f"a Ray worker died at item {index} of {num_items} every time ({type(error).__name__}: {first}); killed (out "
        "of memory?) or crashed in a library: use memory_per_task, or 'serial' to see the crash",
    )
