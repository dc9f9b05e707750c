"""One frame of a DICOM file decoded: the values that were stored, in the bits that are theirs, or RGB."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Media
from infimed_plugins.dicom.opening import UNDEFINED, name_of, one_line

KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
PIXEL_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
ITEM, END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data of a file are: ``start`` of their value."""

    keyword: str
    vr: str | None
    start: int


def decode_frame(media: Media, dataset: Any, file: BinaryIO, frame: int) -> NDArray[Any]:
    """The frame's stored values, [rows, columns], or its colours, [rows, columns, 3] in RGB.

    Raises:
        DataError: ``truncated``, ``corrupt``, ``unsupported``, ``too_large``.
    """
    from pydicom.pixels.utils import as_pixel_options

    little_endian = _set_syntax(dataset)
    element = _find_pixels(media, file, dataset, little_endian)
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = _decoder(media, syntax)
    try:
        options = as_pixel_options(dataset)
        options |= {"transfer_syntax_uid": syntax, "pixel_keyword": element.keyword}
        options |= {"pixel_vr": element.vr} if element.vr else {}
        precision = int(dataset.BitsAllocated)
        if syntax.is_encapsulated:
            inner = _check_codestream(media, dataset, file, element, frame, options)
            precision = inner or precision
        options |= {"correct_unused_bits": False, "apply_j2k_sign_correction": False}
        file.seek(element.start)
        pixels, described = decoder.as_array(file, index=frame, validate=True, **options)
    except DataError:
        raise
    except MemoryError:
        raise DataError("too_large", f"{name_of(media)}: not enough memory to decode; lower max_pixels") from None
    except Exception as error:
        raise _broken(media, syntax, error) from None
    shape = (int(dataset.Rows), int(dataset.Columns))
    if pixels.shape[:2] != shape:
        raise DataError("corrupt", f"{name_of(media)}: its pixels are {pixels.shape}, its header says {shape}")
    if pixels.ndim == 3:
        colours = str(described["photometric_interpretation"])
        if pixels.shape[2] != 3 or colours not in COLOURS:
            raise DataError("unsupported", f"{name_of(media)}: pixels of {colours} are not read")
    return pixels if element.keyword != "PixelData" else _own_bits(dataset, pixels, precision)


def _set_syntax(dataset: Any) -> bool:
    """Give files without a transfer syntax (read with force: true) the one they were read by; is it little-endian?"""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    if "TransferSyntaxUID" not in dataset.file_meta:
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return bool(little)


def _decoder(media: Media, syntax: Any) -> Any:
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DataError("unsupported", f"{name_of(media)}: the transfer syntax {syntax.name} is not read") from None
    if not decoder.is_available:
        raise DataError("unsupported", f"{name_of(media)}: no decoder for {syntax.name}; pip install 'infimed[dicom]'")
    return decoder


def _find_pixels(media: Media, file: BinaryIO, dataset: Any, little_endian: bool) -> PixelElement:
    """The pixel data at which the header ended; the whole of them must be in the file.

    Whether the element carries its VR is seen from the element: some writers mix both ways in one file.
    """
    order = "<" if little_endian else ">"
    head = file.read(8)
    explicit = head[4:6] in PIXEL_VRS and head[6:8] == b"\0\0"
    head += file.read(4) if explicit else b""
    if not head:
        raise DataError("no_pixels", f"{name_of(media)}: a header that announces an image, without its pixel data")
    if len(head) < (12 if explicit else 8):
        raise _cut(media, "the file ends where its pixels begin")
    group, number = struct.unpack(f"{order}HH", head[:4])
    keyword = KEYWORDS.get(number) if group == 0x7FE0 else None
    if keyword is None:
        raise DataError("corrupt", f"{name_of(media)}: no pixel data after its header")
    (length,) = struct.unpack(f"{order}L", head[-4:])
    start = file.tell()
    size = file.seek(0, os.SEEK_END)
    if length == UNDEFINED:
        _check_fragments(media, file, start, size)
    elif start + length > size:
        raise _cut(media, f"{size - start} of {length} bytes of its pixels are there")
    return PixelElement(keyword, head[4:6].decode() if explicit else None, start)


def _check_fragments(media: Media, file: BinaryIO, start: int, size: int) -> None:
    """Walk over encapsulated fragments to the mark of their end, without reading them."""
    file.seek(start)
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise _cut(media, "the file ends within its compressed pixels")
        group, number, length = struct.unpack("<HHL", head)
        if (group, number) == END:
            return
        if (group, number) != ITEM or length == UNDEFINED:
            raise DataError("corrupt", f"{name_of(media)}: the fragments of its compressed pixels are damaged")
        if file.seek(length, os.SEEK_CUR) > size:
            raise _cut(media, "the file ends within its compressed pixels")


