"""Packers that put samples end to end into rows of a fixed budget."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Packer, Packs

_ROW_BITS = 40
_ROW_MASK = (1 << _ROW_BITS) - 1
_UNLIMITED = 2**62
_MOST_TRIES = 128
_CLOSED_SHARE = 0.02


class BestFit(Packer):
    """Best-fit decreasing inside windows: each sample goes to the fullest row that still has room for it.

    Rows not yet full stay open for the next windows, so that little is left empty while samples stay near the place
    where the seeded shuffle put them.
    """

    window: int = Field(default=4096, ge=1, description="Samples looked at together.")
    open_rows: int = Field(default=1024, ge=1, description="Most rows kept open from one window to the next.")

    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Rows in the order in which they were opened."""
        fits = np.flatnonzero((costs <= budget).all(axis=1))
        if len(fits) == 0:
            return Packs.from_lists([])
        bins = self._bins(costs[fits[: self.window]], budget)
        row_of = np.concatenate(
            [bins.place(costs[fits[start : start + self.window]]) for start in range(0, len(fits), self.window)]
        )
        by_row = np.argsort(row_of, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of))])
        return Packs(fits[by_row], offsets.astype(np.int64))

    def stream(self, costs: Iterable[NDArray[np.int64]], budget: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The rows of ``group`` over all costs together, each as soon as no later sample can go into it."""
        bins: _OneBudget | _ManyBudgets | None = None
        rows: dict[int, list[int]] = {}
        for members, window in windows_of(costs, budget, self.window):
            bins = bins or self._bins(window, budget)
            for member, row in zip(members.tolist(), bins.place(window).tolist(), strict=True):
                rows.setdefault(row, []).append(member)
            for row in sorted(rows.keys() - bins.open_numbers()):
                yield np.array(rows.pop(row), dtype=np.int64)
        for row in sorted(rows):
            yield np.array(rows[row], dtype=np.int64)

    def _bins(self, first: NDArray[np.int64], budget: NDArray[np.int64]) -> _OneBudget | _ManyBudgets:
        """Empty bins. What is scarce is read from the first window alone: a stream has no more to go by."""
        limited = [column for column in (1, 2) if budget[column] < _UNLIMITED and first[:, column].any()]
        if not limited:
            return _OneBudget(int(budget[0]), self.open_rows)
        return _ManyBudgets(budget, limited, first, self.open_rows)


def windows_of(
    costs: Iterable[NDArray[np.int64]], budget: NDArray[np.int64], size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Windows of ``size`` samples that fit a row, whatever the blocks they come in: their numbers and their costs."""
    place = 0
    waiting = np.zeros((0, 4), dtype=np.int64)
    for block in costs:
        numbered = np.concatenate([np.arange(place, place + len(block))[:, None], block], axis=1)
        place += len(block)
        waiting = np.concatenate([waiting, numbered[(block <= budget).all(axis=1)]])
        while len(waiting) >= size:
            yield waiting[:size, 0], waiting[:size, 1:]
            waiting = waiting[size:]
    if len(waiting):
        yield waiting[:, 0], waiting[:, 1:]


class _OneBudget:
    """Open rows by tokens alone. A row is one integer, its room above its number, in a sorted list."""

    def __init__(self, row_tokens: int, most_open: int) -> None:
        self._most_open = most_open
        self._capacity = row_tokens << _ROW_BITS
        self._open: list[int] = []
        self._count = 0

    def open_numbers(self) -> set[int]:
        """Rows that a later sample may still go into."""
        return {row & _ROW_MASK for row in self._open}

    def place(self, costs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each sample of a window."""
        order = np.argsort(-costs[:, 0], kind="stable")
        open_rows, capacity, count = self._open, self._capacity, self._count
        found = []
        for tokens in costs[order, 0].tolist():
            need = tokens << _ROW_BITS
            at = bisect_left(open_rows, need)
            if at == len(open_rows):
                row = capacity | count
                count += 1
            else:
                row = open_rows.pop(at)
            found.append(row & _ROW_MASK)
            row -= need
            if row > _ROW_MASK:
                insort(open_rows, row)
        self._count = count
        del open_rows[: max(0, len(open_rows) - self._most_open)]
        rows = np.empty(len(costs), dtype=np.int64)
        rows[order] = found
        return rows


class _ManyBudgets:
    """Open rows by the scarcer of patches and images; a sample goes to the first tried that has room in all.

    Rows out of room for images are kept apart, by their tokens, for samples of text alone: among the others they would
    take up the tries of every sample with an image.
    """

    def __init__(self, budget: NDArray[np.int64], limited: list[int], first: NDArray[np.int64], most_open: int) -> None:
        self._most_open = most_open
        self._limits: tuple[int, int, int] = tuple(budget.tolist())
        self._budget, self._columns = budget, [0, *limited]
        self._scarcest = limited[int((first[:, limited] / budget[limited]).sum(axis=0).argmax())]
        # A row with less room than this is closed: its last percents are worth less than the tries that it would take.
        self._least = [max(1, int(limit * _CLOSED_SHARE)) if limit < _UNLIMITED else 1 for limit in self._limits]
        self._open: list[int] = []
        self._text: list[int] = []
        self._left: dict[int, tuple[int, int, int]] = {}
        self._count = 0

    def open_numbers(self) -> set[int]:
        """Rows that a later sample may still go into."""
        return {row & _ROW_MASK for row in (*self._open, *self._text)}

    def place(self, costs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each sample of a window."""
        # A sample is as large as the budget it takes most of.
        size = (costs[:, self._columns] / self._budget[self._columns]).max(axis=1)
        order = np.argsort(-size, kind="stable")
        open_rows, text_rows, left, limits, scarcest = self._open, self._text, self._left, self._limits, self._scarcest
        least_tokens, least_patches, least_images = self._least
        found = []
        for cost in costs[order].tolist():
            tokens, patches, images = cost
            number = -1
            if patches == images == 0:
                at = bisect_left(text_rows, tokens << _ROW_BITS)
                if at < len(text_rows):
                    number = text_rows.pop(at) & _ROW_MASK
            if number < 0:
                first = bisect_left(open_rows, cost[scarcest] << _ROW_BITS)
                for at in range(first, min(first + _MOST_TRIES, len(open_rows))):
                    room = left[open_rows[at] & _ROW_MASK]
                    if tokens <= room[0] and patches <= room[1] and images <= room[2]:
                        number = open_rows.pop(at) & _ROW_MASK
                        break
                else:
                    number = self._count
                    self._count += 1
                    left[number] = limits
            found.append(number)
            room = left[number]
            room = left[number] = room[0] - tokens, room[1] - patches, room[2] - images
            if room[0] < least_tokens:
                del left[number]
            elif room[1] < least_patches or room[2] < least_images:
                insort(text_rows, room[0] << _ROW_BITS | number)
            else:
                insort(open_rows, room[scarcest] << _ROW_BITS | number)
        for kept in (open_rows, text_rows):
            del kept[: max(0, len(kept) - self._most_open)]
        if len(left) > 4 * self._most_open:
            self._left = {number: left[number] for number in self.open_numbers()}
        rows = np.empty(len(costs), dtype=np.int64)
        rows[order] = found
        return rows


class NextFit(Packer):
    """Fills one row in the order of the samples and opens the next when a sample does not fit."""

    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Rows of neighbours; their order is that of the samples."""
        members = np.flatnonzero((costs <= budget).all(axis=1))
        limits = budget.tolist()
        offsets = [0]
        row = [0, 0, 0]
        for place, cost in enumerate(costs[members].tolist()):
            row = [have + new for have, new in zip(row, cost, strict=True)]
            if any(have > limit for have, limit in zip(row, limits, strict=True)):
                offsets.append(place)
                row = cost
        if len(members):
            offsets.append(len(members))
        return Packs(members, np.array(offsets, dtype=np.int64))

    def stream(self, costs: Iterable[NDArray[np.int64]], budget: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The rows of ``group`` over all costs together; the last row of a block is carried into the next."""
        carried = np.zeros((0, 4), dtype=np.int64)
        for members, block in windows_of(costs, budget, 1024):
            numbered = np.concatenate([carried, np.concatenate([members[:, None], block], axis=1)])
            packs = self.group(numbered[:, 1:], budget)
            for number in range(len(packs) - 1):
                yield numbered[packs[number], 0]
            carried = numbered[packs[len(packs) - 1]]
        if len(carried):
            yield carried[:, 0]
