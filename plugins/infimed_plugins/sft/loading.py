"""Rows of the coming steps, made ahead in a thread or in worker processes."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from infimed_core import Batches, PackedBatch


class Rows:
    """A map-style dataset over (step, index of the row); an error travels as a value, so that it keeps its type."""

    def __init__(self, batches: Batches, places: list[tuple[int, int]]) -> None:
        self._batches = batches
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> PackedBatch | Exception:
        try:
            return self._batches.row(*self._places[index])
        except Exception as error:
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                # An error that cannot travel would leave the main process waiting for ever.
                return RuntimeError(f"{type(error).__name__}: {error}")
            return error


def _as_it_is(row: Any) -> Any:
    return row


def in_a_thread(values: Iterator[Any], ahead: int) -> Iterator[Any]:
    """The same values, made by a thread that keeps up to ``ahead`` of them ready; closing ends the thread."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=ahead)
    closed = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for value in values:
                if not put("value", value):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="rows", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        closed.set()
        thread.join()


class Loader:
    """Iterates over the steps from ``start``: each with this rank's rows and their indices in the step.

    Rows are dealt to ranks in turn. ``waited`` counts the seconds spent waiting for rows. The rows do not depend
    on ``num_workers``.
    """

    def __init__(self, batches: Batches, start: int, rank: int, world_size: int, num_workers: int, ahead: int) -> None:
        self.waited = 0.0
        self._batches = batches
        self._steps = [
            (step, list(range(rank, batches.num_rows(step), world_size))) for step in range(start, batches.num_steps)
        ]
        self._num_workers = num_workers
        self._ahead = ahead

    def _rows(self) -> Iterator[PackedBatch | Exception]:
        from torch.utils.data import DataLoader

        rows = Rows(self._batches, [(step, index) for step, indices in self._steps for index in indices])
        if not len(rows):
            return
        if not self._num_workers:
            yield from in_a_thread((rows[i] for i in range(len(rows))), self._ahead)
            return
        # A server process that never ran a thread does the forking: a fork of this process could deadlock.
        start = multiprocessing.get_context("forkserver")
        start.set_forkserver_preload(["torch.utils.data", "infimed_core", "transformers"])
        yield from DataLoader(
            rows,  # type: ignore[arg-type]
            batch_size=None,
            shuffle=False,
            num_workers=self._num_workers,
            collate_fn=_as_it_is,
            multiprocessing_context=start,
            prefetch_factor=self._ahead,
        )

    def __iter__(self) -> Iterator[tuple[int, list[tuple[int, PackedBatch]]]]:
        rows = self._rows()
        try:
            for step, indices in self._steps:
                started = time.perf_counter()
                own = []
                for index in indices:
                    row = next(rows)
                    if isinstance(row, Exception):
                        raise row
                    own.append((index, row))
                self.waited += time.perf_counter() - started
                yield step, own
        finally:
            rows.close()  # type: ignore[attr-defined]
