"""NIfTI headers, and the voxels that they describe, in one file or in a pair."""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Media
from infimed_plugins.nifti.files import cut, is_packed, name_of, open_source, unpacked, unpacked_part

PAIR_ENDINGS = ((".hdr", ".img"), (".HDR", ".IMG"))

FIRST_VOXEL = {1: 352, 2: 544}
"""Where voxels begin at the earliest in a file that holds header and voxels, by the version of NIfTI."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says of the voxels. ``shape`` has three axes or more; ``affine`` leads to the patient's axes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    affine: NDArray[np.float64]
    start: int
    slope: float
    intercept: float
    voxels_elsewhere: bool

    @property
    def volume_bytes(self) -> int:
        """Bytes of one volume."""
        return prod(self.shape[:3]) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Where the voxels of all volumes end."""
        return self.start + prod(self.shape) * self.dtype.itemsize


def read_header(media: Media) -> Header:
    """The header alone, of a file or its bytes; of the ``.hdr`` beside it where the file is an ``.img``.

    Raises:
        DataError: ``missing_file``, ``unreadable``, ``not_nifti``, ``truncated``, ``corrupt``, ``unsupported``.
    """
    import nibabel

    path = _header_path(media)
    with open_source(media, path) as file:
        head = b"".join(unpacked(media, file, 1024))[:1024]
    kind = _header_kind(head)
    if kind is None:
        raise DataError("not_nifti", f"{name_of(media)}: {_what(head)}")
    version, pair = kind
    header_class = nibabel.Nifti2Header if version == 2 else nibabel.Nifti1Header
    if len(head) < header_class.sizeof_hdr:
        raise cut(media, "it ends within its header")
    try:
        header = header_class.from_fileobj(BytesIO(head[: header_class.sizeof_hdr]))  # extensions may be long
        shape, affine = header.get_data_shape(), header.get_best_affine()
        slope, intercept = header.get_slope_inter()
        start, dtype = int(header.get_data_offset()), header.get_data_dtype()
    except nibabel.spatialimages.HeaderDataError as error:
        code = "unsupported" if "not supported" in str(error) or "not recognized" in str(error) else "corrupt"
        raise DataError(code, f"{name_of(media)}: {_one_line(error)}") from None
    except Exception as error:
        detail = f"header cannot be read ({type(error).__name__}: {_one_line(error)})"
        raise DataError("corrupt", f"{name_of(media)}: {detail}") from None
    if len(shape) < 2 or min(shape) < 1 or (len(shape) > 4 and prod(shape[:4]) == 1):  # the last: CIFTI, of surfaces
        raise DataError("not_nifti", f"{name_of(media)}: no picture and no volume (shape {tuple(shape)})")
    if dtype.itemsize == 0 or start < 0:
        raise DataError("corrupt", f"{name_of(media)}: its header gives no place or size of voxels")
    start = start if pair else max(start, FIRST_VOXEL[version])  # some writers leave it at 0
    shape = (*(int(size) for size in shape), 1)[: max(3, len(shape))]
    return Header(shape, dtype, affine, start, 1.0 if slope is None else slope, intercept or 0.0, pair)


def check_bytes(media: Media, header: Header, most_bytes: int) -> None:
    """Refuse a compressed file that says it holds more than ``most_bytes``.

    Raises:
        DataError: ``too_large``, ``unsupported``, and ``missing_file`` or ``unreadable`` voxels of a pair.
    """
    with open_source(media, _voxel_path(media, header)) as file:
        if header.end > most_bytes and is_packed(file):
            detail = f"{header.end} bytes once unpacked, over max_bytes={most_bytes}"
            raise DataError("too_large", f"{name_of(media)}: {detail}")


def read_slice(media: Media, header: Header, volume: int, where: tuple[int | slice, ...]) -> NDArray[Any]:
    """The voxels at ``where`` (of three axes) in one volume, scaled as the header says.

    The whole file is known to be there: a slice before a cut would read well.

    Raises:
        DataError: ``missing_file``, ``truncated``, ``corrupt``.
    """
    path = _voxel_path(media, header)
    place = header.start + volume * header.volume_bytes
    with open_source(media, path) as file:
        if not is_packed(file):
            size = file.seek(0, os.SEEK_END)
            if size < header.end:
                raise cut(media, f"{size} of {header.end} bytes are there")
            return _sliced(file, header, place, where)
    voxels = unpacked_part(media, path, place, header.volume_bytes, header.end)
    return _sliced(BytesIO(voxels), header, 0, where)


def _sliced(file: BinaryIO, header: Header, place: int, where: tuple[int | slice, ...]) -> NDArray[Any]:
    from nibabel.arrayproxy import ArrayProxy

    described = header.shape[:3], header.dtype, place, header.slope, header.intercept
    return np.asarray(ArrayProxy(file, described, mmap=False)[where])


def _header_kind(head: bytes) -> tuple[int, bool] | None:
    """(version, whether the voxels are in another file), by the size and the magic; ``None`` where it is no NIfTI."""
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    if 540 in sizes and head[4:7] in (b"n+2", b"ni2"):
        return 2, head[4:7] == b"ni2"
    if 348 in sizes and (len(head) < 348 or head[344:347] in (b"n+1", b"ni1")):
        return 1, head[344:347] == b"ni1"
    return None


def _what(head: bytes) -> str:
    if not head:
        return "an empty file"
    analyze = len(head) >= 348 and 348 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS in place of the volume; run git lfs pull"
    if head[128:132] == b"DICM":
        return "DICOM and no NIfTI file; give it the ending .dcm"
    return "Analyze 7.5 without NIfTI's mark; convert it" if analyze else "no NIfTI file"


def _header_path(media: Media) -> Path | None:
    if media.data is not None or media.uri is None:
        return None
    path = Path(media.uri)
    for header, voxels in PAIR_ENDINGS:
        stem = path.name.removesuffix(".gz")
        if stem.endswith(voxels):
            return _either(path.with_name(stem.removesuffix(voxels) + header))
    return path


def _voxel_path(media: Media, header: Header) -> Path | None:
    """The file of the voxels; ``None`` where they are in the medium's own bytes."""
    if media.data is not None:
        if header.voxels_elsewhere:
            raise DataError("unsupported", f"{name_of(media)}: a header whose voxels are in another file")
        return None
    path = Path(str(media.uri))
    stem = path.name.removesuffix(".gz")
    for ending, voxels in PAIR_ENDINGS if header.voxels_elsewhere else ():
        if stem.endswith(ending):
            return _either(path.with_name(stem.removesuffix(ending) + voxels))
    return path


def _either(path: Path) -> Path:
    """The file, or its compressed form where that alone is there."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
