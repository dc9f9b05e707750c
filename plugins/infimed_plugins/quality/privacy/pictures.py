"""A picture or a NIfTI file without identity: the remarks cut out, the pixels as they were where nothing is covered."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np

from infimed_core import DataError
from infimed_plugins.quality.privacy.dicom import Changes
from infimed_plugins.quality.privacy.pixels import PixelReader, cover, to_cover
from infimed_plugins.quality.privacy.unpacking import unpacked

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs acTL fcTL fdAT cICP mDCV cLLI".split()
)
_ORIENTATION = 0x0112


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
        boxes = to_cover(reader.read(_decoded(data)))
        changes["pixels", "line of text covered"] += len(boxes)
    if data.startswith(b"\xff\xd8") and not boxes:
        return _jpeg(data, changes), ".jpg", changes
    if data.startswith(_PNG) and not boxes:
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


def _decoded(data: bytes) -> Any:
    from PIL import ImageOps

    return np.asarray(ImageOps.exif_transpose(_open(data)).convert("RGB"))


def _jpeg(data: bytes, changes: Changes) -> bytes:
    """The segments that a decoder needs, and EXIF reduced to its orientation; nothing behind the end."""
    image = _open(data)
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF goes like any other
        orientation = 1
    out = [b"\xff\xd8"]
    if orientation in range(2, 9):
        entry = struct.pack("<HHIHH", _ORIENTATION, 3, 1, orientation, 0)
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
        elif _is_remark(marker, segment):
            name = segment[4:16].split(b"\0")[0].decode("ascii", "replace") if marker != 0xFE else "comment"
            changes[f"segment {name}", "removed"] += 1
        else:
            out.append(segment)
    if data[at : at + 2] != b"\xff\xd9":
        raise DataError("truncated", "the JPEG has no end")
    if at + 2 < len(data):
        changes["bytes behind the end", "removed"] += 1
    return b"".join((*out, b"\xff\xd9"))


def _scan_end(data: bytes, at: int) -> int:
    """Where the compressed pixels that begin at ``at`` stop: the next marker that is no restart and no stuffed byte."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise DataError("truncated", "the JPEG has no end")
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7 and data[at + 1] != 0xFF:
            return at
        at += 1 if data[at + 1] == 0xFF else 2


def _is_remark(marker: int, segment: bytes) -> bool:
    """Whether a segment is none that a decoder needs: kept are JFIF, colour profiles, and Adobe's, which says how
    colours are stored."""
    if marker == 0xFE:
        return True
    profile = marker == 0xE2 and segment[4:].startswith(b"ICC_PROFILE\0")
    return 0xE1 <= marker <= 0xEF and marker != 0xEE and not profile


def _png(data: bytes, changes: Changes) -> bytes:
    _open(data)
    out = [_PNG]
    for kind, chunk in _chunks(data):
        if kind in _PNG_KEPT:
            out.append(chunk)
        else:
            changes[f"chunk {kind.decode('ascii', 'replace')}", "removed"] += 1
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
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        if field in header and header[field].tobytes().strip(b"\0"):
            header[field] = b""
            changes[field, "emptied"] += 1
    if len(extensions):
        changes["extension", "removed"] += len(extensions)
    # The bytes of the array are copied, so that no rounding touches them.
    array = plain[int(header["vox_offset"]) :]
    header["vox_offset"] = len(header.binaryblock) + 4
    return gzip.compress(header.binaryblock + b"\0\0\0\0" + array, mtime=0), ".nii.gz", changes
