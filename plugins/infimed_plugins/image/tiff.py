"""TIFF pages that Pillow would read wrongly or not at all: deep, signed, float, in planes, or white at 0."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError
from infimed_plugins.image.depth import scale_to_uint8, to_rgb

WHITE_IS_LEAST, BLACK_IS_LEAST, RGB, PALETTE, MASK = 0, 1, 2, 3, 4


@contextmanager
def tiff_page(file: BinaryIO, frame: Any) -> Iterator[Any]:
    """The page's directory, its pixels unread.

    Raises:
        DataError: ``no_such_frame``.
        Exception: of many kinds where the directory is damaged.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters of its remarks is told as an error
    file.seek(0)
    with tifffile.TiffFile(file) as whole:
        num_frames = len(whole.pages) if frame != 0 else 1
        if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < num_frames:
            raise DataError("no_such_frame", f"frame {frame!r}, but it has frames 0 to {num_frames - 1}")
        page = whole.pages[frame]
        yield page.aspage() if hasattr(page, "aspage") else page


def needs_own_reading(page: Any) -> bool:
    """Is the page of a kind that Pillow does not turn into the right colours?"""
    if page.photometric not in (WHITE_IS_LEAST, BLACK_IS_LEAST, RGB, PALETTE, MASK):
        return False
    from PIL.TiffImagePlugin import COMPRESSION_INFO

    if page.compression not in COMPRESSION_INFO or (page.parent.is_bigtiff and page.parent.byteorder == ">"):
        return True  # Pillow knows neither
    in_planes = page.samplesperpixel > 1 and page.planarconfig == 2
    return in_planes or page.sampleformat != 1 or page.bitspersample not in (1, 2, 4, 8)


def page_shape(page: Any) -> tuple[int, int]:
    """(height, width) as stored."""
    return int(page.imagelength), int(page.imagewidth)


def page_orientation(page: Any) -> int:
    """Orientation, 1 to 8."""
    tag = page.tags.get(274)
    value = tag.value if tag is not None else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read_page(page: Any) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] as stored, not yet turned upright.

    Raises:
        DataError: ``unsupported``, ``not_finite``.
        Exception: of many kinds where the pixels are damaged.
    """
    if page.imagedepth != 1:
        raise DataError("unsupported", f"a TIFF page of {page.imagedepth} layers")
    planes, _, height, width, channels = page.shaped
    samples = page.asarray().reshape(planes, height, width, channels)
    samples = np.moveaxis(samples[..., 0], 0, -1) if planes > 1 else samples[0]
    if page.bitspersample < 8:
        samples = samples * np.uint8(255 // (2**page.bitspersample - 1))
    if page.photometric == PALETTE:
        return scale_to_uint8(np.ascontiguousarray(page.colormap.T)[samples[..., 0]])
    num_colours = 3 if page.photometric == RGB else 1
    extras = [int(extra) for extra in page.extrasamples]
    if samples.shape[2] < num_colours or (num_colours == 1 and samples.shape[2] > 1 and not any(extras)):
        raise DataError("unsupported", f"a TIFF page of {samples.shape[2]} channels whose colours it does not say")
    colours = samples[..., :3] if num_colours == 3 else samples[..., 0]
    inverted = page.photometric == WHITE_IS_LEAST
    for number, extra in enumerate(extras[: samples.shape[2] - num_colours]):
        if extra in (1, 2):  # 1: the colours are laid on black already
            return to_rgb(colours, samples[..., num_colours + number], inverted=inverted, premultiplied=extra == 1)
    return to_rgb(colours, inverted=inverted)
