"""The median of the scores."""

from collections.abc import Sequence

import numpy as np

from infimed_core import Metric, Score


class MedianScore(Metric):
    """Median value over the scored samples."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        values = [score.value for score in scores if score.value is not None]
        return float(np.median(values)) if values else None
