"""The bytes of a NIfTI file: opened by what is in them, unpacked no further than its header says, known to be whole."""

from __future__ import annotations

import functools
import os
import stat
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from infimed_core import DataError, Media

GZIP = b"\x1f\x8b"
CHUNK = 2**22
KEPT_BYTES = 2**28
"""A compressed volume up to this size stays in memory, two at most, since slices of one come together."""


def name_of(media: Media) -> str:
    """What messages call the file."""
    return media.uri or f"NIfTI volume of {len(media.data or b'')} bytes"


def open_source(media: Media, path: Path | None = None) -> BinaryIO:
    """The file at ``path``, or the medium's own file or bytes. A pipe or a device is refused: it could wait for ever.

    Raises:
        DataError: ``missing_file``, ``unreadable``.
    """
    if path is None and media.data is not None:
        return BytesIO(media.data)
    if path is None and media.uri is None:
        raise DataError("missing_file", "a NIfTI volume with neither uri nor data")
    path = path or Path(str(media.uri))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError("unreadable", f"{path}: not a regular file")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("missing_file", f"{path}: no such file; check path and image_root") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError("unreadable", f"{path}: cannot be read ({reason})") from None


def is_packed(file: BinaryIO) -> bool:
    """Is the file compressed, whatever its name? Leaves the file at its start."""
    file.seek(0)
    packed = file.read(2) == GZIP
    file.seek(0)
    return packed


def unpacked(media: Media, file: BinaryIO, most: int) -> Iterator[bytes]:
    """The file's bytes, decompressed if need be, in chunks, until ``most`` are exceeded.

    What follows a whole gzip stream and is no further stream is no part of it.

    Raises:
        DataError: ``truncated``, ``corrupt`` (a checksum, too).
    """
    if not is_packed(file):
        yield file.read(most)
        return
    done, waiting, inflater = 0, b"", zlib.decompressobj(wbits=31)
    try:
        while done <= most:
            waiting = waiting or file.read(CHUNK)
            if inflater.eof:
                if not waiting.startswith(GZIP):
                    return
                inflater = zlib.decompressobj(wbits=31)
            elif not waiting:
                raise cut(media, "its compressed data end early")
            out = inflater.decompress(waiting, CHUNK)
            waiting = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            done += len(out)
            yield out
    except zlib.error as error:
        raise DataError("corrupt", f"{name_of(media)}: its compressed data are damaged ({error})") from None


def unpacked_part(media: Media, path: Path | None, start: int, length: int, end: int) -> bytes:
    """``length`` bytes from ``start`` of a compressed file, whose first ``end`` bytes must be there.

    Read to where the voxels end and a little further, where the checksum is; only the part asked for is kept.
    """
    if path is None or length > KEPT_BYTES:
        return _read_part(media, path, start, length, end)
    status = path.stat()
    return _kept_part(path, status.st_size, status.st_mtime_ns, start, length, end)


@functools.lru_cache(maxsize=2)
def _kept_part(path: Path, size: int, modified: int, start: int, length: int, end: int) -> bytes:
    return _read_part(Media(kind="nifti", uri=str(path)), path, start, length, end)


def _read_part(media: Media, path: Path | None, start: int, length: int, end: int) -> bytes:
    wanted, position = bytearray(), 0
    with open_source(media, path) as file:
        for chunk in unpacked(media, file, end + CHUNK):
            first = max(0, start - position)
            wanted += chunk[first : max(first, start + length - position)]
            position += len(chunk)
    if position < end:
        raise cut(media, f"{position} of {end} bytes are there once it is unpacked")
    return bytes(wanted)


def cut(media: Media, what: str) -> DataError:
    """The error of a file that ends early."""
    return DataError("truncated", f"{name_of(media)}: {what}; the file is cut short, fetch it again")
