"""An image as it is sent to a server: made anew from its pixels, or a JPEG file's own data without metadata."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import DataError, Media, MediaLoader, canonical_json

JPEG_QUALITY = 95
MOST_KEPT = 256 * 2**20
"""Letters of encoded images that are kept for the next question about them."""
START, END, SCAN = 0xD8, 0xD9, 0xDA
APPLICATION = range(0xE0, 0xF0)
COMMENT = 0xFE
LATER_METADATA = re.compile(rb"\xff[\xe0-\xef\xfe]")
"""A segment that is no picture; within a scan the byte 0xFF is never followed by these."""


class Pictures:
    """Images as data URIs, each encoded once however many questions are asked about it; safe for many threads."""

    def __init__(self, media: MediaLoader, max_side: int | None, image_format: str) -> None:
        self._media, self._max_side, self._format = media, max_side, image_format
        self._made: OrderedDict[str, str] = OrderedDict()
        self._making: dict[str, threading.Lock] = {}
        self._size = 0
        self._lock = threading.Lock()

    def data_uri(self, item: Media) -> str:
        """The image; see ``encoded``.

        Raises:
            DataError: it is missing, broken, or no image.
        """
        if item.data is not None and item.sha256 is None:
            return encoded(item, self._media, self._max_side, self._format)  # nothing tells it from another
        key = canonical_json([item.kind, item.uri, item.sha256, dict(item.options)])
        with self._lock:
            one_at_a_time = self._making.setdefault(key, threading.Lock())
        with one_at_a_time:
            with self._lock:
                if key in self._made:
                    self._made.move_to_end(key)
                    return self._made[key]
            uri = encoded(item, self._media, self._max_side, self._format)
            with self._lock:
                self._made[key] = uri
                self._size += len(uri)
                while self._size > MOST_KEPT and self._made:
                    self._size -= len(self._made.popitem(last=False)[1])
        return uri


def encoded(item: Media, media: MediaLoader, max_side: int | None, image_format: str) -> str:
    """An image as a data URI with nothing of its file's metadata (patient, place) in it.

    The data of a JPEG file go as they are where they give the very same pixels; any other image is made anew as
    ``image_format``.

    Raises:
        DataError: it is missing, broken, or no image.
    """
    from PIL import Image

    pixels = media.load(item)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DataError("no_image", f"a medium of kind '{item.kind}' is no image and cannot be sent to a server")
    image = Image.fromarray(pixels)
    if max_side is not None and max(image.size) > max_side:
        scale = max_side / max(image.size)
        width, height = (max(1, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    elif (own := _own_jpeg(item, pixels)) is not None:
        return _uri("jpeg", own)
    target = io.BytesIO()
    if image_format == "jpeg":
        image.save(target, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(target, format="PNG", compress_level=1)
    return _uri(image_format, target.getvalue())


def _uri(image_format: str, data: bytes) -> str:
    return f"data:image/{image_format};base64,{base64.b64encode(data).decode()}"


def _own_jpeg(item: Media, pixels: Any) -> bytes | None:
    """The JPEG data of the medium's file without metadata; ``None`` where it is none, or shows other pixels so."""
    import numpy as np
    from PIL import Image

    try:
        data = item.data if item.data is not None else Path(item.uri or "").read_bytes()
        if data[:2] != bytes((0xFF, START)):
            return None
        bare = without_metadata(data)
        with Image.open(io.BytesIO(bare), formats=("JPEG",)) as image:
            same = image.mode in ("L", "RGB") and np.array_equal(np.asarray(image.convert("RGB")), pixels)
    except (OSError, ValueError, IndexError):
        return None
    return bare if same else None


def without_metadata(data: bytes) -> bytes:
    """A JPEG file without its application segments and comments, and without what follows its end.

    Raises:
        ValueError: it is not built as JPEG is (ITU-T T.81, annex B).
    """
    kept, place = [data[:2]], 2
    for marker, start, stop in _segments(data):
        if marker not in APPLICATION and marker != COMMENT:
            kept.append(data[start:stop])
        place = stop
    end = data.find(bytes((0xFF, END)), place)
    if end < 0:
        raise ValueError("no end of the image")
    if LATER_METADATA.search(data, place, end):
        raise ValueError("metadata between its scans")
    return b"".join([*kept, data[place : end + 2]])


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, stop) of every segment up to the first scan, whose header is the last of them."""
    place = 2
    while True:
        if data[place] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = data[place + 1]
        stop = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if stop <= place + 3 or stop > len(data):
            raise ValueError("a segment without an end")
        yield marker, place, stop
        if marker == SCAN:
            return
        place = stop
