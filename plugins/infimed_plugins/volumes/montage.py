"""The modality ``montage``: several images of any kind in one, in rows, from the left and from the top."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from infimed_core import DataError, Media, MediaLoader, Modality, load_plugins

MOST_PARTS = 256


def montage_of(parts: tuple[Media, ...], columns: int) -> Media:
    """A medium that shows ``parts`` in rows of ``columns``."""
    dumped = [part.model_dump(mode="json", exclude_defaults=True) | {"kind": part.kind} for part in parts]
    return Media(kind="montage", uri=parts[0].uri, options={"parts": dumped, "columns": columns})


class Montage(Modality):
    """Places images in a grid whose cells are as large as the largest of them; what a cell leaves is black.

    ``Media.options``: ``parts`` (media, each with its own kind and options) and ``columns``.
    """

    max_pixels: int = Field(default=64_000_000, ge=1, description="Most pixels of a montage; more are refused.")

    def probe(self, media: Media) -> tuple[int, ...]:
        """(height, width) from the headers of all parts.

        Raises:
            DataError: ``bad_option``, ``too_large``, and what probing a part raises.
        """
        return self._shape([_loader().probe(part) for part in _parts(media)], _columns(media))

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]. Further codes: those of the parts."""
        parts, columns = _parts(media), _columns(media)
        images = [_loader().load(part) for part in parts]
        shape = self._shape([image.shape[:2] for image in images], columns)
        whole = np.zeros((*shape, 3), np.uint8)
        height, width = (max(image.shape[side] for image in images) for side in (0, 1))
        for number, image in enumerate(images):
            top, left = number // columns * height, number % columns * width
            whole[top : top + image.shape[0], left : left + image.shape[1]] = image
        return whole

    def _shape(self, shapes: list[Any], columns: int) -> tuple[int, int]:
        if any(len(shape) != 2 for shape in shapes):
            raise DataError("bad_option", "a montage of what is no image")
        num_rows = -(-len(shapes) // columns)
        height = num_rows * max(shape[0] for shape in shapes)
        width = min(columns, len(shapes)) * max(shape[1] for shape in shapes)
        if height * width > self.max_pixels:
            raise DataError("too_large", f"a montage of {height} x {width} pixels, over max_pixels={self.max_pixels}")
        return height, width


@functools.cache
def _loader() -> MediaLoader:
    return load_plugins().media_loader()


def _columns(media: Media) -> int:
    columns = media.options.get("columns", 1)
    if not isinstance(columns, int) or isinstance(columns, bool) or columns < 1:
        raise DataError("bad_option", f"columns must be a number from 1, not {columns!r}")
    return columns


def _parts(media: Media) -> list[Media]:
    listed = media.options.get("parts")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_PARTS:
        raise DataError("bad_option", f"a montage has 1 to {MOST_PARTS} parts")
    try:
        parts = [Media.model_validate(part) for part in listed]
    except ValidationError as error:
        raise DataError("bad_option", f"a montage's part is no medium ({error.errors()[0]['msg']})") from None
    if any(part.kind == "montage" for part in parts):
        raise DataError("bad_option", "a montage within a montage")
    return parts
