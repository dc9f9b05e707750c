"""Means over answers, of the score or of one named part; the core counts those that could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Metric, Score


class Mean(Metric):
    """The mean of one value an answer; NaN takes no part."""

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """One value per score, whose mean is the metric."""
        raise NotImplementedError

    def compute(self, scores: Sequence[Score]) -> float | None:
        """The mean of the values; ``None`` where there is none."""
        values = self.values(scores)
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else None


class Accuracy(Mean):
    """Right answers among all answers; one that could not be read is not right. Graded values count as they are."""

    version: ClassVar[str] = "2"
    counts_unread: ClassVar[bool] = True
    shown_with: ClassVar[tuple[str, ...]] = ("metrics/coverage", "metrics/accuracy_where_read")

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """The score, 0 where it could not be read."""
        return np.array([score.value or 0.0 for score in scores], dtype=np.float64)


class AccuracyWhereRead(Mean):
    """Right answers among those that could be read; what a model leaves unreadable does not count against it."""

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """The score."""
        return np.array([score.value for score in scores], dtype=np.float64)


class Coverage(Mean):
    """The share of answers that could be read."""

    counts_unread: ClassVar[bool] = True

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """1 where there is a score, else 0."""
        return np.array([score.value is not None for score in scores], dtype=np.float64)


class _Part(Mean):
    """The mean of one part of the scores that have it; ``None`` where none has."""

    key: ClassVar[str] = ""
    of_open_answers: ClassVar[bool] = True

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """The part of every score, NaN where a score lacks it."""
        return np.array([score.parts.get(self.key) for score in scores], dtype=np.float64)


PARTS = {
    "exact-match": ("em", "Share of open answers equal to the reference after normalisation."),
    "bleu-1": ("bleu1", "Mean sentence BLEU-1."),
    "bleu-2": ("bleu2", "Mean sentence BLEU-2."),
    "bleu-3": ("bleu3", "Mean sentence BLEU-3."),
    "bleu-4": ("bleu4", "Mean sentence BLEU-4."),
    "rouge-1": ("rouge1", "Mean ROUGE-1 F."),
    "rouge-2": ("rouge2", "Mean ROUGE-2 F."),
    "rouge-l": ("rougel", "Mean ROUGE-L F."),
    "token-precision": ("precision", "Mean token precision of open answers."),
    "token-recall": ("recall", "Mean token recall of open answers."),
    "token-f1": ("f1", "Mean token F1 of open answers."),
    "findings-rouge-l": ("findings_rougel", "Mean ROUGE-L F of the findings, where the reference has some."),
    "findings-bleu-4": ("findings_bleu4", "Mean sentence BLEU-4 of the findings."),
    "impression-rouge-l": ("impression_rougel", "Mean ROUGE-L F of the impression, where the reference has one."),
    "impression-bleu-4": ("impression_bleu4", "Mean sentence BLEU-4 of the impression."),
}
"""Metrics that graders leave among the parts of a score: name -> (part, what it is)."""


def __getattr__(name: str) -> type[Metric]:
    """The class of a metric of ``PARTS``, made when it is first asked for: making all takes a tenth of a command."""
    if name not in PARTS:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    key, text = PARTS[name]
    body = {"__module__": __name__, "__qualname__": name, "__doc__": text, "key": key}
    globals()[name] = type(name, (_Part,), body | {"__annotations__": {"key": ClassVar[str]}})
    return cast(type[Metric], globals()[name])


class PartMean(Mean):
    """The mean of any part of the scores, named by ``part``."""

    part: str = Field(description="Name of the part in Score.parts.")

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """The part of every score, NaN where a score lacks it."""
        return np.array([score.parts.get(self.part) for score in scores], dtype=np.float64)
