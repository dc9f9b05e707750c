"""Two models on the same questions: the one place where a difference, its interval and its p-value are computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.evaluation import Benchmark, GradedAnswer, Metric
from infimed_core.api.reporting import Comparison
from infimed_core.evaluate import mcnemar, statistics
from infimed_core.evaluate.graded import Graded
from infimed_core.evaluate.summary import cluster_ids, counted
from infimed_core.runfile.sections import IMAGE_BLIND, is_baseline

NUM_RESAMPLES = 999
"""Of a metric that is no mean; with these the smallest p-value is 0.002."""
MANY = 1e9
"""Degrees of freedom with which Student's t is the normal distribution."""

Test = Literal["mcnemar", "t", "no-spread", "bootstrap"]
C = TypeVar("C", bound=Comparison)


@dataclass(frozen=True)
class PairedDifference:
    """A difference with its 95% interval and p-value, both from ``test``; see ``Comparison``."""

    difference: float
    low: float
    high: float
    p_value: float
    test: Test
    num_pairs: int
    num_clusters: int
    standard_error: float = 0.0
    degrees_of_freedom: float = 1.0
    minimum_detectable: float | None = None


def compare_answers(
    ours: Sequence[GradedAnswer],
    others: Sequence[GradedAnswer],
    metric: Metric,
    clusters: Sequence[str],
    seed: int = 0,
    *,
    benchmark: str = "",
    scoring: str = "",
    metric_name: str = "",
    model: str = "",
    against: str = "",
) -> Comparison | None:
    """Compare two models by ``metric`` on the same questions: row i of both is question i, of cluster ``clusters[i]``.

    Every question that both have a result for is a pair, an unread answer too where the metric counts those
    (``Metric.counts_unread``). Rows are compared by one of four tests:

    - ``mcnemar``: values of 0 or 1, every question a cluster of its own. McNemar's exact test; Tango's interval.
    - ``t``: any other mean. Student's t with the standard error over clusters (``statistics.clustered_mean``).
    - ``no-spread``: a mean in [0, 1] of which all clusters differ alike, so that nothing is known of its error: what
      the clusters that were not seen may still do, by Wilson's bound and by the sign test, whichever says less.
    - ``bootstrap``: a metric that is no mean, on ``NUM_RESAMPLES`` resamples of whole clusters drawn by ``seed``.

    The result depends on these arguments alone: a run, ``infimed compare`` and ``infimed sweep`` give the same of them.
    Returns ``None`` where no question makes a pair, where the metric is undefined on them, and where a metric beyond
    [0, 1] shows no spread.
    """
    taking_part = [set(counted(metric, rows)) for rows in (ours, others)]
    if not len(ours) == len(others) == len(clusters):
        raise ValueError(f"{len(ours)} and {len(others)} answers in {len(clusters)} clusters are no pairs")
    kept = sorted(taking_part[0] & taking_part[1])
    left, right, units = [ours[i] for i in kept], [others[i] for i in kept], [clusters[i] for i in kept]
    values = (metric.answer_values(left), metric.answer_values(right)) if kept else (None, None)
    if values[0] is not None and values[1] is not None:
        taking = np.flatnonzero(np.isfinite(values[0]) & np.isfinite(values[1]))
        first, second = values[0][taking], values[1][taking]
        found = mean_difference(first, second, [units[i] for i in taking])
        both: tuple[float | None, float | None] = (None, None)
        if found is not None:
            both = (float(first.mean()), float(second.mean()))
    else:
        both = (metric.compute_answers(left), metric.compute_answers(right)) if kept else (None, None)
        found = _resampled(metric, left, right, units, seed)
    if found is None:
        return None
    return Comparison(
        benchmark=benchmark,
        scoring=scoring,
        metric=metric_name,
        model=model,
        against=against,
        num_unpaired=len(ours) - found.num_pairs,
        value_model=both[0],
        value_against=both[1],
        higher_is_better=metric.higher_is_better,
        **asdict(found),
    )


def mean_difference(
    ours: NDArray[np.float64], others: NDArray[np.float64], clusters: Sequence[str]
) -> PairedDifference | None:
    """The mean of ``ours - others`` (float64 [n] each, finite), by the tests of ``compare_answers``.

    ``None`` without a pair, and where values beyond [0, 1] show no spread.
    """
    if not len(ours):
        return None
    values = np.concatenate([ours, others])
    found = statistics.clustered_mean(ours - others, clusters)
    num, number = found.num_values, found.num_clusters
    if number == num and np.isin(values, (0.0, 1.0)).all():
        counts = int(np.sum(ours > others)), int(np.sum(ours < others))
        return PairedDifference(
            found.mean,
            *mcnemar.paired_interval(*counts, num),
            mcnemar.exact_p_value(*counts),
            "mcnemar",
            num,
            number,
            found.error,
            found.freedom,
            mcnemar.minimum_detectable(num, sum(counts) / num),
        )
    bounded = bool(values.min() >= 0.0 and values.max() <= 1.0)
    if not found.has_spread:
        return _without_spread(found.mean, num, number) if bounded else None
    half, limit = found.half_width(), 1.0 if bounded else math.inf
    return PairedDifference(
        found.mean,
        max(found.mean - half, -limit),
        min(found.mean + half, limit),
        found.p_value(),
        "t",
        num,
        number,
        found.error,
        found.freedom,
        statistics.minimum_detectable_difference(found),
    )


