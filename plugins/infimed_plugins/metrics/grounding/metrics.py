"""Metrics of places in images: mean overlap, pointing accuracy, average precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import AnswerMetric, GradedAnswer, Score
from infimed_plugins.metrics.grounding.measures import THRESHOLDS, average_precision, boxes_of
from infimed_plugins.metrics.grounding.reading import Convention, Place, read_places
from infimed_plugins.metrics.means import Mean


class _OfPlaces(Mean):
    """The mean of a part of the score; an answer without a place counts 0, where the benchmark measures it at all."""

    key: ClassVar[str]
    counts_unread: ClassVar[bool] = True

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """The part of every score; NaN where the score has another measure."""
        return np.array([0.0 if one.value is None else one.parts.get(self.key) for one in scores], dtype=np.float64)


class MeanIou(_OfPlaces):
    """Mean overlap (intersection over union) of the boxes with those wanted."""

    key: ClassVar[str] = "iou"


class PointingAccuracy(_OfPlaces):
    """The share of answers whose first place, or the middle of whose first box, lies in a wanted box."""

    key: ClassVar[str] = "pointing"


class MeanAveragePrecision(AnswerMetric):
    """COCO's mAP: average precision over overlaps of 0.5 to 0.95, the mean over categories; every question an image.

    A box without a confidence has 1. Answers are read by ``convention``, which must be that of the benchmark.
    """

    counts_unread: ClassVar[bool] = True

    convention: Convention = Field(default="thousandths", description="What the numbers of an answer count.")
    thresholds: tuple[float, ...] = Field(default=THRESHOLDS, min_length=1, description="The overlaps.")

    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        """The mean over categories and overlaps; ``None`` without a question that has boxes."""
        found: dict[str, dict[str, list[Place]]] = {}
        wanted: dict[str, dict[str, list[tuple[float, ...]]]] = {}
        for number, row in enumerate(rows):
            if boxes := boxes_of(row.sample):
                size: Any = row.sample.meta["size"]
                category, image = str(row.sample.meta.get("category")), str(number)
                places = read_places(row.answer.text or "", "box", self.convention, (int(size[0]), int(size[1])))
                found.setdefault(category, {})[image] = places
                wanted.setdefault(category, {})[image] = boxes
        parts = [
            average_precision(found[category], wanted[category], threshold)
            for category in wanted
            for threshold in self.thresholds
        ]
        known = [part for part in parts if part is not None]
        return sum(known) / len(known) if known else None
