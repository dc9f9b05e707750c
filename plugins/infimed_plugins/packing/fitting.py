"""Packers that put samples end to end into rows of a fixed budget, in the order in which the samples come."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Packer, Packs

_ROW_BITS = 40
_ROW_MASK = (1 << _ROW_BITS) - 1
_UNLIMITED = 2**62
_WHOLE = 1 << 20
"""A budget, in the units in which several budgets are compared."""
_CLOSED = _WHOLE // 100
_CHUNK = 1 << 16
_MOST_TRIES = 4
_MOST_TEXT_ROWS = 16


class BestFit(Packer):
    """Best fit in the order of the shuffle: each sample goes to the fullest open row that has room for it.

    Samples are not sorted by length, so a row is as mixed as the order that they come in. When more than
    ``open_rows`` rows are open, the fullest is closed.
    """

    open_rows: int = Field(default=64, ge=1, description="Most rows that are filled at the same time.")

    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Rows in the order in which they were opened; their members in the order in which they came."""
        fits = np.flatnonzero((costs <= budget).all(axis=1))
        if len(fits) == 0:
            return Packs.from_lists([])
        kept = costs if len(fits) == len(costs) else costs[fits]
        limited = [
            column for column in range(3) if budget[column] < _UNLIMITED and (column == 0 or kept[:, column].any())
        ]
        if limited == [0]:
            row_of = _rows_by_tokens(kept[:, 0], int(budget[0]), self.open_rows)
        else:
            row_of = _rows_by_shares(kept, budget, limited, self.open_rows)
        by_row = np.argsort(row_of, kind="stable")
        offsets = np.zeros(int(row_of.max()) + 2, dtype=np.int64)
        np.cumsum(np.bincount(row_of), out=offsets[1:])
        return Packs(fits[by_row], offsets)


def _rows_by_tokens(tokens: NDArray[np.int64], row_tokens: int, most_open: int) -> NDArray[np.int64]:
    """Row of each sample. An open row is one integer, its room above its number, in a sorted list."""
    open_rows: list[int] = []
    capacity = row_tokens << _ROW_BITS
    count = 0
    take = open_rows.pop
    rows = np.empty(len(tokens), dtype=np.int64)
    for start in range(0, len(tokens), _CHUNK):  # lists of all samples would take five times the memory
        filled: list[int] = []
        add = filled.append
        for need in (tokens[start : start + _CHUNK] << _ROW_BITS).tolist():
            try:  # where a row has room, as nearly always, this is quicker than to ask before
                row = take(bisect_left(open_rows, need))
            except IndexError:
                row = capacity | count
                count += 1
                if len(open_rows) == most_open:
                    take(0)
            row -= need
            add(row)
            if row > _ROW_MASK:
                insort(open_rows, row)
        rows[start : start + _CHUNK] = filled
    rows &= _ROW_MASK
    return rows


def _rows_by_shares(
    costs: NDArray[np.int64], budget: NDArray[np.int64], limited: list[int], most_open: int
) -> NDArray[np.int64]:
    """Row of each sample where several budgets bind.

    Costs and room are shares of their budgets, in ``_WHOLE`` units. Open rows are sorted by the room in their scarcest
    budget: one with at least the sample's largest share surely has room. A few fuller rows are tried first, whose room
    may lie where this sample needs it. Rows closed for images are kept a little longer for samples of text alone.
    """
    shares = np.zeros((3, len(costs)), dtype=np.int64)
    for column in limited:
        shares[column] = np.ceil(costs[:, column] / float(budget[column]) * _WHOLE)
    needs = (shares.max(axis=0) << _ROW_BITS).tolist()
    is_text = (shares[1:] == 0).all(axis=0).tolist()
    open_rows: list[int] = []
    text_rows: list[int] = []
    left: dict[int, tuple[int, int, int]] = {}
    count = 0
    found: list[int] = []
    for tokens, patches, images, need, text in zip(*shares.tolist(), needs, is_text, strict=True):
        number = -1
        if text and text_rows and (at := bisect_left(text_rows, need)) < len(text_rows):
            number = text_rows.pop(at) & _ROW_MASK
        else:
            fuller = at = bisect_left(open_rows, need)
            fullest = max(0, at - _MOST_TRIES)
            while fuller > fullest:
                fuller -= 1
                room = left[open_rows[fuller] & _ROW_MASK]
                if tokens <= room[0] and patches <= room[1] and images <= room[2]:
                    number = open_rows.pop(fuller) & _ROW_MASK
                    break
            else:
                if at < len(open_rows):
                    number = open_rows.pop(at) & _ROW_MASK
        if number < 0:
            number, free, free_patches, free_images = count, _WHOLE, _WHOLE, _WHOLE
            count += 1
        else:
            free, free_patches, free_images = left.pop(number)
        found.append(number)
        free -= tokens
        free_patches -= patches
        free_images -= images
        least = free if free < free_patches else free_patches  # min() of three takes thrice as long
        least = least if least < free_images else free_images
        # The last percent of a budget is worth less than the tries that it would take.
        if least >= _CLOSED:
            left[number] = free, free_patches, free_images
            insort(open_rows, least << _ROW_BITS | number)
            if len(open_rows) <= most_open:
                continue
            number = open_rows.pop(0) & _ROW_MASK
            free, free_patches, free_images = left.pop(number)
        if free >= _CLOSED:
            left[number] = free, free_patches, free_images
            insort(text_rows, free << _ROW_BITS | number)
            if len(text_rows) > _MOST_TEXT_ROWS:
                del left[text_rows.pop(0) & _ROW_MASK]
    return np.array(found, dtype=np.int64)


class NextFit(Packer):
    """Fills one row in the order of the samples and opens the next when a sample does not fit."""

    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Rows of neighbours; their order is that of the samples."""
        members = np.flatnonzero((costs <= budget).all(axis=1))
        if len(members) == 0:
            return Packs.from_lists([])
        # For every sample: where the row would end that begins with it.
        ends = np.full(len(members), len(members))
        for column in range(3):
            total = np.concatenate([[0], np.cumsum(costs[members, column])])
            ends = np.minimum(ends, np.searchsorted(total, total[:-1] + budget[column], side="right") - 1)
        following = ends.tolist()
        offsets = [0]
        while offsets[-1] < len(members):
            offsets.append(following[offsets[-1]])
        return Packs(members, np.array(offsets, dtype=np.int64))
