"""The modality ``dicom``: one frame of a DICOM file as it would be shown on a viewing station."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Media, Modality, Slices
from infimed_plugins.dicom.frames import decode_frame
from infimed_plugins.dicom.grey import frame_to_rgb
from infimed_plugins.dicom.groups import pixel_stretch, square_shape
from infimed_plugins.dicom.opening import name_of, one_line, open_source, read_header
from infimed_plugins.dicom.series import find_slices
from infimed_plugins.dicom.windows import PRESETS

_quiet_lock = threading.RLock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pydicom's remarks (warnings and log) to itself; what makes a file unusable is told as a ``DataError``."""
    logger = logging.getLogger("pydicom")
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


class Dicom(Modality):
    """Reads a frame: modality LUT, window or VOI LUT, palette or colour space, then MONOCHROME1 inverted, to RGB.

    ``Media.options``: ``frame`` (from 0, default 0); ``window``: ``[center, width]`` in the units of the rescaled
    values, a preset's name, ``"file"`` or ``"full"`` (from the least to the greatest value), or a list of three of
    these, for red, green and blue; ``square_pixels``. Padding is black.
    """

    packages: ClassVar[Mapping[str, str]] = {"pydicom": "infimed[score]"}

    version: ClassVar[str] = "2"
    window: str | tuple[float, float] = Field(
        default="file",
        description="'file' (the file's own window or VOI LUT, else the full range), 'full', a preset "
        f"({', '.join(PRESETS)}), or [center, width].",
    )
    max_pixels: int = Field(default=64_000_000, ge=1, description="Most pixels of a frame; more are refused unread.")
    force: bool = Field(default=False, description="Read files without DICOM's preamble and file meta information.")
    square_pixels: bool = Field(
        default=True,
        description="Stretch a frame whose pixels are not square (by pixel aspect ratio or spacing), so that shapes "
        "are true. Set false where boxes or masks count the stored pixels.",
    )

    def probe(self, media: Media) -> tuple[int, ...]:
        """(height, width) from the header, pixels unread.

        Raises:
            DataError: ``missing_file``, ``unreadable``, ``not_dicom``, ``no_pixels``, ``too_large``,
                ``no_such_frame``, and ``truncated`` or ``corrupt`` headers.
        """
        with _quiet(), open_source(media) as file, _told(media):
            dataset, _ = read_header(media, file, self.force)
            return self._shape(media, dataset, _frame(media, dataset))

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """uint8 [height, width, 3]. Further codes: ``unsupported``, ``not_finite``, ``bad_option``."""
        with _quiet(), open_source(media) as file, _told(media):
            dataset, source = read_header(media, file, self.force)
            frame = _frame(media, dataset)
            shape = self._shape(media, dataset, frame)
            pixels = decode_frame(media, dataset, source, frame)
            rgb = frame_to_rgb(dataset, pixels, frame, media.options.get("window", self.window))
        return rgb if rgb.shape[:2] == shape else _resized(rgb, shape)

    def slices(self, media: Sequence[Media], plane: str | None = None) -> Slices | None:
        """A folder or a list of files of one series, or the frames of one file; only in the plane they were taken in.

        Raises:
            DataError: ``mixed_series``, ``repeated_position``, ``no_volume``, ``bad_option`` (another plane).
        """
        with _quiet(), _told(media[0]):
            found = find_slices(media, self.force)
            if found is not None and plane not in (None, found.plane):
                taken = found.plane or "an unknown plane"
                raise DataError("bad_option", f"DICOM slices are not cut again: these are {taken}, not {plane}")
        return found

    def _shape(self, media: Media, dataset: Any, frame: int) -> tuple[int, int]:
        """The size of what ``load`` gives, within the limit."""
        shape = int(dataset.Rows), int(dataset.Columns)
        if media.options.get("square_pixels", self.square_pixels) and shape[0] * shape[1] <= self.max_pixels:
            shape = square_shape(*shape, pixel_stretch(dataset, frame))
        if shape[0] * shape[1] > self.max_pixels:
            limit = f"over max_pixels={self.max_pixels}"
            raise DataError("too_large", f"{name_of(media)}: {shape[0]} x {shape[1]} pixels, {limit}")
        return shape


@contextmanager
def _told(media: Media) -> Iterator[None]:
    """Name the file in what a step says of it; whatever else an element's value makes pydicom raise is damage."""
    name = name_of(media)
    try:
        yield
    except DataError as error:
        raise error if str(error).startswith(name) else DataError(error.code, f"{name}: {error}") from None
    except MemoryError:
        raise DataError("too_large", f"{name}: not enough memory; lower max_pixels") from None
    except Exception as error:
        detail = f"its elements cannot be used ({type(error).__name__}: {one_line(error)})"
        raise DataError("corrupt", f"{name}: {detail}") from None


def _frame(media: Media, dataset: Any) -> int:
    try:
        num_frames = int(dataset.get("NumberOfFrames") or 1)
    except (TypeError, ValueError) as error:
        detail = f"header cannot be read (NumberOfFrames: {one_line(error)})"
        raise DataError("corrupt", f"{name_of(media)}: {detail}") from None
    frame = media.options.get("frame", 0)
    if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < num_frames:
        raise DataError("no_such_frame", f"{name_of(media)}: frame {frame!r}, but it has frames 0 to {num_frames - 1}")
    return frame


def _resized(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.array(Image.fromarray(rgb).resize(shape[::-1], Image.Resampling.BILINEAR))
