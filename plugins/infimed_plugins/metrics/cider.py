"""CIDEr-D: n-grams in common, weighted by how rare they are among the references of the benchmark."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from infimed_core import TextMetric
from infimed_plugins.metrics.words import words

ORDERS = 4
SIGMA = 6.0
"""Width of the Gaussian that punishes a difference in length, in words."""

Gram = tuple[str, ...]


class Cider(TextMetric):
    """Mean CIDEr-D (Vedantam et al. 2015, sections 3 and 8), times 10 as its authors' code.

    Document frequencies are counted over the references of all questions of the benchmark that were asked; with one
    reference alone no word is rarer than another and there is no value.
    """

    key: ClassVar[str] = "cider"

    def measure(self, references: Sequence[str], texts: Sequence[str | None]) -> list[float | None]:
        """In [0, 10] for each pair, 0 for an empty text."""
        counted = [_grams(words(reference)) for reference in references]
        if len(counted) < 2:
            return [None] * len(texts)
        frequencies = Counter(gram for grams in counted for gram in grams)
        corpus = _Corpus(math.log(len(counted)), frequencies)
        return [
            None if text is None else corpus.similarity(_grams(words(text)), wanted)
            for text, wanted in zip(texts, counted, strict=True)
        ]


class FindingsCider(Cider):
    """Mean CIDEr-D of the findings."""

    section: ClassVar[str] = "findings"


class ImpressionCider(Cider):
    """Mean CIDEr-D of the impression."""

    section: ClassVar[str] = "impression"


@dataclass(frozen=True)
class _Corpus:
    """The logarithm of the number of references, and in how many of them each n-gram is."""

    log_size: float
    frequencies: Counter[Gram]

    def similarity(self, given: Counter[Gram], wanted: Counter[Gram]) -> float:
        """The mean over n of clipped cosines, under the Gaussian of the lengths, times 10."""
        ours, our_norms, our_length = self._weights(given)
        theirs, their_norms, their_length = self._weights(wanted)
        penalty = math.exp(-((our_length - their_length) ** 2) / (2 * SIGMA**2))
        total = 0.0
        for order in range(ORDERS):
            if our_norms[order] and their_norms[order]:
                shared = math.fsum(
                    min(weight, theirs[order][gram]) * theirs[order][gram]
                    for gram, weight in ours[order].items()
                    if gram in theirs[order]
                )
                total += shared / (our_norms[order] * their_norms[order])
        return 10.0 * penalty * total / ORDERS

    def _weights(self, grams: Counter[Gram]) -> tuple[list[dict[Gram, float]], list[float], int]:
        weights: list[dict[Gram, float]] = [{} for _ in range(ORDERS)]
        length = 0
        for gram, count in grams.items():
            weights[len(gram) - 1][gram] = count * (self.log_size - math.log(max(1, self.frequencies[gram])))
            # the authors' code takes the number of word pairs for the length
            length += count if len(gram) == 2 else 0
        norms = [math.sqrt(math.fsum(weight * weight for weight in order.values())) for order in weights]
        return weights, norms, length


def _grams(tokens: Sequence[str]) -> Counter[Gram]:
    return Counter(
        tuple(tokens[start : start + order])
        for order in range(1, ORDERS + 1)
        for start in range(len(tokens) - order + 1)
    )
