"""Containers of pixels rebuilt: what a decoder needs and nothing beside, behind or between."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from typing import Any

import numpy as np

from infimed_core import DataError

Changes = Counter[tuple[str, str]]
"""How often something was done: (place, action)."""

_NEEDED = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xF7, 0xF8, *range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC),
                     *range(0xCD, 0xD0)})  # fmt: skip
"""Tables, frames and restart intervals of JPEG and JPEG-LS."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_SYNTAXES = ("1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.6", "1.2.840.10008.1.2.4.7", "1.2.840.10008.1.2.4.8")
_JPEG2000_SYNTAXES = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.20")


def rebuilt_jpeg(data: bytes, changes: Changes, orientation: int = 1) -> bytes:
    """The tables, frames and scans of a JPEG or JPEG-LS stream, with its colour profile and how colours are stored.

    Raises:
        DataError: ``corrupt``, ``truncated``.
    """
    out = [b"\xff\xd8"]
    if orientation in range(2, 9):
        entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
        exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + b"\0\0\0\0"
        out.append(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise DataError("corrupt", f"no JPEG segment at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            break
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        segment = data[at : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            stop = _scan_end(data, at)
            out += [segment, data[at:stop]]
            at = stop
            continue
        kept = _kept(marker, segment)
        if kept:
            out.append(kept)
        if kept != segment:
            name = "comment" if marker == 0xFE else segment[4:16].split(b"\0")[0].decode("ascii", "replace")
            changes[f"segment {name if name.isalnum() or marker == 0xFE else f'{marker:02X}'}", "removed"] += 1
    if data[at : at + 2] != b"\xff\xd9":
        raise DataError("truncated", "the JPEG has no end")
    if data[at + 2 :].strip(b"\0"):
        changes["bytes behind the end", "removed"] += 1
    return b"".join((*out, b"\xff\xd9"))


def _kept(marker: int, segment: bytes) -> bytes:
    """A segment as far as a decoder needs it: JFIF without its thumbnail, Adobe's note on colours, colour profiles."""
    if marker in _NEEDED:
        return segment
    if marker == 0xE0 and segment[4:9] == b"JFIF\0" and len(segment) >= 18:
        return segment[:2] + b"\0\x10" + segment[4:16] + b"\0\0"
    if marker == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16:
        return segment[:2] + b"\0\x0e" + segment[4:16]
    if marker == 0xE2 and segment[4:].startswith(b"ICC_PROFILE\0"):
        return segment
    return b""


def _scan_end(data: bytes, at: int) -> int:
    """Where the compressed pixels that begin at ``at`` stop: the next marker that is no restart and no stuffed byte.

    In JPEG-LS a byte below 80 may follow FF within the pixels.
    """
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise DataError("truncated", "the JPEG has no end")
        following = data[at + 1]
        if following >= 0x80 and not 0xD0 <= following <= 0xD7 and following != 0xFF:
            return at
        at += 1 if following == 0xFF else 2


def rebuilt_jpeg2000(data: bytes, changes: Changes) -> bytes:
    """A JPEG 2000 codestream without comments in its main header and without bytes behind its end."""
    if data[:2] != b"\xff\x4f":
        return data
    out, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at : at + 2] != b"\xff\x90":
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        segment = data[at : at + 2 + length]
        if data[at + 1] == 0x64:
            changes["segment comment", "removed"] += 1
        else:
            out.append(segment)
        at += 2 + length
    end = data.rfind(b"\xff\xd9")
    if end < at:
        raise DataError("truncated", "the JPEG 2000 stream has no end")
    if data[end + 2 :].strip(b"\0"):
        changes["bytes behind the end", "removed"] += 1
    return b"".join((*out, data[at : end + 2]))


def rebuilt_png_pixels(pieces: list[bytes], header: bytes, changes: Changes) -> bytes:
    """The compressed pixels of a PNG without what lies behind them, compressed again only where something does.

    Raises:
        DataError: ``corrupt``.
    """
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    packed = b"".join(pieces)
    inflater = zlib.decompressobj()
    row = 1 + (width * depth * _CHANNELS.get(kind, 4) + 7) // 8
    most = row * height if not interlaced else 2 * row * height + 8 * height + 64
    try:
        raw = inflater.decompress(packed, most + 1)
    except zlib.error as error:
        raise DataError("corrupt", f"the PNG's pixels are damaged ({error})") from None
    behind = inflater.unused_data or inflater.unconsumed_tail or (not interlaced and len(raw) > most)
    if not behind:
        return packed
    changes["bytes behind the pixels", "removed"] += 1
    return zlib.compress(raw[:most] if not interlaced else raw, 6)


def rebuild_pixel_data(dataset: Any, syntax: str, changes: Changes) -> None:
    """Leave in a DICOM file's pixel data what the header declares: no bytes behind it, no unused bits, no comments.

    Raises:
        DataError: the frames cannot be taken apart.
    """
    if "PixelData" not in dataset:
        return
    if dataset["PixelData"].is_undefined_length or syntax.startswith("1.2.840.10008.1.2.4"):
        _rebuild_frames(dataset, syntax, changes)
        return
    if syntax.startswith("1.2.840.10008.1.2.5"):
        return
    bits = int(dataset.get("BitsAllocated") or 0)
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    num_bits = frames * samples * int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * bits
    if str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422":
        num_bits = num_bits * 2 // 3
    length = (num_bits + 7) // 8
    data = bytes(dataset.PixelData)
    if length and len(data) > length:
        if data[length:].strip(b"\0"):
            changes["bytes behind the pixels", "removed"] += 1
        data = data[:length]
    cleaned = _without_unused_bits(dataset, data, bits, changes)
    dataset.PixelData = cleaned + b"\0" * (len(cleaned) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def _without_unused_bits(dataset: Any, data: bytes, bits: int, changes: Changes) -> bytes:
    """Bits above those stored may hold an overlay; they become copies of the sign, or 0."""
    stored, high = int(dataset.get("BitsStored") or bits), int(dataset.get("HighBit") or 0)
    if bits not in (8, 16, 32) or not 0 < stored < bits or high != stored - 1 or len(data) % (bits // 8):
        return data
    order = ">" if dataset.original_encoding[1] is False else "<"
    values = np.frombuffer(data, dtype=np.dtype(f"{order}u{bits // 8}")).astype(np.int64)
    low = values & ((1 << stored) - 1)
    if int(dataset.get("PixelRepresentation") or 0):
        low = np.where(low >> (stored - 1), low - (1 << stored), low) & ((1 << bits) - 1)
    if (low == values).all():
        return data
    changes["unused bits of the pixels", "removed"] += 1
    return low.astype(np.dtype(f"{order}u{bits // 8}")).tobytes()


def _rebuild_frames(dataset: Any, syntax: str, changes: Changes) -> None:
    from pydicom.encaps import encapsulate, generate_frames

    jpeg, jpeg2000 = syntax.startswith(_JPEG_SYNTAXES), syntax.startswith(_JPEG2000_SYNTAXES)
    if not (jpeg or jpeg2000):
        return
    number = int(dataset.get("NumberOfFrames") or 1)
    made: Changes = Counter()
    try:
        frames = list(generate_frames(dataset.PixelData, number_of_frames=number))
        again = [rebuilt_jpeg(frame, made) if jpeg else rebuilt_jpeg2000(frame, made) for frame in frames]
    except DataError:
        raise
    except Exception as error:
        raise DataError("not_cleaned", f"its frames cannot be taken apart ({type(error).__name__})") from None
    if not made:
        return
    changes.update(made)
    dataset.PixelData = encapsulate(again)
    dataset["PixelData"].is_undefined_length = True
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
