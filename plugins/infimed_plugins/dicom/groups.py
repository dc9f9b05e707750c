"""Where a DICOM object says a thing about one frame: its own functional group, the shared one, or the top level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
MOST_STRETCHED = 20.0
"""A pixel is never taken to be longer than this many times its width: such a header is a mistake."""


def places(dataset: Any, frame: int, sequence: str) -> Iterator[Any]:
    """The items that may speak of ``frame``, the most special first; ``sequence`` names the functional group."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    groups = [per_frame[frame]] if per_frame and frame < len(per_frame) else []
    shared = dataset.get("SharedFunctionalGroupsSequence")
    groups += [shared[0]] if shared else []
    for group in groups:
        macro = group.get(sequence)
        if macro:
            yield macro[0]
    yield dataset


def numbers(value: Any) -> list[float]:
    """The finite numbers of an element's value; none where it is absent, empty or no number."""
    if value is None or value == "":
        return []
    values = [value] if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") else list(value)
    try:
        converted = [float(one) for one in values if one is not None and one != ""]
    except (TypeError, ValueError):
        return []
    return [number for number in converted if math.isfinite(number)]


def first_number(value: Any) -> float | None:
    """The first number of a single or multiple value; ``None`` where there is none."""
    return next(iter(numbers(value)), None)


def pixel_stretch(dataset: Any, frame: int) -> float:
    """Height of a pixel divided by its width; 1 where the object does not say, or says nonsense.

    Source: DICOM PS3.3 C.7.6.3.1.7 (Pixel Aspect Ratio) and 10.7.1.3 (Pixel Spacing, between rows first).
    """
    sizes = [numbers(dataset.get("PixelAspectRatio"))]
    sizes += [
        numbers(place.get(name)) for place in places(dataset, frame, "PixelMeasuresSequence") for name in SPACINGS
    ]
    for size in sizes:
        if len(size) == 2 and min(size) > 0:
            stretch = size[0] / size[1]
            return stretch if 1 / MOST_STRETCHED <= stretch <= MOST_STRETCHED else 1.0
    return 1.0


def square_shape(rows: int, columns: int, stretch: float) -> tuple[int, int]:
    """The size at which pixels are square and no detail is lost; the same where they differ by less than 1%."""
    if abs(stretch - 1.0) < 0.01:
        return rows, columns
    return (round(rows * stretch), columns) if stretch > 1 else (rows, round(columns / stretch))
