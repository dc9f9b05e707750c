"""Two metrics of point grading: how much of the points is covered, and how often a forbidden one is stated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infimed_core import Metric, Score


class PointCoverage(Metric):
    """Mean share of the points that answers cover, before anything is taken off for forbidden ones."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        """The mean of the part ``coverage``; ``None`` where no score has it."""
        values = self.values(scores)
        return None if values is None or not len(values) else float(values.mean())

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64] | None:
        """Coverage of each score; ``None`` where one has none."""
        found = [score.parts.get("coverage") for score in scores]
        return None if None in found else np.array(found, dtype=np.float64)


class ViolationRate(Metric):
    """Share of answers that state at least one forbidden point."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        """The share among all scored answers."""
        values = self.values(scores)
        return None if values is None or not len(values) else float(values.mean())

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64] | None:
        """1 where the answer states a forbidden point, else 0; ``None`` for scores that are not by points."""
        if any("violations" not in score.parts for score in scores):
            return None
        return np.array([(score.parts["violations"] or 0.0) > 0.0 for score in scores], dtype=np.float64)
