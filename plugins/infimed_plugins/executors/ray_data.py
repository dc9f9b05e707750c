"""The executor ``ray-data``: a Ray Data pipeline, on a cluster or on this machine."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import Field

from infimed_core import Component, Executor, InfimedError
from infimed_plugins.executors.local import processors, threads
from infimed_plugins.executors.ray import call, map_tasks, missing_ray, result, shut_down_after, start_ray

MOST_IN_FLIGHT = 64
"""Items handed out and not yet returned after a worker has died."""
T = TypeVar("T")
R = TypeVar("R")


class RayData(Executor):
    """One row of a Ray dataset per item, results in order, memory bounded by Ray's own back-pressure.

    Needs the package ray with its data part. Work is done in tasks, not in actors: a pool of actors that claims every
    CPU of a small machine leaves none to read with, and waits for ever. A task claims a fraction of a CPU for the same
    reason.
    """

    address: str | None = Field(
        default=None, description="Of a cluster ('auto', 'ray://host:10001'); started here by default."
    )
    cpus_per_task: float = Field(default=0.5, gt=0, description="CPUs that one task claims; may be a fraction.")
    memory_per_task: int | None = Field(default=None, ge=1, description="Bytes of memory that one task claims.")
    max_retries: int = Field(default=3, ge=0, description="How often a task is repeated whose worker died.")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """That ray is not installed."""
        return missing_ray()

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``; an exception is raised as it was.

        Raises:
            InfimedError: ray is not installed or the cluster cannot be reached, or an item's worker died every time.
        """
        if not len(items):
            return
        ray = start_ray(self.address)
        try:
            import ray.data
        except ImportError as error:
            raise InfimedError(f"the executor 'ray-data' needs ray's data part ({error}): {_REMEDY}") from None
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is raised as well
        # by default a pipeline repeats a task for ever
        options = {"num_cpus": self.cpus_per_task, "memory": self.memory_per_task, "max_retries": self.max_retries}
        work = ray.cloudpickle.dumps(function)
        rows = [{"item": ray.cloudpickle.dumps(item)} for item in items]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _call, fn_kwargs={"work": work}, **options
        )
        num_done = 0
        try:
            for row in dataset.iter_rows():
                yield result(pickle.loads(row["result"]))  # pickled by this run's own task, a few lines below
                num_done += 1
        except ray.exceptions.RayError:
            # A pipeline says that a worker died, and not at which item: tasks that have one item each do.
            yield from map_tasks(ray, function, items, options, MOST_IN_FLIGHT, start=num_done)

    def uses(self) -> str:
        """The cluster's processors, and the threads of this process."""
        where = f"the cluster at {self.address}" if self.address else "this machine"
        return f"computes on {processors()}: data on Ray's workers on {where}, {threads()}"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within this Ray waits for the next ``map``; afterwards it is shut down, unless it ran before."""
        with shut_down_after():
            yield


_REMEDY = "pip install 'infimed[ray]'"


def _call(row: dict[str, Any], work: bytes) -> dict[str, Any]:
    """What runs on a worker."""
    return {"result": pickle.dumps(call(work, row["item"]))}
