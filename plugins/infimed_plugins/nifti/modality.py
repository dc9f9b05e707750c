"""The modality ``nifti``: one slice of a volume, in the orientation of a viewing station."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Media, Modality, Slices
from infimed_plugins.nifti.cuts import Cut, find_cut, find_slices
from infimed_plugins.nifti.files import name_of
from infimed_plugins.nifti.volumes import Header, check_bytes, read_header, read_slice

_quiet_lock = threading.RLock()


class Nifti(Modality):
    """Cuts a slice across the patient's own axes, whatever the order in which the file stores its voxels.

    ``Media.options``: ``axis`` (0 sagittal, 1 coronal, 2 axial; default 2), ``index`` (from the patient's left,
    back or feet, so 0 is leftmost, rearmost, lowest; the middle by default), ``volume`` (of a time series, from 0),
    ``window`` (``[center, width]`` in the file's scaled units, or three of these for red, green and blue) and
    ``square_pixels``. The top of the image is superior, or anterior in an axial slice. A file of two axes is one
    slice, across the axis that it lacks.
    """

    packages: ClassVar[Mapping[str, str]] = {"nibabel": "infimed[score]"}

    version: ClassVar[str] = "2"
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
    max_bytes: int = Field(
        default=2**31, ge=1, description="Most bytes of a compressed file once unpacked; more are refused unread."
    )
    square_pixels: bool = Field(
        default=True,
        description="Stretch a slice whose voxels are not square in its plane, so that shapes are true. Set false "
        "where boxes or masks count the stored voxels.",
    )

    def probe(self, media: Media) -> tuple[int, ...]:
        """(height, width) of the slice, from the header alone.

        Raises:
            DataError: ``missing_file``, ``unreadable``, ``not_nifti``, ``unsupported``, ``too_large``, ``bad_option``,
                ``no_such_slice``, and ``truncated`` or ``corrupt`` headers.
        """
        with _quiet():
            return self._cut(media, self._header(media)).shape

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]. Further code: ``not_finite``."""
        with _quiet():
            header = self._header(media)
            cut = self._cut(media, header)
            try:
                values = read_slice(media, header, cut.volume, cut.where)
                rgb = self._to_rgb(media, cut.upright(values, self.convention))
            except DataError:
                raise
            except MemoryError:
                raise DataError("too_large", f"{name_of(media)}: not enough memory; lower max_voxels") from None
            except Exception as error:
                detail = " ".join(f"voxels cannot be read ({type(error).__name__}: {error})".split())
                raise DataError("corrupt", f"{name_of(media)}: {detail}") from None
        return rgb if rgb.shape[:2] == cut.shape else _resized(rgb, cut.shape)

    def slices(self, media: Sequence[Media], plane: str | None = None) -> Slices | None:
        """The slices of one file across an axis; ``None`` where one is picked already, or there is but one."""
        (item, *others) = media
        if others or "index" in item.options:
            return None
        with _quiet():
            try:
                return find_slices(item, self._header(item), plane)
            except DataError as error:
                raise DataError(error.code, f"{name_of(item)}: {error}") from None

    def _header(self, media: Media) -> Header:
        header = read_header(media)
        if prod(header.shape) > self.max_voxels:
            detail = f"{prod(header.shape)} voxels, over max_voxels={self.max_voxels}"
            raise DataError("too_large", f"{name_of(media)}: {detail}")
        check_bytes(media, header, self.max_bytes)
        return header

    def _cut(self, media: Media, header: Header) -> Cut:
        """Where the slice lies that the options ask for."""
        try:
            return find_cut(header, {"square_pixels": self.square_pixels, **media.options})
        except DataError as error:
            raise DataError(error.code, f"{name_of(media)}: {error}") from None

    def _to_rgb(self, media: Media, values: NDArray[Any]) -> NDArray[np.uint8]:
        if values.dtype.names:  # RGB24 or RGBA32
            return np.ascontiguousarray(np.stack([values[name] for name in values.dtype.names[:3]], axis=-1), np.uint8)
        if np.iscomplexobj(values):
            values = np.abs(values)
        values = values.astype(np.float64)
        finite = np.isfinite(values)
        if not finite.any():
            raise DataError("not_finite", f"{name_of(media)}: a slice without one finite value")
        values = np.where(finite, values, values[finite].min())  # NaN outside a mask is usual: as dark as the darkest
        window: Any = media.options.get("window", self.window)
        three = isinstance(window, (list, tuple)) and len(window) == 3
        channels = [self._grey(media, values, each) for each in (window if three else [window])]
        return np.stack(channels * (3 // len(channels)), axis=-1)

    def _grey(self, media: Media, values: NDArray[np.float64], window: Any) -> NDArray[np.uint8]:
        low, high = self._range(media, values, window)
        if not high > low:
            return np.zeros(values.shape, np.uint8)
        scaled = np.clip((values / 2 - low / 2) / (high / 2 - low / 2), 0, 1)  # halves: the span may overflow
        return np.rint(scaled * 255).astype(np.uint8)

    def _range(self, media: Media, values: NDArray[np.float64], window: Any) -> tuple[float, float]:
        if window is None:
            low, high = (2 * float(value) for value in np.percentile(values / 2, self.percentiles))
            return (low, high) if high > low else (float(values.min()), float(values.max()))
        try:
            center, width = (float(value) for value in window)
        except (TypeError, ValueError, OverflowError):
            raise DataError("bad_option", f"{name_of(media)}: window must be [center, width], not {window!r}") from None
        if not (width > 0 and np.isfinite([center, width]).all()):
            detail = f"a window's center and width must be finite, its width above 0: {window!r}"
            raise DataError("bad_option", f"{name_of(media)}: {detail}")
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


def _resized(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.array(Image.fromarray(rgb).resize(shape[::-1], Image.Resampling.BILINEAR))
