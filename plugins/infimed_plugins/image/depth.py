"""Samples of any number type and depth to 8 bits, transparency laid on black."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError


def scale_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale an array of any real number type linearly to uint8, by the rule that ``Image`` documents.

    Raises:
        DataError: ``not_finite`` where a value is NaN or infinite; ``unsupported`` for complex numbers.
    """
    return np.rint(_shares(values) * 255.0).astype(np.uint8)


def _shares(values: NDArray[Any]) -> NDArray[np.float64]:
    """Each value's share, in [0, 1], of the range that the whole array uses."""
    if values.dtype.kind == "b":
        return values.astype(np.float64)
    if values.dtype.kind not in "iuf":
        raise DataError("unsupported", f"pixels of the number type {values.dtype}")
    if not np.isfinite(values).all():
        raise DataError("not_finite", "pixels that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu" and low >= 0:
        low, high = 0.0, float(2 ** max(8, int(values.max()).bit_length()) - 1)
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    if high == low:
        return np.zeros(values.shape)
    if high - low == np.inf:  # numbers near the largest there are
        values, low, high = values / 4, low / 4, high / 4
    return np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)


def to_rgb(
    colours: NDArray[Any], alpha: NDArray[Any] | None = None, *, inverted: bool = False, premultiplied: bool = False
) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] of grey [h, w] or [h, w, 3] samples of any depth; all channels share one scale.

    ``inverted``: the least value is white. ``premultiplied``: the colours are already laid on black by their alpha.
    """
    shares = _shares(colours)
    if inverted:
        shares = 1.0 - shares
    if shares.ndim == 2:
        shares = np.repeat(shares[..., None], 3, axis=2)
    if alpha is not None and not premultiplied:
        shares = shares * _shares(alpha)[..., None]
    return np.rint(shares * 255.0).astype(np.uint8)
