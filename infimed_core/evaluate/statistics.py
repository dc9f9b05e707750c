"""Intervals, paired tests and agreement: what stands between a difference and a claim."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[[NDArray[np.float64]], float]

FEW = 30
"""Below so many independent units a bootstrap of proportions is too narrow; Wilson's interval takes its place."""

NO_SPREAD = 1e-12
"""A standard error up to this is rounding: nothing was seen to differ."""

_CHUNK = 4_000_000
"""Cap on the indices drawn at once, to bound memory."""


def mean(values: NDArray[np.float64]) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


def wilson(mean: float, num: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a mean of values in [0, 1] over ``num`` independent units.

    For values that are not 0 or 1 it is conservative: no variable on [0, 1] varies more than a coin of equal mean.
    """
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    centre = (mean + z * z / (2 * num)) / (1 + z * z / num)
    half = z / (1 + z * z / num) * np.sqrt(mean * (1 - mean) / num + z * z / (4 * num * num))
    low, high = float(max(0.0, centre - half)), float(min(1.0, centre + half))
    return (0.0 if mean == 0.0 else low), (1.0 if mean == 1.0 else high)


def interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    statistic: Statistic = mean,
) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval of ``statistic``, resampling whole clusters with replacement.

    ``values`` is one number per sample; ``clusters`` names what each belongs to (an image, a study): samples of
    one cluster are not independent and stay together. The mean over fewer than ``FEW`` clusters, or over clusters
    that are all alike, gets Wilson's interval over the clusters instead, of values in [0, 1]; of others Student's t.
    (None, None) where there is no value, or values beyond [0, 1] show no spread.

    Raises:
        ValueError: ``clusters`` has another length than ``values``, or a value is not finite.
    """
    from scipy.special import stdtrit

    x, groups, num_groups = _prepare(values, clusters)
    if not len(x):
        return None, None
    error = _standard_error(x, groups, num_groups)
    if statistic is mean and (num_groups < FEW or error <= NO_SPREAD):
        if x.min() >= 0.0 and x.max() <= 1.0:
            return wilson(float(x.mean()), num_groups, confidence)
        if error <= NO_SPREAD:
            return None, None
        half = float(stdtrit(num_groups - 1, 0.5 + confidence / 2)) * error
        return float(x.mean()) - half, float(x.mean()) + half
    generator = np.random.default_rng(seed)
    if statistic is mean:
        draws = _means(x, groups, num_groups, generator, num_resamples)
    else:
        draws = _draws(x, groups, num_groups, generator, num_resamples, statistic)
    return _percentiles(draws, confidence)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """The mean of ``a - b`` over the same samples, and its clustered bootstrap interval: (difference, low, high).

    Raises:
        ValueError: no pair at all, or lengths that differ.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values differ in number: {len(first)} and {len(second)}")
    x, groups, num_groups = _prepare(first - second, clusters)
    if not len(x):
        raise ValueError("no pairs to compare")
    draws = _means(x, groups, num_groups, np.random.default_rng(seed), num_resamples)
    low, high = _percentiles(draws, confidence)
    return float(x.mean()), low, high


def paired_p_value(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 10_000,
) -> float:
    """Two-sided p-value of "the mean of ``a - b`` is zero" by the clustered paired bootstrap.

    The share of resampled means at least as far from the measured one as that is from zero (Efron and Tibshirani 1993,
    chapter 16), counting the measured one itself, so never below ``1 / (num_resamples + 1)``. 1.0 where none differs.

    Raises:
        ValueError: no pair at all, or lengths that differ.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values differ in number: {len(first)} and {len(second)}")
    x, groups, num_groups = _prepare(first - second, clusters)
    if not len(x):
        raise ValueError("no pairs to compare")
    if not x.any():
        return 1.0
    draws = _means(x, groups, num_groups, np.random.default_rng(seed), num_resamples)
    return p_of_draws(draws, float(x.mean()))


def p_of_draws(draws: NDArray[np.float64], measured: float) -> float:
    """The two-sided p-value of bootstrap draws of a difference whose measured value is ``measured``."""
    draws = draws[np.isfinite(draws)]
    # a hair of tolerance: draws equal to the measured value in all but rounding are as far away
    extreme = int(np.sum(np.abs(draws - measured) >= abs(measured) * (1 - 1e-9)))
    return (1 + extreme) / (1 + len(draws))


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided exact McNemar p-value: are right answers of ``a`` and ``b`` equally often the other's mistakes?

    ``a`` and ``b`` are right (true or 1) or wrong per sample. 1.0 where they never differ.

    Raises:
        ValueError: lengths that differ, or a value that is neither 0 nor 1.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values differ in number: {len(first)} and {len(second)}")
    if not np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        raise ValueError("McNemar's test takes right (1) or wrong (0) per sample, nothing between")
    only_first = int(np.sum((first == 1) & (second == 0)))
    only_second = int(np.sum((first == 0) & (second == 1)))
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjusted p-values, in the order given; they hold the family-wise error rate."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1, dtype=np.float64)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(value) for value in adjusted]


def minimum_detectable_difference(
    differences: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float | None:
    """The true mean difference that a two-sided paired test finds with probability ``power``.

    ``(z(1 - alpha/2) + z(power)) * standard error``, the error taken over clusters. A measured difference below
    it says little either way. ``None`` where no spread is seen: fewer than two clusters, or all of them differ alike.
    """
    from scipy.special import ndtri

    x, groups, num_groups = _prepare(differences, clusters)
    error = _standard_error(x, groups, num_groups)
    if error <= NO_SPREAD:
        return None
    return float((ndtri(0.5 + confidence / 2) + ndtri(power)) * error)


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Cohen's kappa (1960) of two raters on the same items: agreement beyond chance, 1.0 at most.

    ``None`` where it is undefined: no item, or both raters gave one and the same label throughout.

    Raises:
        ValueError: lengths that differ.
    """
    if len(a) != len(b):
        raise ValueError(f"raters differ in number of items: {len(a)} and {len(b)}")
    if not len(a):
        return None
    codes: dict[Hashable, int] = {}
    first = np.array([codes.setdefault(label, len(codes)) for label in a])
    second = np.array([codes.setdefault(label, len(codes)) for label in b])
    shares_first = np.bincount(first, minlength=len(codes)) / len(first)
    shares_second = np.bincount(second, minlength=len(codes)) / len(second)
    by_chance = float(shares_first @ shares_second)
    if len(codes) == 1:
        return None
    return (float(np.mean(first == second)) - by_chance) / (1.0 - by_chance)


def resample(
    clusters: Sequence[Hashable], seed: int, num_resamples: int, statistic: Callable[[NDArray[np.int64]], float]
) -> NDArray[np.float64]:
    """``statistic`` of the indices of samples under resampling of whole clusters: float64 [num_resamples]."""
    places, groups, num_groups = _prepare(np.arange(len(clusters)), clusters)
    generator = np.random.default_rng(seed)
    return _draws(places, groups, num_groups, generator, num_resamples, lambda x: statistic(x.astype(np.int64)))


def percentiles(draws: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """The middle ``confidence`` of draws; undefined (NaN) draws are left out."""
    return _percentiles(draws, confidence)


def _standard_error(x: NDArray[np.float64], groups: NDArray[np.int64], num_groups: int) -> float:
    """Of the mean, over clusters (Liang and Zeger 1986, times G / (G - 1)); 0 with fewer than two clusters."""
    if num_groups < 2:
        return 0.0
    sums = np.bincount(groups, weights=x - x.mean(), minlength=num_groups)
    return float(np.sqrt(num_groups / (num_groups - 1) * np.sum(sums**2)) / len(x))


def _prepare(
    values: ArrayLike, clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Values, the cluster index of each in order of first appearance, and the number of clusters."""
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("a value is not finite; leave unscored samples out")
    if clusters is None:
        return x, np.arange(len(x), dtype=np.int64), len(x)
    if len(clusters) != len(x):
        raise ValueError(f"{len(x)} values but {len(clusters)} cluster ids")
    codes: dict[Hashable, int] = {}
    groups = np.fromiter((codes.setdefault(name, len(codes)) for name in clusters), dtype=np.int64, count=len(x))
    return x, groups, len(codes)


def _means(
    x: NDArray[np.float64],
    groups: NDArray[np.int64],
    num_groups: int,
    generator: np.random.Generator,
    num_resamples: int,
) -> NDArray[np.float64]:
    """The mean under ``num_resamples`` resamplings of clusters, as a ratio of resampled sums and counts."""
    sums = np.bincount(groups, weights=x, minlength=num_groups)
    counts = np.bincount(groups, minlength=num_groups).astype(np.float64)
    kinds, sizes = np.unique(np.stack([sums, counts], axis=1), axis=0, return_counts=True)
    if len(kinds) <= 64:
        # Clusters of equal sum and size are interchangeable: drawing how often each kind comes is the same law.
        times = generator.multinomial(num_groups, sizes / num_groups, size=num_resamples)
        totals = times @ kinds
        return np.asarray(totals[:, 0] / totals[:, 1])
    means = np.empty(num_resamples)
    step = max(1, _CHUNK // num_groups)
    for start in range(0, num_resamples, step):
        stop = min(start + step, num_resamples)
        drawn = generator.integers(0, num_groups, size=(stop - start, num_groups), dtype=np.int32)
        means[start:stop] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _draws(
    x: NDArray[np.float64],
    groups: NDArray[np.int64],
    num_groups: int,
    generator: np.random.Generator,
    num_resamples: int,
    statistic: Statistic,
) -> NDArray[np.float64]:
    """Any statistic under resampling of clusters, one resample at a time."""
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups, minlength=num_groups))[:-1])
    draws = np.empty(num_resamples)
    for index in range(num_resamples):
        drawn = generator.integers(0, num_groups, size=num_groups)
        rows = drawn if num_groups == len(x) else np.concatenate([members[group] for group in drawn])
        draws[index] = statistic(x[order[rows]] if num_groups == len(x) else x[rows])
    return draws


def _percentiles(draws: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    draws = draws[np.isfinite(draws)]  # a statistic may be undefined on a resample
    if not len(draws):
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return float(low), float(high)


__all__ = [
    "cohen_kappa", "holm", "interval", "mcnemar", "mean", "minimum_detectable_difference", "p_of_draws",
    "paired_difference", "paired_p_value", "percentiles", "resample", "wilson",
]  # fmt: skip
