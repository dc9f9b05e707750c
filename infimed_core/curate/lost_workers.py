"""Parts of a step, wherever the executor does them: a row at which a worker dies costs that row alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from infimed_core.api.data import Executor
from infimed_core.contracts import CheckedExecutor
from infimed_core.errors import WorkerDiedError

DIED = "the worker died at it: out of memory, or a library crashed"
REST_UNREAD = "rest_unread"
"""The fault that stands for a row at which a worker died, and for all that come after it in its file."""
MOST_DEATHS = 32
"""So many rows of a part that are fatal: it is not the rows, and every one costs a new process."""
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class PartTask(Generic[R]):
    """One part of a step. Picklable.

    Attributes:
        note: where each row is noted before its turn, one after the other: a worker has died at one of them.
        fatal: rows at which it has died; they are left alone.
    """

    note: Path | None = None
    fatal: tuple[int, ...] = ()

    @abstractmethod
    def __call__(self) -> R:
        """Do this part in this process."""

    def begin_row(self, row: int | str) -> None:
        """Say that it is this row's turn; "": there is none left."""
        if self.note is not None:
            self.note.write_text(str(row), encoding="ascii")


def each_part(executor: Executor, tasks: Sequence[PartTask[R]], directory: Path) -> Iterator[R]:
    """Every part as it is done, in order. A row at which a worker dies each time is left to the part, as ``fatal``.

    Raises:
        WorkerDiedError: a worker died outside of any row.
    """
    while tasks:
        num_done = 0
        try:
            for part in executor.map(_call, tasks):
                num_done += 1
                yield part
            return
        except WorkerDiedError:
            yield _alone(executor, tasks[num_done], directory / ".part-tried")
        tasks = tasks[num_done + 1 :]


def _alone(executor: Executor, task: PartTask[R], note: Path) -> R:
    try:
        while True:
            note.write_text("", encoding="ascii")
            try:
                (done,) = CheckedExecutor(inner=executor, apart=True).map(_call, [replace(task, note=note)])
                return done
            except WorkerDiedError:
                row = note.read_text(encoding="ascii")
                if not row or int(row) in task.fatal or len(task.fatal) == MOST_DEATHS:
                    raise
                task = replace(task, fatal=(*task.fatal, int(row)))
    finally:
        note.unlink(missing_ok=True)


def _call(task: PartTask[R]) -> R:
    return task()
