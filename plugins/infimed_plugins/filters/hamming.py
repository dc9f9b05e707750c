"""All pairs of 256-bit hashes within a Hamming distance: exact, without comparing everything with everything."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

HASH_BYTES = 32
NUM_CHUNKS = 16
MAX_DISTANCE = 2 * NUM_CHUNKS - 1
BLOCK = 1 << 20
"""Most candidate pairs that are compared at once."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@cache
def _order() -> NDArray[np.int64]:
    """Neighbouring bits of a hash agree too often; a chunk of bits from everywhere splits the hashes better."""
    return np.random.default_rng(0).permutation(8 * HASH_BYTES)


def close_pairs(left: NDArray[np.uint8], right: NDArray[np.uint8] | None, distance: int) -> Pairs:
    """Every pair (i of ``left``, j of ``right``) at most ``distance`` bits apart, and its distance.

    Both are uint8 [n, 32]; ``right`` ``None`` means pairs i < j within ``left``. Returns int64 arrays of equal length,
    sorted by i, then j, each pair once. Two hashes within d bits differ in at most d // 16 bits of at least one of 16
    chunks (Norouzi, Punjani, Fleet 2012), so only hashes that share a chunk, or nearly, are compared.

    Raises:
        ValueError: ``distance`` is not in 0 to 31.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise ValueError(f"a distance between 0 and {MAX_DISTANCE} bits, not {distance}")
    other = left if right is None else right
    if not len(left) or not len(other):
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    words = np.ascontiguousarray(left).view(np.uint64)
    other_words = np.ascontiguousarray(other).view(np.uint64)
    chunks, other_chunks = _chunks(left), _chunks(other)
    flips = [0] if distance < NUM_CHUNKS else [0, *(1 << bit for bit in range(16))]
    found: list[NDArray[np.int64]] = []
    for chunk in range(NUM_CHUNKS):
        order = np.argsort(other_chunks[:, chunk], kind="stable")
        ordered = other_chunks[order, chunk]
        for flip in flips:
            wanted = chunks[:, chunk] ^ np.uint16(flip)
            starts = np.searchsorted(ordered, wanted, side="left")
            counts = np.searchsorted(ordered, wanted, side="right") - starts
            for rows, places in _blocks(starts, counts):
                columns = order[places]
                if right is None:
                    upper = rows < columns
                    rows, columns = rows[upper], columns[upper]
                bits = np.bitwise_count(words[rows] ^ other_words[columns]).sum(axis=1, dtype=np.int64)
                near = bits <= distance
                found.append(np.stack([rows[near], columns[near], bits[near]]))
    merged = np.concatenate(found, axis=1) if found else np.zeros((3, 0), dtype=np.int64)
    keys = merged[0] * len(other) + merged[1]
    _, first = np.unique(keys, return_index=True)
    rows, columns, bits = merged[:, first]
    return rows, columns, bits


def _chunks(hashes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """uint16 [n, 16]: the bits of each hash in a fixed scattered order."""
    bits = np.unpackbits(hashes, axis=1)[:, _order()]
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint16)


def _blocks(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Row i with each of the places ``starts[i]`` to ``starts[i] + counts[i]``, no more than a block at a time."""
    rows = np.flatnonzero(counts)
    ends = np.cumsum(counts[rows])
    at = 0
    while at < len(rows):
        base = ends[at - 1] if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, base + BLOCK, side="right")))
        chosen = rows[at:stop]
        repeated = np.repeat(chosen, counts[chosen])
        within = np.arange(len(repeated)) - np.repeat(ends[at:stop] - counts[chosen] - base, counts[chosen])
        yield repeated, np.repeat(starts[chosen], counts[chosen]) + within
        at = stop
