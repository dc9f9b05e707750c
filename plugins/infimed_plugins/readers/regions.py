"""Boxes and names that a row lists beside its texts, whose marks ``<bbox>`` and ``<ref-object>`` show their places."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infimed_core import DataError, Media, MediaLoader, Region, load_plugins
from infimed_plugins.readers.values import is_empty, known, text_of

BOX, NAME = "<bbox>", "<ref-object>"
_MARK = re.compile(f"{BOX}|{NAME}")
_KEYS = {"ref", "bbox", "bbox_type", "image_id"}
_OLD_KEYS = {"caption": "ref", "bbox": "bbox", "bbox_type": "bbox_type", "image": "image_id"}
_UNITS = {"real": 0, "norm1": 1, "norm1000": 1000}
"""What a coordinate is a share of; 0: pixels of the image."""


class Objects:
    """The names and boxes of a row, handed out in the order in which the marks stand in its texts."""

    def __init__(self, value: Any) -> None:
        """``value`` as ms-swift writes it: ``{ref, bbox, bbox_type, image_id}``, or a list of ``{caption, bbox}``.

        Raises:
            DataError: ``unsupported_field``: it is another form of that name; ``bad_row``: lists of unequal length.
        """
        columns = _columns(value)
        self._names = [text_of(name, "name of an object") for name in columns.get("ref", [])]
        self._boxes = columns.get("bbox", [])
        self._images = columns.get("image_id", [])
        self._unit = columns.get("bbox_type", "real")
        if self._unit not in _UNITS:
            raise _other(f"bbox_type {self._unit!r} (known: {', '.join(_UNITS)})")
        if self._images and len(self._images) != len(self._boxes):
            raise DataError("bad_row", f"'objects': {len(self._images)} image_id for {len(self._boxes)} boxes")
        self._num_names = self._num_boxes = 0
        self._images_of_boxes: list[tuple[int, list[float]]] = []

    def take(self, text: str) -> list[tuple[str | None, int | None]]:
        """For every mark of a text the name, or the number of the box, that it stands for.

        Raises:
            DataError: ``bad_row``: there are fewer than marks.
        """
        taken: list[tuple[str | None, int | None]] = []
        for mark in _MARK.findall(text):
            if mark == NAME:
                if self._num_names >= len(self._names):
                    raise DataError("bad_row", f"'objects' lists {len(self._names)} names, fewer than marks {NAME}")
                taken.append((self._names[self._num_names], None))
                self._num_names += 1
            else:
                if self._num_boxes >= len(self._boxes):
                    raise DataError("bad_row", f"'objects' lists {len(self._boxes)} boxes, fewer than marks {BOX}")
                taken.append((None, self._num_boxes))
                self._num_boxes += 1
        return taken

    def check_all_taken(self) -> None:
        """Refuse names and boxes that no mark stands for.

        Raises:
            DataError: ``unsupported_field``: there are no marks at all; ``bad_row``: fewer than names or boxes.
        """
        given, taken = (len(self._names), len(self._boxes)), (self._num_names, self._num_boxes)
        if taken == (0, 0) and given != (0, 0):
            raise _other(f"no mark {BOX} or {NAME} in the texts says where they belong")
        if given != taken:
            told = f"{given[0]} names and {given[1]} boxes for {taken[0]} marks {NAME} and {taken[1]} marks {BOX}"
            raise DataError("bad_row", f"'objects' lists {told}")

    def placed(self, media: Sequence[Media]) -> tuple[list[Media], list[Region]]:
        """The media as their boxes count them, and every box as shares of its image.

        Raises:
            DataError: ``bad_row``: a box is none, or lies outside its image; and what probing the image raises.
        """
        shown = list(media)
        regions = []
        for number, box in enumerate(self._boxes):
            image = self._images[number] if self._images else 0
            if not isinstance(image, int) or isinstance(image, bool) or not 0 <= image < len(shown):
                raise DataError("bad_row", f"box {number + 1} is of image {image!r}, the row has {len(shown)}")
            unit: int = _UNITS[self._unit]
            if not unit and shown[image].kind in ("dicom", "nifti"):  # boxes count the stored pixels
                options = {"square_pixels": False, **shown[image].options}
                shown[image] = shown[image].model_copy(update={"options": options})
            height, width = _loader().probe(shown[image]) if not unit else (unit, unit)
            regions.append(Region(box=_shares(box, height, width, number)))
        return shown, regions


def _columns(value: Any) -> dict[str, Any]:
    """The lists by name; empty where the row has no objects."""
    value = known(value)
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError("bad_row", f"'objects' is no JSON ({error})") from None
    if is_empty(value) or isinstance(value, str):
        return {}
    if isinstance(value, (list, tuple)):
        value = dict(_joined(value))
    if not isinstance(value, Mapping):
        raise _other("neither an object nor a list of objects")
    found = {key: column for key, column in value.items() if not is_empty(column)}
    if unknown := sorted(set(map(str, found)) - _KEYS):
        raise _other(f"the keys {', '.join(unknown)} mean nothing here (known: {', '.join(sorted(_KEYS))})")
    for key in ("ref", "bbox", "image_id"):
        if key in found and not isinstance(found[key], (list, tuple)):
            raise _other(f"{key} is no list")
    return found


def _joined(rows: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """A list of one object each as lists."""
    if not all(isinstance(row, Mapping) and row.keys() <= _OLD_KEYS.keys() for row in rows):
        raise _other(f"a list of other keys than {', '.join(_OLD_KEYS)}")
    units = {row.get("bbox_type") or "real" for row in rows}
    if len(units) > 1:
        raise _other("boxes of several types")
    for old, key in _OLD_KEYS.items():
        if key == "bbox_type":
            yield key, units.pop()
        elif any(row.get(old) is not None for row in rows):
            yield key, [0 if key == "image_id" and row.get(old) is None else row.get(old) for row in rows]


def _shares(box: Any, height: float, width: float, number: int) -> tuple[float, float, float, float]:
    numbers = list(box) if isinstance(box, (list, tuple)) else []
    if len(numbers) == 2:
        raise _other("points are not read")
    plain = all(isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in numbers)
    if len(numbers) != 4 or not plain:
        raise DataError("bad_row", f"box {number + 1} must be four numbers, not {str(box)[:80]}")
    left, top, right, bottom = (float(one) for one in numbers)
    if not (0 <= left <= right <= width and 0 <= top <= bottom <= height):
        told = f"box {number + 1}, {list(box)}, does not lie in its image of {width:g} x {height:g} (left, top, right, "
        raise DataError("bad_row", told + "bottom)")
    return left / width, top / height, right / width, bottom / height


def _other(what: str) -> DataError:
    return DataError(
        "unsupported_field", f"'objects': {what}; leave the row out, or set ignore: [objects] to read it without"
    )


@functools.cache
def _loader() -> MediaLoader:
    return load_plugins().media_loader()