def _check_codestream(
    media: Media, dataset: Any, file: BinaryIO, element: PixelElement, frame: int, options: dict[str, Any]
) -> int | None:
    """Refuse a frame whose own header announces another image than the file's; its bits per sample, if it says.

    A decoder allocates what the inner header says, whatever the outer one promised.
    """
    from pydicom.encaps import get_frame

    file.seek(element.start)
    source = get_frame(
        file,
        frame,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=options.get("extended_offsets"),
    )
    inner = _jpeg2000_size(source) if b"\xff\x4f\xff\x51" in source[:4096] else _jpeg_size(source)
    if inner is None:
        return None
    width, height, samples, precision = inner
    said = (int(dataset.Columns), int(dataset.Rows), int(dataset.get("SamplesPerPixel") or 1))
    if (width, height, samples) != said:
        found = f"{height} x {width} pixels of {samples} samples"
        raise DataError("corrupt", f"{name_of(media)}: its compressed frame has {found}, its header says otherwise")
    return precision


def _jpeg2000_size(source: bytes) -> tuple[int, int, int, int] | None:
    """Width, height, samples and precision by the SIZ segment (ISO/IEC 15444-1 A.5.1)."""
    at = source.find(b"\xff\x4f\xff\x51") + 4  # the length of the SIZ segment
    if len(source) < at + 39:
        return None
    right, lower, left, upper = struct.unpack(">4L", source[at + 4 : at + 20])
    (samples,) = struct.unpack(">H", source[at + 36 : at + 38])
    return right - left, lower - upper, samples, (source[at + 38] & 0x7F) + 1


def _jpeg_size(source: bytes) -> tuple[int, int, int, int] | None:
    """Width, height, samples and precision by the frame header of JPEG or JPEG-LS (ISO/IEC 10918-1 B.2.2)."""
    at = 2
    while source[:2] == b"\xff\xd8" and at + 9 <= len(source) and source[at] == 0xFF:
        marker = source[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, height, width, samples = struct.unpack(">BHHB", source[at + 4 : at + 10])
            return width, height, samples, precision
        else:
            at += 2 + int.from_bytes(source[at + 2 : at + 4], "big")
    return None


def _own_bits(dataset: Any, pixels: NDArray[Any], precision: int) -> NDArray[Any]:
    """The values without the bits that are not theirs, with the sign that the header says.

    Words of more bits than ``BitsStored`` hold the value below ``HighBit``, and overlays or rubbish in the others
    (DICOM PS3.5 8.1.1). A codestream of exactly ``BitsStored`` bits has nothing to remove, and may have been written
    without a sign.
    """
    allocated = 8 * pixels.dtype.itemsize
    stored = int(dataset.get("BitsStored") or allocated)
    signed = bool(dataset.get("PixelRepresentation")) and pixels.ndim == 2
    if pixels.dtype.kind not in "iu" or int(dataset.BitsAllocated) == 1:
        return pixels
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    words = pixels.view(np.dtype(f"u{pixels.dtype.itemsize}"))
    width = min(stored, precision, allocated)
    high = int(dataset.get("HighBit") or 0)
    shift = high + 1 - stored if stored <= high < precision and stored < precision else 0
    words = (words >> np.asarray(shift, words.dtype)) & np.asarray(2**width - 1, words.dtype)
    if not signed:
        return words
    unused = np.asarray(allocated - width, words.dtype)
    return (words << unused).view(np.dtype(f"i{pixels.dtype.itemsize}")) >> unused.astype(f"i{pixels.dtype.itemsize}")


def _cut(media: Media, what: str) -> DataError:
    return DataError("truncated", f"{name_of(media)}: {what}; fetch it again")


def _broken(media: Media, syntax: Any, error: Exception) -> DataError:
    """The file is whole, as was checked before: so its pixels are wrong, or of a kind that nobody here decodes."""
    text = one_line(error)
    if isinstance(error, NotImplementedError) and "Value Representation" not in text:  # of a damaged element
        return DataError("unsupported", f"{name_of(media)}: {syntax.name}: {text}")
    if "less than expected" in text or "insufficient pixel data" in text:
        return DataError("truncated", f"{name_of(media)}: fewer pixels than its header announces ({text})")
    return DataError("corrupt", f"{name_of(media)}: pixels cannot be decoded ({type(error).__name__}: {text})")
