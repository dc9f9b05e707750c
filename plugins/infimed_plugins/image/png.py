"""PNG without what is no pixel: remarks, profiles and damaged extras are left out before it is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
KEPT = (b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf")
TEXTS = (b"tEXt", b"zTXt")
ORIENTATION = b"Raw profile type exif\0"
"""Keyword under which ImageMagick keeps EXIF; the only text that bears on the pixels."""
LONGEST_TEXT = 2**16
DEEP_CHANNELS = {2: 3, 4: 2, 6: 4}
"""Channels by PNG's colour type, of those types of which Pillow keeps 8 bits."""


def without_extras(file: BinaryIO, header_only: bool) -> BytesIO:
    """The chunks that bear on the pixels, up to the first pixels where ``header_only``.

    An ancillary chunk whose checksum is wrong, or a large one, costs the chunk and not the picture, as in viewers.

    Raises:
        DataError: ``truncated``, ``corrupt`` (a critical chunk's checksum), ``unsupported`` (an unknown critical one).
    """
    parts = [SIGNATURE]
    for name, body, whole in _chunks(file, header_only):
        if name in CRITICAL or name in KEPT or (name in TEXTS and _is_orientation(name, body)):
            parts.append(whole)
        elif not name[0] & 0x20:
            raise DataError("unsupported", f"a PNG with chunks of kind {_shown(name)}")
    return BytesIO(b"".join(parts))


def _chunks(file: BinaryIO, header_only: bool) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(name, body, the whole chunk) of those whose checksum is right."""
    if file.read(8) != SIGNATURE:
        raise DataError("corrupt", "a PNG whose first bytes were changed, as a transfer in text mode does")
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise DataError("truncated", "the file ends before its last chunk; fetch it again")
        length, name = struct.unpack(">I4s", head)
        if header_only and name == b"IDAT":
            yield name, b"", head
            return
        body = file.read(length)
        checksum = file.read(4)
        if len(body) < length or len(checksum) < 4:
            raise DataError("truncated", f"the file ends within its chunk {_shown(name)}; fetch it again")
        if zlib.crc32(name + body) == int.from_bytes(checksum, "big"):
            yield name, body, head + body + checksum
        elif name in CRITICAL:
            raise DataError("corrupt", f"the checksum of its chunk {_shown(name)} is wrong")
        if name == b"IEND":
            return


def _is_orientation(name: bytes, body: bytes) -> bool:
    """Is a text chunk EXIF, and small once unpacked? A few bytes may hold gigabytes."""
    if not body.startswith(ORIENTATION) or len(body) > LONGEST_TEXT:
        return False
    if name == b"tEXt":
        return True
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(body[len(ORIENTATION) + 1 :], LONGEST_TEXT)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail


def deep_samples(data: bytes) -> NDArray[np.uint16]:
    """uint16 [h, w, channels]: all 16 bits of a PNG in colour or with transparency, of which Pillow keeps 8.

    ``data`` is what ``without_extras`` gave and Pillow has decoded, so that damage is found before.
    """
    import cv2

    num_channels, parts = DEEP_CHANNELS[data[25]], [SIGNATURE]
    parts += [whole for name, _, whole in _chunks(BytesIO(data), header_only=False) if name in CRITICAL]
    decoded = cv2.imdecode(np.frombuffer(b"".join(parts), np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        raise DataError("corrupt", "its 16-bit samples cannot be decoded")
    rgb = decoded[:, :, 2::-1]
    if num_channels == 2:
        return np.stack([rgb[:, :, 0], decoded[:, :, 3]], axis=-1)
    return np.ascontiguousarray(np.dstack([rgb, decoded[:, :, 3]]) if num_channels == 4 else rgb)


def _shown(name: bytes) -> str:
    """The name of a chunk on one line, whatever a damaged file has in its place."""
    return ascii(name.decode("latin-1"))
