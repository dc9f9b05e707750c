"""The modality ``nifti``: one slice of a volume, in the orientation of a viewing station."""

from __future__ import annotations

import functools
import gzip
import logging
import os
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Media, Modality

GZIP = b"\x1f\x8b"
_quiet_lock = threading.RLock()


class Nifti(Modality):
    """Cuts a slice across the patient's own axes, whatever the order in which the file stores its voxels.

    ``Media.options``: ``axis`` (0 sagittal, 1 coronal, 2 axial; default 2), ``index`` (from the patient's left,
    back or feet, so 0 is leftmost, rearmost, lowest; the middle by default), ``volume`` (of a time series, from 0)
    and ``window`` (``[center, width]`` in the file's scaled units). The top of the image is superior, or anterior in an
    axial slice. Voxels are not resampled: a slice of thick-sliced scans keeps its voxel grid.
    """

    percentiles: tuple[float, float] = Field(
        default=(1.0, 99.0),
        description="Percentiles of the slice that become black and white where no window is given.",
    )
    window: tuple[float, float] | None = Field(default=None, description="[center, width] for every slice.")
    convention: Literal["radiological", "neurological"] = Field(
        default="radiological",
        description="radiological: the patient's right on the image's left, and facing left in a sagittal slice.",
    )
    max_voxels: int = Field(default=2**30, ge=1, description="Most voxels of a file, over all its volumes.")

    def probe(self, media: Media) -> tuple[int, ...]:
        """(height, width) of the slice, from the header alone.

        Raises:
            DataError: ``missing_file``, ``not_nifti``, ``too_large``, ``bad_option``, ``no_such_slice``.
        """
        with _quiet():
            image = _opened(media, whole=False)
            axes, _ = self._axes(media, image)
            self._place(media, image, axes)
            axis = _axis(media)
            across, up = (image.shape[axes[other]] for other in range(3) if other != axis)
            return int(up), int(across)

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]. Further codes: ``truncated``, ``corrupt``."""
        with _quiet():
            header = _opened(media, whole=False)
            axes, flipped = self._axes(media, header)
            index, volume = self._place(media, header, axes)
            axis = _axis(media)
            try:
                image = _opened(media, whole=True)
                source = axes[axis]
                if flipped[axis]:
                    index = image.shape[source] - 1 - index
                where: list[Any] = [slice(None)] * 3
                where[source] = index
                values = np.asarray(image.dataobj[(*where, *volume)])
            except DataError:
                raise
            except (EOFError, zlib.error, OSError) as error:
                raise DataError(
                    "truncated", f"{_name(media)}: the file is cut short ({error}); fetch it again"
                ) from None
            except MemoryError:
                raise DataError("too_large", f"{_name(media)}: not enough memory; lower max_voxels") from None
            except Exception as error:
                raise DataError(
                    "corrupt", f"{_name(media)}: voxels cannot be read ({type(error).__name__}: {error})"
                ) from None
            first, second = (other for other in range(3) if other != axis)
            if axes[first] > axes[second]:
                values = values.swapaxes(0, 1)
            for position, other in enumerate((first, second)):
                if flipped[other]:
                    values = np.flip(values, position)
            upright = np.rot90(values)
            if self.convention == "radiological":
                upright = np.fliplr(upright)
            return self._to_rgb(media, upright)

    def _axes(self, media: Media, image: Any) -> tuple[list[int], list[bool]]:
        """For each axis of the patient (right, front, up): the stored axis, and whether it runs the other way."""
        import nibabel

        if len(image.shape) < 3 or min(image.shape, default=0) < 1:
            raise DataError("not_nifti", f"{_name(media)}: no volume of three axes (shape {image.shape})")
        num_voxels = int(np.prod([int(size) for size in image.shape], dtype=object))
        if num_voxels > self.max_voxels:
            raise DataError("too_large", f"{_name(media)}: {num_voxels} voxels, over max_voxels={self.max_voxels}")
        try:
            orientation = nibabel.orientations.io_orientation(image.affine)
        except Exception:
            orientation = np.full((3, 2), np.nan)
        if not np.isfinite(orientation).all():
            raise DataError("corrupt", f"{_name(media)}: its affine gives no orientation; mend it with a NIfTI tool")
        stored = [int(np.flatnonzero(orientation[:, 0] == axis)[0]) for axis in range(3)]
        return stored, [bool(orientation[source, 1] < 0) for source in stored]

    def _place(self, media: Media, image: Any, axes: list[int]) -> tuple[int, tuple[int, ...]]:
        """The slice's index on its axis, and the indices of the further axes (time ...)."""
        size = int(image.shape[axes[_axis(media)]])
        index: Any = media.options.get("index", size // 2)
        if not _is_index(index, size):
            raise DataError(
                "no_such_slice", f"{_name(media)}: index {index!r}, but axis {_axis(media)} has 0 to {size - 1}"
            )
        further = tuple(int(length) for length in image.shape[3:])
        num_volumes = int(np.prod(further)) if further else 1
        volume: Any = media.options.get("volume", 0)
        if not _is_index(volume, num_volumes):
            raise DataError("no_such_slice", f"{_name(media)}: volume {volume!r}, but it has 0 to {num_volumes - 1}")
        return index, tuple(int(i) for i in np.unravel_index(volume, further, order="F")) if further else ()

    def _to_rgb(self, media: Media, values: NDArray[Any]) -> NDArray[np.uint8]:
        if values.dtype.names:  # RGB24 or RGBA32
            return np.ascontiguousarray(np.stack([values[name] for name in values.dtype.names[:3]], axis=-1), np.uint8)
        if np.iscomplexobj(values):
            values = np.abs(values)
        values = values.astype(np.float64)
        finite = np.isfinite(values)
        if not finite.any():
            raise DataError("not_finite", f"{_name(media)}: a slice without one finite value")
        values = np.where(finite, values, values[finite].min())  # NaN outside a mask is usual: as dark as the darkest
        low, high = self._range(media, values)
        scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros(values.shape)
        return np.repeat(np.rint(scaled * 255).astype(np.uint8)[..., None], 3, axis=2)

    def _range(self, media: Media, values: NDArray[np.float64]) -> tuple[float, float]:
        window: Any = media.options.get("window", self.window)
        if window is None:
            low, high = (float(value) for value in np.percentile(values, self.percentiles))
            return (low, high) if high > low else (float(values.min()), float(values.max()))
        try:
            center, width = (float(value) for value in window)
        except (TypeError, ValueError):
            raise DataError("bad_option", f"{_name(media)}: window must be [center, width], not {window!r}") from None
        if not width > 0:
            raise DataError("bad_option", f"{_name(media)}: a window's width must be above 0, not {width}")
        return center - width / 2, center + width / 2


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel's remarks on headers to itself."""
    logger = logging.getLogger("nibabel.global")
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def _name(media: Media) -> str:
    return media.uri or f"NIfTI volume of {len(media.data or b'')} bytes"


def _is_index(value: Any, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _axis(media: Media) -> int:
    axis = media.options.get("axis", 2)
    if not _is_index(axis, 3):
        raise DataError(
            "bad_option", f"{_name(media)}: axis must be 0 (sagittal), 1 (coronal) or 2 (axial), not {axis!r}"
        )
    return int(axis)  # type: ignore[arg-type]


def _opened(media: Media, whole: bool) -> Any:
    """The image, its voxels unread; with ``whole`` its file is known to be complete."""
    if media.data is not None:
        return _from_bytes(media, media.data, whole)
    if media.uri is None:
        raise DataError("missing_file", "a NIfTI volume with neither uri nor data")
    try:
        status = os.stat(media.uri)
        with open(media.uri, "rb") as file:
            packed = file.read(2) == GZIP
    except FileNotFoundError:
        raise DataError("missing_file", f"{media.uri}: no such file; check path and image_root") from None
    except OSError as error:
        raise DataError("unreadable", f"{media.uri}: cannot be read ({error.strerror})") from None
    if packed and whole:
        return _unpacked(media.uri, status.st_size, status.st_mtime_ns)
    return _from_file(media, status.st_size, packed)


def _from_file(media: Media, size: int, packed: bool) -> Any:
    import nibabel

    try:
        image = nibabel.load(str(media.uri))
    except Exception as error:
        raise _unopened(media, size, error) from None
    if not isinstance(image, (nibabel.Nifti1Pair, nibabel.Nifti2Pair)):
        raise DataError("not_nifti", f"{_name(media)}: {type(image).__name__}, not NIfTI; convert it")
    if not packed and isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
        _check_length(media, image, size)
    return image


@functools.lru_cache(maxsize=2)
def _unpacked(uri: str, size: int, modified: int) -> Any:
    """A compressed volume in memory, checked to its last byte; the last two stay, since slices of one come together."""
    with gzip.open(uri, "rb") as file:
        return _from_bytes(Media(kind="nifti", uri=uri), file.read(), whole=True)


def _from_bytes(media: Media, data: bytes, whole: bool) -> Any:
    import nibabel

    if data[:2] == GZIP:
        with gzip.open(BytesIO(data), "rb") as file:
            try:
                data = file.read() if whole else file.read(2**20)
            except (EOFError, zlib.error, OSError) as error:
                raise DataError(
                    "truncated", f"{_name(media)}: the file is cut short ({error}); fetch it again"
                ) from None
    second = data[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    try:
        image = (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(data)
    except Exception as error:
        raise _unopened(media, len(data), error) from None
    if whole:
        _check_length(media, image, len(data))
    return image


def _check_length(media: Media, image: Any, size: int) -> None:
    """Refuse a file that is shorter than its header says: a slice before the cut would read well."""
    need = (
        int(image.dataobj.offset)
        + int(np.prod([int(n) for n in image.shape], dtype=object)) * image.dataobj.dtype.itemsize
    )
    if size < need:
        raise DataError("truncated", f"{_name(media)}: {size} of {need} bytes; the file is cut short, fetch it again")


def _unopened(media: Media, size: int, error: Exception) -> DataError:
    if isinstance(error, (EOFError, zlib.error)):
        return DataError("truncated", f"{_name(media)}: cut short in its header; fetch it again")
    what = "an empty file" if size == 0 else f"no NIfTI file ({error})"
    return DataError("not_nifti", f"{_name(media)}: {what}")
