"""Means over the scored samples, of the value or of one named part; the core counts the unscored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Metric, Score


class Accuracy(Metric):
    """The mean value: for right or wrong answers, the share that is right."""

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """One value per score, whose mean is the metric."""
        return np.array([score.value for score in scores if score.value is not None], dtype=np.float64)

    def compute(self, scores: Sequence[Score]) -> float | None:
        """The mean of the values; ``None`` where there is none."""
        found = self.values(scores)
        return float(found.mean()) if len(found) else None


class _Part(Metric):
    """The mean of one part of the scores that have it; ``None`` where none has."""

    key: ClassVar[str] = ""
    of_open_answers: ClassVar[bool] = True

    @property
    def _name(self) -> str:
        return self.key

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """The part of every score, NaN where a score lacks it."""
        return np.array([score.parts.get(self._name) for score in scores], dtype=np.float64)

    def compute(self, scores: Sequence[Score]) -> float | None:
        """The mean of the part over the scores that have it."""
        values = self.values(scores)
        found = values[np.isfinite(values)]
        return float(found.mean()) if len(found) else None


class ExactMatch(_Part):
    """Share of open answers equal to the reference after normalisation."""

    key = "em"


class Bleu1(_Part):
    """Mean sentence BLEU-1."""

    key = "bleu1"


class Bleu2(_Part):
    """Mean sentence BLEU-2."""

    key = "bleu2"


class Bleu3(_Part):
    """Mean sentence BLEU-3."""

    key = "bleu3"


class Bleu4(_Part):
    """Mean sentence BLEU-4."""

    key = "bleu4"


class Rouge1(_Part):
    """Mean ROUGE-1 F."""

    key = "rouge1"


class Rouge2(_Part):
    """Mean ROUGE-2 F."""

    key = "rouge2"


class RougeL(_Part):
    """Mean ROUGE-L F."""

    key = "rougel"


class TokenPrecision(_Part):
    """Mean token precision of open answers."""

    key = "precision"


class TokenRecall(_Part):
    """Mean token recall of open answers."""

    key = "recall"


class TokenF1(_Part):
    """Mean token F1 of open answers."""

    key = "f1"


class FindingsRougeL(_Part):
    """Mean ROUGE-L F of the findings, over the reports whose reference has some."""

    key = "findings_rougel"


class ImpressionRougeL(_Part):
    """Mean ROUGE-L F of the impression, over the reports whose reference has one."""

    key = "impression_rougel"


class FindingsBleu4(_Part):
    """Mean sentence BLEU-4 of the findings."""

    key = "findings_bleu4"


class ImpressionBleu4(_Part):
    """Mean sentence BLEU-4 of the impression."""

    key = "impression_bleu4"


class PartMean(_Part):
    """The mean of any part of the scores, named by ``part``."""

    of_open_answers: ClassVar[bool] = False
    part: str = Field(description="Name of the part in Score.parts.")

    @property
    def _name(self) -> str:
        return self.part
