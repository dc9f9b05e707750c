"""Thumbnails of a report's images, each made once, up to a stated number; the rest are linked by relative path."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from infimed_core import DataError, Media, MediaLoader, canonical_json

EDGE = 96
"""Longest edge of a thumbnail in pixels."""


class Thumbnails:
    """A numbered collection of images. ``add`` returns a number; the same image always gets the same one.

    Attributes:
        links: one entry per image: a path relative to the run directory, percent-encoded; ``None`` for an image that
            lies elsewhere, since names of folders and files of an archive tell who was seen when.
        pictures: one entry per image: a ``data:`` URI, or ``None`` where it is only linked.
        faults: why an image could not be shown, by its number.
    """

    def __init__(self, directory: Path, media: MediaLoader, at_most: int) -> None:
        self._directory = directory
        self._load = _opener(media)
        self._at_most = at_most
        self._numbers: dict[str, int] = {}
        self._media: list[dict[str, Any]] = []
        self.links: list[str | None] = []
        self.pictures: list[str | None] = []
        self.faults: dict[int, str] = {}
        self._num_tried = 0

    def __len__(self) -> int:
        return len(self.links)

    @property
    def num_embedded(self) -> int:
        """How many images are in the page itself."""
        return self._num_tried - len(self.faults)

    def add(self, media: Mapping[str, Any]) -> int:
        """Number an image (``Media`` as JSON); nothing is opened yet."""
        if media.get("sha256") and str(media.get("uri")).startswith("media/"):  # the run's own, by its place in it
            media = {**media, "uri": str(self._directory / str(media["uri"]))}
        content = media.get("data") or media.get("sha256") or media.get("uri")
        key = canonical_json([media.get("kind"), content, media.get("options") or {}])
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._media.append(dict(media))
            self.links.append(self._link(media.get("uri")))
            self.pictures.append(None)
        return self._numbers[key]

    def _link(self, uri: Any) -> str | None:
        if not isinstance(uri, str) or not uri:
            return None
        try:
            # quote() encodes ':' too, so that no path can turn into another scheme.
            place = os.path.relpath(uri, self._directory)
            return None if place.split(os.sep)[0] == os.pardir else "./" + quote(place)
        except (ValueError, UnicodeError):
            return None

    def make(self, number: int) -> None:
        """Make the thumbnail of an image unless it is made or the limit is reached; a failure is kept as a fault."""
        if self.pictures[number] is not None or number in self.faults or self.full:
            return
        self._num_tried += 1
        try:
            # Through JSON text: bytes in a row are base64 there, and only there.
            self.pictures[number] = self._load(Media.model_validate_json(json.dumps(self._media[number])))
        except DataError as error:
            self.faults[number] = f"{error.code}: {self._without_place(error, number)}"
        except Exception as error:
            # A picture is decoration here: whatever a decoder raises is told beside the sample, never an abort.
            self.faults[number] = f"{type(error).__name__}: {self._without_place(error, number)}"

    def _without_place(self, error: Exception, number: int) -> str:
        """What went wrong, without the name of a file that lies outside of the run."""
        told, uri = str(error), self._media[number].get("uri")
        if isinstance(uri, str) and uri and self.links[number] is None:
            for name in (uri, os.path.abspath(uri), os.path.basename(uri)):
                told = told.replace(name, "the file")
        return told

    @property
    def full(self) -> bool:
        """Whether the limit is reached; failures count, so that a run of broken files does not open all of them."""
        return self._num_tried >= self._at_most


def _opener(media: MediaLoader) -> Callable[[Media], str]:
    def open_thumbnail(image: Media) -> str:
        from PIL import Image

        array = media.load(image, (EDGE, EDGE))
        if array.ndim != 3 or array.shape[2] != 3:
            raise DataError("not_an_image", f"{image.uri or 'media in memory'} has no picture (shape {array.shape})")
        return _encoded(Image.fromarray(array))

    return open_thumbnail


def _encoded(image: Any) -> str:
    image.thumbnail((EDGE, EDGE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
