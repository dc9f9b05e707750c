"""What a file is by its first bytes, and whether it ends before its own structure does."""

from __future__ import annotations

import struct
from collections.abc import Callable

BITMAP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
UNREAD = {
    "HEIC": "HEIC or HEIF",
    "JXL": "JPEG XL",
    "SVG": "an SVG drawing",
    "DICOM": "DICOM (its kind is `dicom`)",
    "PSD": "Photoshop",
    "OPENEXR": "OpenEXR",
    "NUMPY": "a NumPy array",
    "NRRD": "NRRD",
    "METAIMAGE": "MetaImage",
    "NIFTI": "NIfTI (its kind is `nifti`)",
    "GZIP": "a file packed by gzip",
    "BZIP2": "a file packed by bzip2",
    "XZ": "a file packed by xz",
}
"""Formats that are known and not read, as messages call them."""
REMEDIES = {
    **dict.fromkeys(("GZIP", "BZIP2", "XZ"), "unpack it"),
    **dict.fromkeys(("NRRD", "METAIMAGE"), "convert it to NIfTI"),
    **dict.fromkeys(("DICOM", "NIFTI"), "give it the ending of its format"),
}
"""What to do about a format that is not read, where it is not to convert it to PNG or TIFF."""
OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS in place of the image; run git lfs pull",
    b"<!doctype": "a page of HTML in place of the image; its download failed",
    b"<html": "a page of HTML in place of the image; its download failed",
    b"%pdf": "a PDF document; save its pages as images",
    b"pk\x03\x04": "a ZIP archive; unpack it",
}
"""What stands where an image was expected, by how it begins in small letters."""


def sniff(head: bytes) -> str | None:
    """The format of a file that begins with ``head`` (some 300 bytes), by Pillow's name; ``None`` where unknown."""
    for start, name in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG", "PNG"),
        (b"GIF8", "GIF"),
        (b"\x00\x00\x00\x0cjP  ", "JPEG2000"),
        (b"\xff\x4f\xff\x51", "JPEG2000"),
        (b"\x00\x00\x00\x0cJXL ", "JXL"),
        (b"\xff\x0a", "JXL"),
        (b"8BPS", "PSD"),
        (b"\x76\x2f\x31\x01", "OPENEXR"),
        (b"\x93NUMPY", "NUMPY"),
        (b"NRRD0", "NRRD"),
        (b"ObjectType = ", "METAIMAGE"),
        (b"\x1f\x8b", "GZIP"),
        (b"BZh", "BZIP2"),
        (b"\xfd7zXZ\x00", "XZ"),
    ):
        if head.startswith(start):
            return name
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b""):
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BITMAP_HEADERS:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456fFyY" and head[2:3].isspace():
        return "PPM"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), 64), 4))}
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIC" if brands & {b"heic", b"heix", b"mif1"} else None
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[344:348] in (b"n+1\x00", b"ni1\x00") or head[4:8] in (b"n+2\x00", b"ni2\x00"):
        return "NIFTI"
    return "SVG" if b"<svg" in head.lower() else None


def is_cut(kind: str, data: bytes) -> bool:
    """Does the file end before what its own lengths and marks announce? False where the format does not say."""
    check = _CHECKS.get(kind)
    try:
        return check(data) if check else False
    except (IndexError, struct.error):
        return True


def unreadable_jpeg(data: bytes) -> str | None:
    """Why no decoder here reads a whole JPEG: its process or its bits; ``None`` where it is of the usual kind."""
    try:
        for marker, at in _jpeg_segments(data):
            if marker == 0xF7:
                return "JPEG-LS"
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                if marker not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
                    return "lossless or hierarchical JPEG"
                return f"JPEG of {data[at + 4]} bits" if data[at + 4] != 8 else None
    except IndexError:
        pass
    return None


def _jpeg_segments(data: bytes) -> list[tuple[int, int]]:
    """(marker, position) up to the first scan."""
    segments, at = [], 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        segments.append((marker, at))
        if marker in (0xDA, 0xD9):
            return segments
        at += 2 if marker == 0x01 or 0xD0 <= marker <= 0xD7 else 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
    return segments


def _jpeg_is_cut(data: bytes) -> bool:
    segments = _jpeg_segments(data)
    return bool(segments) and segments[-1][0] == 0xDA and data.find(b"\xff\xd9", segments[-1][1]) < 0


def _png_is_cut(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            return False
        at += 12 + length
    return True


def _gif_is_cut(data: bytes) -> bool:
    def after_colours(at: int, flags: int) -> int:
        return at + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)

    def after_blocks(at: int) -> int:
        while data[at]:
            at += 1 + data[at]
        return at + 1

    at = after_colours(13, data[10])
    while data[at] != 0x3B:
        if data[at] == 0x21:
            at = after_blocks(at + 2)
        elif data[at] == 0x2C:
            at = after_blocks(after_colours(at + 10, data[at + 9]) + 1)
        else:
            return False  # no block of a GIF: damage, not an early end
    return False


def _bmp_is_cut(data: bytes) -> bool:
    size, start = struct.unpack_from("<I4xI", data, 2)
    header = struct.unpack_from("<I", data, 14)[0]
    if header == 12:
        width, height, bits = struct.unpack_from("<HH2xH", data, 18)
        compression = 0
    else:
        width, height, bits, compression = struct.unpack_from("<ii2xHI", data, 18)
    if compression in (0, 3):
        return len(data) < start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    return len(data) < size


def _tiff_is_cut(data: bytes) -> bool:
    """Follows the first directory: its place, its values, its strips or tiles."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\x00", b"\x00+")
    at = struct.unpack_from(order + "Q", data, 8)[0] if big else struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    at += 8 if big else 2
    width, word = (20, "Q") if big else (12, "I")
    extents: dict[int, tuple[int, ...]] = {}
    if at + count * width > len(data):
        return True
    for entry in range(at, at + count * width, width):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        number = struct.unpack_from(order + word, data, entry + 4)[0]
        size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}.get(kind, 0) * number
        place = entry + (12 if big else 8)
        if size > (8 if big else 4):
            place = struct.unpack_from(order + word, data, place)[0]
        if place + size > len(data):
            return True
        if tag in (273, 279, 324, 325) and kind in (3, 4, 16):
            extents[tag] = struct.unpack_from(f"{order}{number}{ {3: 'H', 4: 'I', 16: 'Q'}[kind] }", data, place)
    for starts, lengths in ((273, 279), (324, 325)):
        pairs = zip(extents.get(starts, ()), extents.get(lengths, ()), strict=False)
        if any(start + length > len(data) for start, length in pairs):
            return True
    return False


def _webp_is_cut(data: bytes) -> bool:
    return len(data) < struct.unpack_from("<I", data, 4)[0] + 8


def _boxes_are_cut(data: bytes) -> bool:
    """Walks the boxes of an ISO base media file (AVIF, JPEG 2000) to the end."""
    if data[:2] == b"\xff\x4f":
        return not data.rstrip(b"\0").endswith(b"\xff\xd9")
    at = 0
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if length == 1:
            length = struct.unpack_from(">Q", data, at + 8)[0]
        if length == 0:
            return name == b"jp2c" and not data.rstrip(b"\0").endswith(b"\xff\xd9")
        if length < 8:
            return False
        at += length
    return at > len(data)


_CHECKS: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg_is_cut,
    "PNG": _png_is_cut,
    "GIF": _gif_is_cut,
    "BMP": _bmp_is_cut,
    "TIFF": _tiff_is_cut,
    "WEBP": _webp_is_cut,
    "AVIF": _boxes_are_cut,
    "JPEG2000": _boxes_are_cut,
}
