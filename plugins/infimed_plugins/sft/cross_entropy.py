"""The objective of a stage that names none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import Objective, PackedBatch
from infimed_plugins.sft.loss import supervised


class CrossEntropy(Objective):
    """Cross-entropy of the supervised tokens. The stage's ``loss_weighting`` says what a token weighs."""

    def targets(self, row: PackedBatch) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Every supervised token, each weighing the same."""
        positions, weights = supervised(row, "token")
        return positions, weights, float(len(positions))

    def losses(self, row: PackedBatch, log_probabilities: Any) -> tuple[Any, dict[str, Any]]:
        """The negative log-probabilities."""
        return -log_probabilities, {}
