"""How well boxes lie on boxes: intersection over union, the best pairing, average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import Sample
from infimed_plugins.metrics.grounding.reading import Place

Box = tuple[float, ...]
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The overlaps that COCO's average precision is the mean of."""


def overlaps(found: Sequence[Box], wanted: Sequence[Box]) -> NDArray[np.float64]:
    """Intersection over union of every box with every other: float64 [found, wanted]."""
    ours, theirs = (np.array(boxes, dtype=np.float64).reshape(-1, 4) for boxes in (found, wanted))
    corner = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    other = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.clip(other - corner, 0.0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None] - shared
    result: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result


def paired(found: Sequence[Box], wanted: Sequence[Box]) -> list[float]:
    """The overlaps of the best one-to-one pairing."""
    from scipy.optimize import linear_sum_assignment

    table = overlaps(found, wanted)
    rows, columns = linear_sum_assignment(-table)
    return [float(table[row, column]) for row, column in zip(rows, columns, strict=True)]


def holds(boxes: Sequence[Box], point: tuple[float, float]) -> bool:
    """Whether a point lies in one of the boxes, edges included."""
    return any(left <= point[0] <= right and top <= point[1] <= bottom for left, top, right, bottom in boxes)


def average_precision(
    found: Mapping[str, Sequence[Place]], wanted: Mapping[str, Sequence[Box]], threshold: float
) -> float | None:
    """COCO's average precision of one category at one overlap; keys are images. ``None`` without a wanted box.

    Detections of all images go by falling confidence; each takes the wanted box of its image that it overlaps most and
    that no surer one took. Precision is made monotone and read at 101 recalls.
    """
    num_wanted = sum(map(len, wanted.values()))
    if not num_wanted:
        return None
    hits: list[tuple[float, bool]] = []
    for image, places in found.items():
        boxes = list(wanted.get(image, ()))
        taken: set[int] = set()
        ordered = sorted(places, key=lambda place: -place.confidence)
        table = overlaps([place.shares for place in ordered], boxes)
        for row, place in enumerate(ordered):
            best, at = min(threshold, 1 - 1e-10), -1
            for column in range(len(boxes)):
                if column not in taken and table[row, column] >= best:
                    best, at = table[row, column], column
            if at >= 0:
                taken.add(at)
            hits.append((place.confidence, at >= 0))
    order = sorted(range(len(hits)), key=lambda number: -hits[number][0])
    right = np.cumsum([hits[place][1] for place in order], dtype=np.float64)
    if not len(right):
        return 0.0
    recall, precision = right / num_wanted, right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(recall, np.linspace(0.0, 1.0, 101), side="left")
    return float(np.mean([precision[step] if step < len(precision) else 0.0 for step in reached.tolist()]))


def boxes_of(sample: Sample) -> list[tuple[float, ...]]:
    """The wanted boxes of a question."""
    boxes: Any = sample.meta.get("boxes") or []
    return [tuple(float(value) for value in box) for box in boxes]
