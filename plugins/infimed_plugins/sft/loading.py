"""Rows of the coming steps, made ahead in a thread or in worker processes."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from infimed_core import Batches, InfimedError, PackedBatch


class Rows:
    """The rows at the places (step, index), by number; an error travels as a value, so that it keeps its type."""

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


def _make_rows(rows: Rows, first: int, stride: int, sender: Connection) -> None:
    """What a worker process does: every ``stride``-th row in order, each as soon as the one before is taken."""
    # Ctrl-C is the main process's to handle: it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for index in range(first, len(rows), stride):
            sender.send(rows[index])
    except BrokenPipeError:
        pass  # the main process is gone or needs no more rows


def _received(receiver: Connection, process: Any) -> Iterator[PackedBatch | Exception]:
    """The rows of one worker.

    Raises:
        InfimedError: the worker ended before its rows did.
    """
    while True:
        try:
            row = receiver.recv()
        except (EOFError, OSError):
            process.join()
            code = process.exitcode
            how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
            hint = "; out of memory? try fewer num_workers or rows_ahead" if code == -signal.SIGKILL else ""
            raise InfimedError(
                f"a process that prepares rows (pid {process.pid}) ended in the middle of its work ({how}{hint}); "
                "run the same command to go on from the last saved step"
            ) from None
        yield row


def in_processes(rows: Rows, num_workers: int, ahead: int) -> Iterator[PackedBatch | Exception]:
    """The rows in order, dealt in turn to worker processes that keep up to ``ahead`` ready each; closing ends them.

    Each worker has a pipe of its own: one that dies closes it, even in the middle of a row, and is noticed at once. (A
    queue shared by all workers stays open, and whoever waits for the rest of that row waits for ever.)
    """
    # A server process that never ran a thread does the forking: a fork of this process could deadlock.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["infimed_core", "transformers"])
    num_workers = min(num_workers, len(rows))
    processes, streams = [], []
    try:
        for number in range(num_workers):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (rows, number, num_workers, sender)
            process = context.Process(target=_make_rows, args=arguments, daemon=True, name=f"rows-{number}")
            process.start()
            sender.close()  # else the pipe stays open when the worker is gone
            processes.append(process)
            streams.append(in_a_thread(_received(receiver, process), ahead))
        for index in range(len(rows)):
            yield next(streams[index % num_workers])
    finally:
        for process in processes:
            process.terminate()
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]
        for process in processes:
            process.join()


def told_idle(batches: Batches, num_ranks: int) -> str | None:
    """What to say where some processes have a row in no step."""
    most = max((batches.num_rows(step) for step in range(batches.num_steps)), default=0)
    if not 0 < most < num_ranks:
        return None
    return (
        f"{num_ranks - most} of {num_ranks} processes have no row in any step, because a step holds {most}; set "
        f"rows_per_step to {num_ranks} or a multiple of it, or start {most} processes"
    )


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
        rows = Rows(self._batches, [(step, index) for step, indices in self._steps for index in indices])
        if self._num_workers and len(rows):
            return in_processes(rows, self._num_workers, self._ahead)
        return in_a_thread((rows[i] for i in range(len(rows))), self._ahead)

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
