"""The executor ``ray``: tasks on a Ray cluster, or on this machine where none is named."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import Field

from infimed_core import Component, Executor, InfimedError

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
        task = ray.remote(_call).options(
            num_cpus=self.cpus_per_task, max_retries=self.max_retries, memory=self.memory_per_task
        )
        shared = ray.put(function)
        waiting: deque[tuple[int, Any]] = deque()
        following = iter(enumerate(items))
        try:
            while True:
                while len(waiting) < self.max_in_flight:
                    try:
                        index, item = next(following)
                    except StopIteration:
                        break
                    waiting.append((index, task.remote(shared, item)))
                if not waiting:
                    return
                index, reference = waiting[0]
                yield _result(ray, reference, index, len(items))
                waiting.popleft()
        finally:
            for _, reference in waiting:
                ray.cancel(reference, force=False)

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
        try:
            with _own_signals():
                ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise InfimedError(f"Ray cannot be started at address {address!r}: {error}") from None
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


def _call(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """What runs on a worker. Its own exception travels as a value: not retried, not rewrapped."""
    try:
        return True, function(item)
    except Exception as error:
        return False, error


def _result(ray: Any, reference: Any, index: int, num_items: int) -> Any:
    try:
        good, value = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise InfimedError(
            f"Ray gave up on item {index} of {num_items}: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        ) from None
    if not good:
        raise value
    return value
