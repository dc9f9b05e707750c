"""A picture or a NIfTI file without identity: the remarks cut out, the pixels as they were where nothing is covered."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np

from infimed_core import DataError
from infimed_plugins.quality.privacy.containers import Changes, rebuilt_jpeg, rebuilt_png_pixels
from infimed_plugins.quality.privacy.pixels import PixelReader, cover, to_cover
from infimed_plugins.quality.privacy.renditions import renditions
from infimed_plugins.quality.privacy.unpacking import unpacked

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs acTL fcTL fdAT cICP mDCV cLLI".split()
)
_ORIENTATION = 0x0112
MOST_FRAMES = 200
"""Frames or pages of a picture that are read for text; one with more is withheld."""


def clean_picture(data: bytes, reader: PixelReader | None) -> tuple[bytes, str, Changes]:
    """(bytes, ending, changes) of a picture's copy.

    A JPEG or PNG is copied without its metadata segments and so keeps its pixels bit by bit; other formats are written
    anew as PNG (TIFF where they have several frames or values that PNG has not). Where text is covered the picture is
    encoded anew, a JPEG at quality 95.

    Raises:
        DataError: it is no picture, or it cannot be decoded.
    """
    changes: Changes = Counter()
    boxes = []
    if reader is None:
        changes["pixels", "unchecked"] += 1
    else:
        boxes = list(dict.fromkeys(box for shown in shown_frames(data) for box in to_cover(reader.read(shown))))
        changes["pixels", "line of text covered"] += len(boxes)
    if data.startswith(b"\xff\xd8") and not boxes:
        return _jpeg(data, changes), ".jpg", changes
    if data.startswith(_PNG) and not boxes and b"acTL" not in data[:4096]:
        return _png(data, changes), ".png", changes
    return *_encoded_anew(data, boxes, changes), changes


def _open(data: bytes) -> Any:
    from PIL import Image

    try:
        image = Image.open(BytesIO(data))
        image.load()
    except Exception as error:
        raise DataError("corrupt", f"the picture cannot be decoded ({type(error).__name__}: {error})") from None
    return image


def shown_frames(data: bytes) -> Iterator[Any]:
    """Every frame or page as a viewer shows it, uint8 [h, w, 3]; of more than 8 bits all that some window shows.

    Raises:
        DataError: ``too_many_frames``: more than are read.
    """
    from PIL import ImageOps

    image = _open(data)
    number = getattr(image, "n_frames", 1)
    if number > MOST_FRAMES:
        raise DataError("too_many_frames", f"{number} frames, of which {MOST_FRAMES} at most are read for text")
    for frame in range(number):
        image.seek(frame)
        upright = ImageOps.exif_transpose(image)
        if upright.mode[0] in "IF":  # Pillow's own conversion cuts off what is above 255
            yield from renditions(np.asarray(upright))
        else:
            yield np.asarray(upright.convert("RGB"))


def _jpeg(data: bytes, changes: Changes) -> bytes:
    """The segments that a decoder needs, and EXIF reduced to its orientation; nothing behind the end."""
    image = _open(data)
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF goes like any other
        orientation = 1
    return rebuilt_jpeg(data, changes, orientation)


def _png(data: bytes, changes: Changes) -> bytes:
    _open(data)
    chunks = list(_chunks(data))
    header = next((chunk[8:21] for kind, chunk in chunks if kind == b"IHDR"), b"")
    pixels = rebuilt_png_pixels([chunk[8:-4] for kind, chunk in chunks if kind == b"IDAT"], header, changes)
    out, written = [_PNG], False
    for kind, chunk in chunks:
        if kind not in _PNG_KEPT:
            changes[f"chunk {kind.decode('ascii', 'replace')}", "removed"] += 1
        elif kind != b"IDAT":
            out.append(chunk)
        elif not written:
            written = True
            body = b"IDAT" + pixels
            out.append(struct.pack(">I", len(pixels)) + body + struct.pack(">I", zlib.crc32(body)))
    if data[sum(map(len, (_PNG, *(chunk for _, chunk in chunks)))) :].strip(b"\0"):
        changes["bytes behind the end", "removed"] += 1
    return b"".join(out)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        kind = data[at + 4 : at + 8]
        yield kind, data[at : at + 12 + length]
        at += 12 + length
        if kind == b"IEND":
            return


def _encoded_anew(data: bytes, boxes: list[Any], changes: Changes) -> tuple[bytes, str]:
    from PIL import Image, ImageOps

    image = _open(data)
    form = image.format
    frames = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frame = image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else image
        upright = ImageOps.exif_transpose(frame)
        if upright.mode == "P":
            upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
        pixels = np.asarray(upright)
        fresh = Image.new(upright.mode, upright.size)
        fresh.paste(Image.fromarray(cover(pixels, boxes)) if boxes else upright)
        frames.append(fresh)
    changes["file", "encoded anew without metadata"] += 1
    file = BytesIO()
    if form == "JPEG":
        frames[0].save(file, "JPEG", quality=95, subsampling=0)
        return file.getvalue(), ".jpg"
    if len(frames) > 1 or frames[0].mode in ("F", "I"):
        frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw")
        return file.getvalue(), ".tif"
    frames[0].save(file, "PNG")
    return file.getvalue(), ".png"


def clean_nifti(data: bytes) -> tuple[bytes, str, Changes]:
    """(bytes, ending, changes): the texts of the header emptied, its extensions removed, the array untouched.

    Raises:
        DataError: it is no NIfTI file.
    """
    import nibabel

    changes: Changes = Counter()
    try:
        plain = unpacked(data)
        second = plain[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
        kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        extensions = kind.from_bytes(plain).header.extensions
        # The header as it lies in the file: an opened image has its offset and its scaling put back.
        header = kind.header_class(binaryblock=plain[: kind.header_class.sizeof_hdr], check=False)
    except DataError:
        raise
    except Exception as error:
        raise DataError("corrupt", f"not a NIfTI file ({type(error).__name__})") from None
    if bytes(header["magic"].tobytes())[:3] not in (b"n+1", b"n+2"):
        raise DataError("unsupported", "a NIfTI header without its image; join the pair to one .nii file")
    for field in header.keys():  # noqa: SIM118  (a header is no dict)
        if field != "magic" and header[field].dtype.kind == "S" and header[field].tobytes().strip(b"\0"):
            header[field] = b""
            changes[field, "emptied"] += 1
    if len(extensions):
        changes["extension", "removed"] += len(extensions)
    # The bytes of the array are copied, so that no rounding touches them.
    array = plain[int(header["vox_offset"]) :]
    length = int(np.prod(header.get_data_shape(), dtype=np.int64)) * int(header.get_data_dtype().itemsize)
    if len(array) < length:
        raise DataError("truncated", "the NIfTI file ends before its array does")
    if array[length:].strip(b"\0"):
        changes["bytes behind the array", "removed"] += 1
    array = array[:length]
    header["vox_offset"] = len(header.binaryblock) + 4
    return gzip.compress(header.binaryblock + b"\0\0\0\0" + array, mtime=0), ".nii.gz", changes
