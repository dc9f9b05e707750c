"""Compressed content unpacked no further than memory should hold: what a small file unpacks to may have no end."""

from __future__ import annotations

import zlib
from io import BytesIO

from infimed_core import DataError

MOST_BYTES = 2**31
"""Of a file once unpacked."""
DEFLATED = b"1.2.840.10008.1.2.1.99"
"""The transfer syntax of DICOM whose data set is deflated."""
_HEAD = 4096


def unpacked(data: bytes) -> bytes:
    """The content of a gzip file; other bytes as they are.

    Raises:
        DataError: ``too_large``, ``truncated``, ``corrupt``.
    """
    if data[:2] != b"\x1f\x8b":
        return data
    pieces, done = [], 0
    while data[:2] == b"\x1f\x8b":
        inflater = zlib.decompressobj(wbits=31)
        pieces.append(_inflate(inflater, data, MOST_BYTES - done))
        done += len(pieces[-1])
        data = inflater.unused_data
    return b"".join(pieces)


def check_deflated(data: bytes) -> None:
    """Refuse a DICOM file whose deflated data set is larger than memory should hold, before anything opens it.

    Raises:
        DataError: ``too_large``, ``truncated``, ``corrupt``.
    """
    from pydicom.filereader import read_dataset

    if DEFLATED not in data[:_HEAD]:
        return
    file = BytesIO(data)
    file.seek(132)
    try:
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        length = meta.get("FileMetaInformationGroupLength")
        start = file.tell() if length is None else 144 + int(length)
    except Exception:
        raise DataError("not_dicom", "its file meta information cannot be read") from None
    if str(meta.get("TransferSyntaxUID")) == DEFLATED.decode():
        _inflate(zlib.decompressobj(wbits=-zlib.MAX_WBITS), data[start:], MOST_BYTES)


def _inflate(inflater: zlib._Decompress, data: bytes, most: int) -> bytes:
    try:
        found = inflater.decompress(data, max(1, most))
    except zlib.error as error:
        raise DataError("corrupt", f"its compressed data are damaged ({error})") from None
    if inflater.unconsumed_tail:
        raise DataError("too_large", f"over {MOST_BYTES} bytes once unpacked")
    if not inflater.eof:
        raise DataError("truncated", "its compressed data end early")
    return found
