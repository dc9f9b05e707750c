"""JPEG 2000: what its codestream says of itself, and all bits of its samples."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError

START = b"\xff\x4f\xff\x51"


def check_codestream(data: bytes, shape: tuple[int, int]) -> int:
    """Bits of a sample; a codestream of another size than ``shape`` is refused: it is what a decoder allocates.

    Source: ISO/IEC 15444-1 A.5.1.

    Raises:
        DataError: ``corrupt``.
    """
    at = data.find(START) + len(START)
    if at < len(START) or len(data) < at + 39:
        raise DataError("corrupt", "a JPEG 2000 file without a codestream")
    right, lower, left, upper = struct.unpack_from(">4L", data, at + 4)
    if (lower - upper, right - left) != shape:
        raise DataError(
            "corrupt", f"its codestream is {right - left} x {lower - upper} pixels, its header says otherwise"
        )
    return (data[at + 38] & 0x7F) + 1


def deep_samples(data: bytes) -> NDArray[Any]:
    """[h, w, channels]: the samples in all their bits. Pillow turns the brightest of more than 8 bits black."""
    import imagecodecs

    samples: NDArray[Any] = np.asarray(imagecodecs.jpeg2k_decode(data))
    return samples if samples.ndim == 3 else samples[..., None]
