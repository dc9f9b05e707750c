"""Two models on the same questions: the difference, its interval, and what a run of many comparisons may claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.data import Score
from infimed_core.api.evaluation import Benchmark, Metric
from infimed_core.api.reporting import Comparison
from infimed_core.evaluate import statistics
from infimed_core.evaluate.graded import Graded
from infimed_core.evaluate.paired import estimate
from infimed_core.evaluate.summary import cluster_ids
from infimed_core.runfile.sections import BASELINE, CONSTANT_LETTER, IMAGE_BLIND


def compare(
    name: str,
    benchmark: Benchmark,
    rows: Mapping[str, Sequence[Graded]],
    against: Sequence[str],
    seed: int,
    metrics: Mapping[str, Metric],
) -> list[Comparison]:
    """Paired differences between every model and each of ``against``, on the questions on which both have a score.

    What is compared is the metric that counts (``accuracy`` where the benchmark has it, else its first), under the
    first scoring and under every judge's. A model is also compared with itself asked without the images.
    """
    judges = sorted(
        {name for found in rows.values() for row in found for name in row.scores if name.startswith("judge:")}
    )
    metric_name = "accuracy" if "accuracy" in metrics else next(iter(metrics))
    found = []
    for scoring in (benchmark.scorings[0], *judges):
        for model, own in rows.items():
            if model in (BASELINE, CONSTANT_LETTER) or model.endswith(IMAGE_BLIND):
                continue
            for other in dict.fromkeys((*against, model + IMAGE_BLIND)):
                if other in rows and other != model:
                    pair = _pair(benchmark, own, rows[other], scoring)
                    facts = _difference(metrics[metric_name], *pair, seed) if pair is not None else None
                    if facts is not None:
                        found.append(
                            Comparison(
                                benchmark=name, scoring=scoring, metric=metric_name, model=model, against=other, **facts
                            )
                        )
    return found


def _pair(
    benchmark: Benchmark, own: Sequence[Graded], others: Sequence[Graded], scoring: str
) -> tuple[list[Score], list[Score], list[str]] | None:
    """Scores of both on the questions that both have a value for, and the cluster of each question."""
    theirs = {row.sample.id: row.scores[scoring] for row in others if scoring in row.scores}
    left, right, units = [], [], []
    for row, unit in zip(own, cluster_ids(benchmark, own), strict=True):
        mine, other = row.scores.get(scoring), theirs.get(row.sample.id)
        if mine is not None and other is not None and mine.value is not None and other.value is not None:
            left.append(mine)
            right.append(other)
            units.append(unit)
    return (left, right, units) if units else None


def _difference(
    metric: Metric, left: Sequence[Score], right: Sequence[Score], units: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """The fields of a comparison that are numbers.

    ``None`` where the metric is undefined on these questions, or where nothing is known of how far it scatters: it is
    no mean and the same on every resample of them, or a mean of values beyond [0, 1] that all differ alike.
    """
    ours, others = metric.values(left), metric.values(right)
    if ours is None or others is None:  # no mean of single values: the metric itself is computed on every resample
        return _any_difference(metric, left, right, units, seed)
    both = np.isfinite(ours) & np.isfinite(others)
    if not both.any():
        return None
    ours, others, units = ours[both], others[both], [unit for unit, kept in zip(units, both, strict=True) if kept]
    binary = bool(np.isin(ours, (0.0, 1.0)).all() and np.isin(others, (0.0, 1.0)).all())
    found = paired_interval(ours, others, units, binary, seed)
    if found is None:
        return None
    difference, low, high, p_value = found
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "p_value": p_value,
        "minimum_detectable": statistics.minimum_detectable_difference(ours - others, clusters=units),
        "num_pairs": len(units),
    }


def paired_interval(
    ours: NDArray[np.float64], others: NDArray[np.float64], units: Sequence[str], binary: bool, seed: int = 0
) -> tuple[float, float, float, float | None] | None:
    """The mean of ``ours - others`` (float64 [n] each) with its 95% interval and p-value: (difference, low, high, p).

    A clustered bootstrap; where it has fewer than ``FEW`` clusters to draw from, or all of them differ alike, it would
    be too narrow, and the closed form of ``paired.estimate`` takes its place. ``None`` where values beyond [0, 1] all
    differ alike, so that nothing is known of how far they scatter. McNemar's test where every value is 0 or 1
    (``binary``) and no two questions share a cluster.
    """
    number = len(set(units))
    both = np.concatenate([ours, others])
    bounded = bool(both.min() >= 0.0 and both.max() <= 1.0)
    found = estimate(ours - others, units, binary, 1.0 if bounded else np.inf)
    if not bounded and found.error <= statistics.NO_SPREAD:
        return None
    if number < statistics.FEW or found.error <= statistics.NO_SPREAD:
        return found.difference, found.low, found.high, found.p_value
    difference, low, high = statistics.paired_difference(ours, others, clusters=units, seed=seed)
    # McNemar's test takes questions as independent, which those on one image are not
    if binary and number == len(units):
        return difference, low, high, statistics.mcnemar(ours, others)
    return difference, low, high, statistics.paired_p_value(ours, others, clusters=units, seed=seed)


def _any_difference(
    metric: Metric, left: Sequence[Score], right: Sequence[Score], units: Sequence[str], seed: int
) -> dict[str, Any] | None:
    def between(places: Sequence[int]) -> float:
        ours, others = (metric.compute([scores[index] for index in places]) for scores in (left, right))
        return float("nan") if ours is None or others is None else ours - others

    difference = between(range(len(units)))
    if np.isnan(difference):
        return None
    draws = statistics.resample(units, seed, 500, lambda chosen: between([int(index) for index in chosen]))
    if not np.nanstd(draws) > statistics.NO_SPREAD:
        return None
    low, high = statistics.percentiles(draws)
    p_value = statistics.p_of_draws(draws, difference) if difference else 1.0
    return {"difference": difference, "low": low, "high": high, "p_value": p_value, "num_pairs": len(units)}


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of a run with Holm's adjusted p-values over all of them."""
    places = [index for index, one in enumerate(comparisons) if one.p_value is not None]
    adjusted = statistics.holm([float(comparisons[index].p_value or 0.0) for index in places])
    found = dict(zip(places, adjusted, strict=True))
    return [one.model_copy(update={"p_adjusted": found.get(index)}) for index, one in enumerate(comparisons)]
