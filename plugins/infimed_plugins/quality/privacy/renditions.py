"""What a viewer can show of a frame: letters that one window hides stand out in another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_DIFFERENCE = 4.0
"""Mean difference, in levels of 255, from which a rendition shows something that those before it do not."""
MOST_WINDOWS = 4
"""Windows of a file, different ones, in which its frames are read."""


def renditions(values: NDArray[Any], windows: Iterable[tuple[float, float]] = ()) -> Iterator[NDArray[np.uint8]]:
    """Renditions of a frame, each uint8 [h, w, 3]; one that looks like one before it is left out.

    First its whole range between black and white, then each window (its lowest and highest value), then its inner 98%,
    and at last its values by rank, which spreads any range that many pixels lie in: what a viewer can show by some
    window is seen in one of them. A frame in colour, [h, w, 3], has its whole range alone.
    """
    frame = values.astype(np.float32)
    finite = np.isfinite(frame)
    if not finite.all():
        frame = np.where(finite, frame, frame[finite].min() if finite.any() else 0.0)
    seen = [_between(frame, float(frame.min()), float(frame.max()))]
    yield _in_colour(seen[0])
    if frame.ndim == 3 or frame.min() == frame.max():
        return
    inner = np.quantile(frame, (0.01, 0.99))
    made = (_between(frame, low, high) for low, high in (*windows, (float(inner[0]), float(inner[1]))) if low < high)
    for grey in (*made, _by_rank(frame)):
        if all(_difference(grey, other) >= LEAST_DIFFERENCE for other in seen):
            seen.append(grey)
            yield _in_colour(grey)


def _between(frame: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    return (np.clip((frame - low) / max(high - low, 1e-12), 0.0, 1.0) * 255.0).astype(np.uint8)


def _by_rank(frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Equal values stay equal; between two levels lie as many pixels as between any other two."""
    _, index, counts = np.unique(frame, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts
    return (ranks * (255.0 / max(int(ranks[-1]), 1)))[index].reshape(frame.shape).astype(np.uint8)


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Of a picture and another one, or its negative, whichever is less: letters are read in both."""
    apart = first.astype(np.int16) - second
    mirrored = first.astype(np.int16) + second - 255
    return min(float(np.abs(apart).mean()), float(np.abs(mirrored).mean()))


def _in_colour(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)


def frames_of(dataset: Any) -> NDArray[Any]:
    """All frames as stored (RGB where they are in another colour space), [frames, h, w] or [frames, h, w, 3]."""
    from pydicom.pixels import pixel_array

    pixels = pixel_array(dataset)
    single = int(dataset.get("NumberOfFrames") or 1) == 1
    return pixels[None] if single else pixels


def dicom_renditions(dataset: Any, frame: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    """What a viewer can show of a frame, each uint8 [h, w, 3]: by the file's windows and by others."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    photometric = str(dataset.get("PhotometricInterpretation"))
    if photometric == "PALETTE COLOR":
        frame = apply_color_lut(frame, dataset)
    if frame.ndim == 3:
        yield from renditions(frame)
        return
    try:
        values = apply_modality_lut(frame, dataset).astype(np.float32)
    except Exception:  # a rescale that is no number: as stored
        values = frame.astype(np.float32)
    sign = -1.0 if photometric == "MONOCHROME1" else 1.0
    bounds = (sorted((sign * (center - width / 2), sign * (center + width / 2))) for center, width in _windows(dataset))
    yield from renditions(sign * values, ((low, high) for low, high in bounds))


def _windows(dataset: Any) -> list[tuple[float, float]]:
    """Center and width of the first windows that the file gives, in functional groups too, each once."""
    found: dict[tuple[float, float], None] = {}
    for item in _items(dataset):
        pairs = zip(_numbers(item.get("WindowCenter")), _numbers(item.get("WindowWidth")), strict=False)
        found.update(dict.fromkeys(pairs))
    return list(found)[:MOST_WINDOWS]


def _items(dataset: Any) -> Iterator[Any]:
    """The data set and every item of its sequences, at any depth."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _items(item)


def _numbers(value: Any) -> list[float]:
    try:
        return [float(one) for one in ([value] if isinstance(value, str | float | int) else value or ())]
    except (TypeError, ValueError):
        return []
