"""Altered copies of a picture: pairs that share details in one arrangement, without comparing all with all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.filters.keypoints import SIDE, Marks

LEAST_SHARED = 9
"""Details in one arrangement that make two pictures one: unlike films of one view share seven at most."""
MOST_ALIKE = 64
"""A code that more details have than this tells nothing apart and is left out, so that time grows with the pictures."""
BLOCK = 512
"""Pictures that are searched for at once."""
LEAST_GROWTH, MOST_GROWTH = 0.6, 1.7
NEARBY = SIDE * 24 // 256


def altered_pairs(pictures: Sequence[Marks | None]) -> Iterator[tuple[int, int, int]]:
    """(earlier, later, shared details) of every pair of pictures that are one but for a change.

    Found are crops, small rotations, mirrors, inversion, borders, contrast, gamma, size and compression. Time grows
    with the pictures and not with their pairs: only details with equal codes are put together.
    """
    numbers, order, values, entries = _index(pictures)
    for first in range(0, len(pictures), BLOCK):
        yield from _in_block(pictures, range(first, min(first + BLOCK, len(pictures))), numbers, order, values, entries)


def _index(
    pictures: Sequence[Marks | None],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint8]]:
    """Every detail of every picture by its code: its picture, the order by code, the codes in order, its number."""
    sizes = np.array([0 if one is None else one.codes.shape[1] for one in pictures], dtype=np.int64)
    plain = [one.codes[0] for one in pictures if one is not None]
    everything = np.concatenate(plain) if plain else np.zeros(0, np.uint32)
    numbers = np.repeat(np.arange(len(pictures), dtype=np.int32), sizes)
    within = (
        np.concatenate([np.arange(size, dtype=np.uint8) for size in sizes]) if len(sizes) else np.zeros(0, np.uint8)
    )
    order = np.argsort(everything, kind="stable")
    return numbers[order], order, everything[order], within[order]


def _in_block(
    pictures: Sequence[Marks | None],
    block: range,
    numbers: NDArray[np.int32],
    order: NDArray[np.int64],
    values: NDArray[np.uint32],
    entries: NDArray[np.uint8],
) -> Iterator[tuple[int, int, int]]:
    best: dict[tuple[int, int], int] = {}
    for change in range(4):
        own = [(number, one) for number in block if (one := pictures[number]) is not None and one.codes.shape[1]]
        if not own:
            return
        asked = np.concatenate([one.codes[change] for _, one in own])
        askers = np.repeat([number for number, _ in own], [one.codes.shape[1] for _, one in own])
        places = np.concatenate([np.arange(one.codes.shape[1]) for _, one in own])
        starts = np.searchsorted(values, asked, side="left")
        counts = np.searchsorted(values, asked, side="right") - starts
        counts[counts > MOST_ALIKE] = 0
        rows = np.repeat(np.arange(len(asked)), counts)
        at = np.repeat(starts, counts) + np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        earlier = numbers[at] < askers[rows]
        rows, at = rows[earlier], at[earlier]
        pairs = askers[rows] * len(pictures) + numbers[at]
        sequence = np.argsort(pairs, kind="stable")
        pairs, rows, at = pairs[sequence], rows[sequence], at[sequence]
        unique, begins, sizes = np.unique(pairs, return_index=True, return_counts=True)
        for pair, begin, size in zip(unique.tolist(), begins.tolist(), sizes.tolist(), strict=True):
            if size < LEAST_SHARED:
                continue
            later, first = divmod(pair, len(pictures))
            shared = _in_one_arrangement(
                pictures[later],
                places[rows[begin : begin + size]],
                pictures[first],
                entries[at[begin : begin + size]],
                change,
            )
            if shared >= LEAST_SHARED:
                best[first, later] = max(best.get((first, later), 0), shared)
    for (first, later), shared in sorted(best.items()):
        yield first, later, shared


def _in_one_arrangement(
    one: Marks | None, here: NDArray[np.int64], other: Marks | None, there: NDArray[np.uint8], change: int
) -> int:
    """The most details that one growth and one shift carry from one picture to another, each counted once."""
    assert one is not None and other is not None
    left, right = one.places[here].astype(np.float32), other.places[there].astype(np.float32)
    if change in (1, 3):
        left[:, 0] = -left[:, 0]
    growth = np.log(right[:, 2] / left[:, 2])
    kept = (growth > np.log(LEAST_GROWTH)) & (growth < np.log(MOST_GROWTH))
    most = 0
    for number in np.flatnonzero(kept):
        alike = kept & (np.abs(growth - growth[number]) < 0.3)
        shift = right[:, :2] - np.exp(np.median(growth[alike])) * left[:, :2]
        near = alike & (np.abs(shift - shift[number]).max(axis=1) < NEARBY)
        most = max(most, min(len(np.unique(here[near])), len(np.unique(there[near]))))
    return most