def _without_spread(difference: float, num_pairs: int, number: int) -> PairedDifference:
    """A difference in [-1, 1] that all of ``number`` clusters show alike.

    The interval reaches as far as Wilson's bound on the share of clusters unlike those that were seen. Its own p-value
    is the level at which that bound touches zero; of one difference of 1.0 that would be nothing, where the sign test
    still knows that few clusters were seen: the larger of both counts, and the interval holds zero where it does not
    reject.
    """
    from scipy.special import ndtr

    reach = statistics.wilson(0.0, number)[1]
    size = min(abs(difference), 1.0)
    bound = 2 * float(ndtr(-math.sqrt(number * size / (1.0 - size)))) if size < 1.0 else 0.0
    sign = min(1.0, 2 * 0.5**number) if size > statistics.NO_SPREAD else 1.0
    p_value = max(bound, sign)
    low, high = max(difference - reach, -1.0), min(difference + reach, 1.0)
    if p_value >= 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    # what stands for its error in a mean of several benchmarks
    error = (high - low) / 2 / mcnemar.Z
    return PairedDifference(difference, low, high, p_value, "no-spread", num_pairs, number, error, MANY)


def _resampled(
    metric: Metric, left: Sequence[GradedAnswer], right: Sequence[GradedAnswer], units: Sequence[str], seed: int
) -> PairedDifference | None:
    """The difference of a metric that is no mean, computed anew on every resample of clusters."""
    bounded = True

    def between(rows: Sequence[int]) -> float:
        nonlocal bounded
        ours, others = (metric.compute_answers([side[row] for row in rows]) for side in (left, right))
        if ours is None or others is None:
            return math.nan
        bounded = bounded and min(ours, others) >= 0.0 and max(ours, others) <= 1.0
        return ours - others

    difference = between(range(len(units))) if units else math.nan
    if math.isnan(difference):
        return None
    number = len(set(units))
    draws = statistics.resample(units, seed, NUM_RESAMPLES, lambda rows: between(rows.tolist()))
    known = draws[np.isfinite(draws)]
    error = float(known.std()) if len(known) else 0.0
    if not error > statistics.NO_SPREAD:
        return _without_spread(difference, len(units), number) if bounded else None
    low, high = statistics.percentiles(draws)
    p_value = statistics.p_of_draws(draws)
    freedom = float(max(number - 1, 1))
    detectable = statistics.minimum_detectable_difference(
        statistics.ClusteredMean(difference, error, freedom, len(units), number)
    )
    return PairedDifference(difference, low, high, p_value, "bootstrap", len(units), number, error, freedom, detectable)


def headline_metric(names: Sequence[str]) -> str:
    """The metric that a result is known by and compared by: the first that the run file or the benchmark names."""
    return next(iter(names))


def compare_models(
    name: str,
    benchmark: Benchmark,
    rows: Mapping[str, Sequence[Graded]],
    against: Sequence[str],
    metrics: Mapping[str, Metric],
    each: Sequence[str] = (),
) -> list[Comparison]:
    """Compare every model with each of ``against`` by the headline metric, and with itself asked without the images.

    The models ``each`` are compared with one another too. Under the first scoring and under every judge's.
    """
    keys = {key for answers in rows.values() for row in answers for key in row.scores}
    judges = sorted(key for key in keys if key.startswith("judge:"))
    metric = headline_metric(list(metrics))
    found = []
    for scoring in (benchmark.scorings[0], *judges):
        for model, other in _pairs(rows, against, each):
            if (pair := _pair(benchmark, rows[model], rows[other], scoring)) is not None:
                one = compare_answers(
                    pair[0], pair[1], metrics[metric], pair[2],
                    benchmark=name, scoring=scoring, metric_name=metric, model=model, against=other,
                )  # fmt: skip
                found += [one] if one is not None else []
    return found


def _pairs(
    rows: Mapping[str, Sequence[Graded]], against: Sequence[str], each: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for model in rows:
        if not is_baseline(model):
            earlier = each[: each.index(model)] if model in each else ()
            for other in dict.fromkeys((*earlier, *against, model + IMAGE_BLIND)):
                if other in rows and other != model:
                    yield model, other


def _pair(
    benchmark: Benchmark, own: Sequence[Graded], others: Sequence[Graded], scoring: str
) -> tuple[list[GradedAnswer], list[GradedAnswer], list[str]] | None:
    """The rows of both on the questions that both were asked, and the cluster of each question."""
    theirs = {row.sample.id: row for row in others if scoring in row.scores}
    pairs = [
        (row, theirs[row.sample.id], unit)
        for row, unit in zip(own, cluster_ids(benchmark, own), strict=True)
        if scoring in row.scores and row.sample.id in theirs
    ]
    if not pairs:
        return None
    left, right, units = zip(*pairs, strict=True)
    return [row.under(scoring) for row in left], [row.under(scoring) for row in right], list(units)


def adjust(comparisons: Sequence[C]) -> list[C]:
    """The comparisons with Holm's adjusted p-values: over those of models with each other, and over those with a
    baseline, which answer another question, apart."""
    adjusted: dict[int, float] = {}
    for of_baselines in (False, True):
        places = [
            index
            for index, one in enumerate(comparisons)
            if one.p_value is not None and (is_baseline(one.against) or is_baseline(one.model)) is of_baselines
        ]
        found = statistics.holm([float(comparisons[index].p_value or 0.0) for index in places])
        adjusted |= dict(zip(places, found, strict=True))
    return [one.model_copy(update={"p_adjusted": adjusted.get(index)}) for index, one in enumerate(comparisons)]
