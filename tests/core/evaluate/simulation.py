"""Answers with known true accuracy, in clusters that are alike by a known degree: what intervals are tried on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import Answer, GradedAnswer, Sample, Score
from infimed_core.evaluate import statistics
from infimed_core.evaluate.paired_comparison import mean_difference
from infimed_core.evaluate.summary import measure
from infimed_plugins.metrics.classes import BalancedAccuracy

LAYOUTS = ((50, 1, 0.0), (25, 2, 0.3), (500, 1, 0.0), (100, 5, 0.3), (25, 20, 0.1), (25, 20, 0.3))
"""(clusters, questions of each, correlation within a cluster) of 50 and of 500 questions."""
PAIRS = ((0.02, 0.02), (0.02, 0.06), (0.5, 0.5), (0.5, 0.6), (0.98, 0.98), (0.98, 0.9))
"""True accuracies of two models."""


def answers(
    generator: np.random.Generator, num_clusters: int, size: int, share: float, alike: float
) -> NDArray[np.float64]:
    """Right (1) or wrong (0) answers, float64 [num_clusters * size]."""
    return (generator.random(num_clusters * size) < _chances(generator, num_clusters, size, share, alike)).astype(float)


def pairs(
    generator: np.random.Generator, num_clusters: int, size: int, shares: tuple[float, float], alike: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The answers of two models that find the same questions hard half of the time."""
    luck, own, same = (generator.random(num_clusters * size) for _ in range(3))
    first, second = (_chances(generator, num_clusters, size, share, alike) for share in shares)
    return (luck < first).astype(float), (np.where(same < 0.5, luck, own) < second).astype(float)


def _chances(generator: np.random.Generator, num_clusters: int, size: int, share: float, alike: float) -> Any:
    weight = (1 - alike) / alike if alike else 0.0
    drawn = generator.beta(share * weight, (1 - share) * weight, num_clusters) if alike else [share] * num_clusters
    return np.repeat(drawn, size)


def coverage_of_values(layout: tuple[int, int, float], share: float, trials: int) -> float:
    """How often the interval of an accuracy holds its true value."""
    num_clusters, size, alike = layout
    generator = np.random.default_rng([num_clusters, size])
    units = _units(num_clusters, size)

    def trial() -> bool:
        low, high = statistics.interval(answers(generator, num_clusters, size, share, alike), units)
        assert low is not None and high is not None
        return low - 1e-12 <= share <= high + 1e-12

    return _share_of(trial, trials)


def coverage_of_differences(layout: tuple[int, int, float], shares: tuple[float, float], trials: int) -> float:
    """How often the interval of a paired difference holds the true one."""
    num_clusters, size, alike = layout
    generator = np.random.default_rng([num_clusters, size])
    units = _units(num_clusters, size)

    def trial() -> bool:
        found = mean_difference(*pairs(generator, num_clusters, size, shares, alike), units)
        assert found is not None
        return found.low - 1e-12 <= shares[0] - shares[1] <= found.high + 1e-12

    return _share_of(trial, trials)


def coverage_of_balanced(
    num: int, rare: float, recalls: tuple[float, float], trials: int, size: int = 1, alike: float = 0.0
) -> tuple[float, float]:
    """How often the interval of a balanced accuracy over two classes holds the true one, and how often there is one.

    ``rare`` is the share of the first class; ``size`` questions share an image, whose difficulty is that of
    both classes there (``alike``, as in ``answers``). An interval that is withheld counts neither way.
    """
    metric: Any = BalancedAccuracy()
    generator = np.random.default_rng([num, round(1000 * rare)])
    questions = {name: Sample(id=name, turns=(), references=(name,)) for name in ("yes", "no")}
    truth, held, given = sum(recalls) / 2, 0, 0
    for _ in range(trials):
        names = np.where(generator.random(num) < rare, "yes", "no")
        luck = np.repeat(generator.random(num // size), size)
        luck = np.where(generator.random(num) < math.sqrt(alike), luck, generator.random(num))
        right = luck < np.where(names == "yes", *recalls)
        rows = [
            GradedAnswer(questions[name], Answer(sample_id="", text=""), Score(value=float(value)))
            for name, value in zip(names, right, strict=True)
        ]
        found = measure(metric, rows, _units(num // size, size), 0, [True] * num)
        if found.low is not None and found.high is not None:
            given += 1
            held += found.low - 1e-12 <= truth <= found.high + 1e-12
    return held / given if given else float("nan"), given / trials


def _units(num_clusters: int, size: int) -> list[str]:
    return [str(number // size) for number in range(num_clusters * size)]


def _share_of(trial: Callable[[], bool], trials: int) -> float:
    return sum(trial() for _ in range(trials)) / trials
