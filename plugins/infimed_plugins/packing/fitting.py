"""Packers that put samples end to end into rows of a fixed budget."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Packer, Packs

_ROW_BITS = 40
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
        limited = [column for column in (1, 2) if costs[fits, column].sum() > budget[column]]
        if limited:
            shares = costs[fits][:, [0, *limited]] / budget[[0, *limited]]
            scarcest = limited[int(shares[:, 1:].sum(axis=0).argmax())]
            size = shares.max(axis=1)  # a sample is as large as the budget it takes most of
        else:
            size = costs[fits, 0]
        windows = [
            start + np.argsort(-size[start : start + self.window], kind="stable")
            for start in range(0, len(fits), self.window)
        ]
        if limited:
            row_of = _best_fit_many(costs[fits], budget, windows, self.open_rows, scarcest)
        else:
            row_of = _best_fit_one(costs[fits], budget, windows, self.open_rows)
        by_row = np.argsort(row_of, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of))])
        return Packs(fits[by_row], offsets.astype(np.int64))


def _best_fit_one(
    costs: NDArray[np.int64], budget: NDArray[np.int64], windows: list[NDArray[np.int64]], most_open: int
) -> NDArray[np.int64]:
    """Row of each sample, by tokens alone. An open row is one integer, its room above its number, in a sorted list."""
    tokens, capacity = costs[:, 0], int(budget[0]) << _ROW_BITS
    useful = int(tokens.min()) << _ROW_BITS  # less room than this no sample needs
    mask = (1 << _ROW_BITS) - 1
    rows = np.empty(len(costs), dtype=np.int64)
    open_rows: list[int] = []
    count = 0
    for window in windows:
        found = []
        for need in (
            tokens[window] << _ROW_BITS if capacity < 2**62 else tokens[window].astype(object) << _ROW_BITS
        ).tolist():
            at = bisect_left(open_rows, need)
            if at == len(open_rows):
                row = capacity | count
                count += 1
            else:
                row = open_rows.pop(at)
            found.append(row & mask)
            row -= need
            if row >= useful:
                insort(open_rows, row)
        rows[window] = found
        del open_rows[: max(0, len(open_rows) - most_open)]
    return rows


def _best_fit_many(
    costs: NDArray[np.int64],
    budget: NDArray[np.int64],
    windows: list[NDArray[np.int64]],
    most_open: int,
    scarcest: int,
) -> NDArray[np.int64]:
    """Row of each sample where three budgets count: by the scarcer of patches and images, among rows with room in all.

    Rows out of room for images are kept apart, by their tokens, for samples of text alone: among the others they would
    take up the tries of every sample with an image.
    """
    rows = np.empty(len(costs), dtype=np.int64)
    mask = (1 << _ROW_BITS) - 1
    limits = tuple(int(limit) for limit in budget)
    # A row with less room than this is closed: its last percents are worth less than the tries that it would take.
    least_tokens, least_patches, least_images = (
        max(int(value), 1, int(limit * _CLOSED_SHARE) if limit < 2**62 else 0)
        for value, limit in zip(costs.min(axis=0), limits, strict=True)
    )
    open_rows: list[int] = []
    text_rows: list[int] = []
    left: list[tuple[int, int, int]] = []
    for window in windows:
        found = []
        for cost in costs[window].tolist():
            tokens, patches, images = cost
            number = -1
            if patches == images == 0:
                at = bisect_left(text_rows, tokens << _ROW_BITS)
                if at < len(text_rows):
                    number = text_rows.pop(at) & mask
            if number < 0:
                first = bisect_left(open_rows, cost[scarcest] << _ROW_BITS)
                for at in range(first, min(first + _MOST_TRIES, len(open_rows))):
                    room = left[open_rows[at] & mask]
                    if tokens <= room[0] and patches <= room[1] and images <= room[2]:
                        number = open_rows.pop(at) & mask
                        break
                else:
                    number = len(left)
                    left.append(limits)
            found.append(number)
            room = left[number]
            room = left[number] = room[0] - tokens, room[1] - patches, room[2] - images
            if room[0] < least_tokens:
                continue
            if room[1] < least_patches or room[2] < least_images:
                insort(text_rows, room[0] << _ROW_BITS | number)
            else:
                insort(open_rows, room[scarcest] << _ROW_BITS | number)
        rows[window] = found
        del open_rows[: max(0, len(open_rows) - most_open)]
        del text_rows[: max(0, len(text_rows) - most_open)]
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
