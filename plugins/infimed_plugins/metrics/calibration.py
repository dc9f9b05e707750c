"""Metrics of confidence: whether a model is as often right as it is sure, and what it gains by passing questions on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import AnswerMetric, GradedAnswer


def known(rows: Sequence[GradedAnswer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence and value (0 where unread) of every answer that has a confidence: float64 [n] each.

    It is the part ``confidence`` of the score where there is one, for another scoring may choose another answer.
    """
    pairs = [(row.score.parts.get("confidence", row.answer.confidence), row.score.value or 0.0) for row in rows]
    found = np.array([pair for pair in pairs if pair[0] is not None], dtype=np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


class _OfConfidence(AnswerMetric):
    """A figure of answers that have a confidence (``likelihood``, ``vote``); ``None`` where none has."""

    counts_unread: ClassVar[bool] = True

    def smallest_part(self, rows: Sequence[GradedAnswer]) -> int:
        """Answers with a confidence."""
        return len(known(rows)[0])

    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        """The figure over all rows."""
        sure, right = known(rows)
        return self.of(sure, right) if len(sure) else None

    def of(self, sure: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
        """The figure of confidences and values."""
        raise NotImplementedError


class CalibrationError(_OfConfidence):
    """Expected calibration error: how far, on average, the share of right answers lies from the confidence.

    Answers are put into ``bins`` of equal width by confidence; the distances between mean confidence and mean value of
    the bins are weighed by their answers (Naeini 2015; Guo 2017, ICML).
    """

    higher_is_better: ClassVar[bool] = False

    bins: int = Field(default=10, ge=2, description="Number of bins of confidence.")

    def of(self, sure: NDArray[np.float64], right: NDArray[np.float64]) -> float:
        """The weighed mean distance."""
        place = np.minimum((sure * self.bins).astype(int), self.bins - 1)
        apart = np.bincount(place, weights=sure - right, minlength=self.bins)
        return float(np.abs(apart).sum() / len(sure))


class ReferArea(_OfConfidence):
    """Area under the risk-coverage curve: the mean share of wrong answers among the surest, over all numbers of them.

    0 is a model that is right wherever it answers first; the share of wrong answers is one whose confidence says
    nothing. Answers of equal confidence are answered or referred together (Geifman and El-Yaniv 2017, NeurIPS).
    """

    higher_is_better: ClassVar[bool] = False

    def of(self, sure: NDArray[np.float64], right: NDArray[np.float64]) -> float:
        """The mean risk over coverages 1/n, 2/n ... 1."""
        return float(risks(sure, right).mean())


class AccuracyWhenReferring(_OfConfidence):
    """Answer or refer: accuracy on the ``share`` of questions that the model is surest of, the others passed on."""

    share: float = Field(default=0.8, gt=0.0, le=1.0, description="Share of questions that the model answers itself.")

    def of(self, sure: NDArray[np.float64], right: NDArray[np.float64]) -> float:
        """One less the risk at this coverage."""
        place = max(1, int(np.ceil(self.share * len(sure) - 1e-9))) - 1
        return float(1.0 - risks(sure, right)[place])


def risks(sure: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of wrong answers among the k surest, for k of 1 to n: float64 [n].

    Where the k-th and the next are equally sure, those of that confidence count as their mean does, in whatever order.
    """
    order = np.argsort(-sure, kind="stable")
    levels, place, counts = np.unique(-sure[order], return_inverse=True, return_counts=True)
    mean = np.bincount(place, weights=1.0 - right[order], minlength=len(levels)) / counts
    wrong: NDArray[np.float64] = np.cumsum(mean[place]) / np.arange(1, len(sure) + 1)
    return wrong
