"""Opening a DICOM file: its header, with the file left at the pixel data and every size bounded."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from io import BytesIO
from typing import Any, BinaryIO

from infimed_core import DataError, Media

INFLATED_BYTES = 2**30
"""Most bytes of a deflated file once inflated; what goes beyond is refused, not read."""

UNDEFINED = 0xFFFFFFFF
GZIP = b"\x1f\x8b"
_PICTURE = "image, whatever its name says; give it the ending that it has"
OTHERS = {
    b"\xff\xd8\xff": f"a JPEG {_PICTURE}",
    b"\x89PNG": f"a PNG {_PICTURE}",
    b"II*\0": f"a TIFF {_PICTURE}",
    b"MM\0*": f"a TIFF {_PICTURE}",
    b"version https://git-lfs": "a pointer of Git LFS in place of the image; run git lfs pull",
}
"""What is found where a DICOM file was named, by how it begins."""
NOT_DICOM = "no DICOM file (if it only lacks the preamble, set force: true)"


def name_of(media: Media) -> str:
    """What messages call the file."""
    return media.uri or f"DICOM image of {len(media.data or b'')} bytes"


def open_source(media: Media) -> BinaryIO:
    """The file, or its bytes. A pipe or a device is refused: reading it could wait for ever.

    Raises:
        DataError: ``missing_file``, ``unreadable``.
    """
    if media.data is not None:
        return BytesIO(media.data)
    if media.uri is None:
        raise DataError("missing_file", "a DICOM image with neither uri nor data")
    try:
        if not stat.S_ISREG(os.stat(media.uri).st_mode):
            raise DataError("unreadable", f"{media.uri}: not a regular file")
        return open(media.uri, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("missing_file", f"{media.uri}: no such file; check path and image_root") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError("unreadable", f"{media.uri}: cannot be read ({reason})") from None


def read_header(media: Media, file: BinaryIO, force: bool) -> tuple[Any, BinaryIO]:
    """The elements before the pixel data, and the file placed at the pixel data (another one where it was deflated).

    Raises:
        DataError: ``not_dicom``, ``truncated``, ``corrupt``, ``no_pixels``, ``too_large``.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        file = _inflated(media, _unpacked(media, file))
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=force)
        if _breaks_off(dataset, file):
            raise _cut(media)
        if not dataset.get("Rows") or not dataset.get("Columns"):
            raise DataError("no_pixels", f"{name_of(media)}: a DICOM object without an image")
        int(dataset.Rows), int(dataset.Columns)
    except DataError:
        raise
    except InvalidDicomError:
        raise _not_dicom(media, file) from None
    except (EOFError, struct.error):
        raise _cut(media) from None
    except Exception as error:
        detail = f"header cannot be read ({type(error).__name__}: {one_line(error)})"
        raise DataError("corrupt", f"{name_of(media)}: {detail}") from None
    return dataset, file


def _breaks_off(dataset: Any, file: BinaryIO) -> bool:
    """Did the header end within an element, or before it could say anything?

    pydicom keeps what it could read, a part of a value too, or nothing at all.
    """
    if not len(dataset):
        return True
    here, size = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(here)
    if here < size:
        return False  # it ended at the pixel data
    last = dataset.get_item(max(dataset.keys()))
    length, value, start = (getattr(last, name, None) for name in ("length", "value", "value_tell"))
    if not isinstance(value, bytes) or length in (None, UNDEFINED):
        return False
    left = size - (start or 0) - length
    return left < 0 or 0 < left < 8


def _cut(media: Media) -> DataError:
    return DataError("truncated", f"{name_of(media)}: the file is cut short; fetch it again")


def _not_dicom(media: Media, file: BinaryIO) -> DataError:
    file.seek(0)
    head = file.read(132)
    if head and len(head) < 132 and not head.strip(b"\0"):
        return _cut(media)  # nothing but the beginning of a preamble
    told = next((told for start, told in OTHERS.items() if head.startswith(start)), NOT_DICOM)
    return DataError("not_dicom", f"{name_of(media)}: {told if head else 'an empty file'}")


def _unpacked(media: Media, file: BinaryIO) -> BinaryIO:
    """The file itself, or what is in it where it was packed by gzip as a whole."""
    import gzip

    head = file.read(len(GZIP))
    file.seek(0)
    if head != GZIP:
        return file
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            data = stream.read(INFLATED_BYTES + 1)
    except EOFError:
        raise _cut(media) from None
    except (OSError, zlib.error) as error:
        raise DataError("corrupt", f"{name_of(media)}: cannot be unpacked ({one_line(error)})") from None
    if len(data) > INFLATED_BYTES:
        raise DataError("too_large", f"{name_of(media)}: unpacks to more than {INFLATED_BYTES:,} bytes")
    return BytesIO(data)


def _inflated(media: Media, file: BinaryIO) -> BinaryIO:
    """The file itself, or the same file written plainly where its data set is deflated."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filereader import read_dataset
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    file.seek(0)
    if file.read(132)[128:] != b"DICM":
        file.seek(0)
        return file
    meta = FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2))
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return file
    length = meta.get("FileMetaInformationGroupLength")
    file.seek(file.tell() if length is None else 144 + int(length))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(file.read(), INFLATED_BYTES)
    except zlib.error as error:
        raise DataError("corrupt", f"{name_of(media)}: its deflated data are damaged ({error})") from None
    if inflater.unconsumed_tail:
        raise DataError("too_large", f"{name_of(media)}: over {INFLATED_BYTES} bytes once inflated")
    if not inflater.eof:
        raise _cut(media)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = DicomBytesIO()
    whole.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(whole, meta, enforce_standard=False)
    whole.write(plain)
    return BytesIO(whole.getvalue())


def one_line(error: object) -> str:
    """An error's text for a message: one line, not too long."""
    return " ".join(str(error).split())[:200]
