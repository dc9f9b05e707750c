"""Which slices of a volume are shown: spread evenly, in a range, or those of the greatest contrast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Media


def spread_evenly(num_slices: int, wanted: int) -> list[int]:
    """``wanted`` indices, or all there are, each from the middle of an equal part of the volume.

    Never the first and the last slice of a long volume, which often show nothing.
    """
    wanted = min(wanted, num_slices)
    return [int((2 * number + 1) * num_slices / (2 * wanted)) for number in range(wanted)]


def in_range(num_slices: int, first: int, last: int | None, step: int) -> list[int]:
    """Every ``step``-th index from ``first`` to ``last`` (included; the highest slice by default).

    Negative numbers count from the end.

    Raises:
        DataError: ``no_such_slice``: the volume has none of them.
    """
    start = first + num_slices if first < 0 else first
    end = num_slices - 1 if last is None else last + num_slices if last < 0 else last
    chosen = [index for index in range(start, end + 1, step) if 0 <= index < num_slices]
    if not chosen:
        raise DataError("no_such_slice", f"slices {first} to {last}, but the volume has 0 to {num_slices - 1}")
    return chosen


def of_best_contrast(slices: tuple[Media, ...], wanted: int, load: Callable[[Media], NDArray[np.uint8]]) -> list[int]:
    """The ``wanted`` indices whose grey varies most (standard deviation), in their order; the lower one at a tie."""
    contrasts = [float(load(item).mean(axis=2).std()) for item in slices]
    best = sorted(range(len(slices)), key=lambda index: (-contrasts[index], index))[:wanted]
    return sorted(best)
