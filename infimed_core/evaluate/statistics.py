"""Means of clustered values with their intervals, resampling, correction for many tests, and agreement."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[[NDArray[np.float64]], float]

NO_SPREAD = 1e-12
"""A standard error up to this is rounding: nothing was seen to differ."""


def wilson(mean: float, num: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a mean of values in [0, 1] over ``num`` independent units.

    For values that are not 0 or 1 it is conservative: no variable on [0, 1] varies more than a coin of equal mean.
    """
    from scipy.special import ndtri

    return _wilson(mean, num, float(ndtri(0.5 + confidence / 2)))


def _wilson(mean: float, num: float, z: float) -> tuple[float, float]:
    centre = (mean + z * z / (2 * num)) / (1 + z * z / num)
    half = z / (1 + z * z / num) * np.sqrt(mean * (1 - mean) / num + z * z / (4 * num * num))
    low, high = float(max(0.0, centre - half)), float(min(1.0, centre + half))
    return (0.0 if mean == 0.0 else low), (1.0 if mean == 1.0 else high)


@dataclass(frozen=True)
class ClusteredMean:
    """A mean of values in clusters: its standard error over clusters, and the degrees of freedom of its t."""

    mean: float
    error: float
    freedom: float
    num_values: int
    num_clusters: int

    @property
    def has_spread(self) -> bool:
        """Whether the clusters were seen to differ."""
        return self.error > NO_SPREAD

    def half_width(self, confidence: float = 0.95) -> float:
        """Half of the interval by Student's t."""
        return self.quantile(confidence) * self.error

    def quantile(self, confidence: float = 0.95) -> float:
        """The point of Student's t that a two-sided interval reaches to."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 0.5 + confidence / 2))

    def p_value(self) -> float:
        """Two-sided, of a mean of zero."""
        from scipy.special import stdtr

        return 2 * float(stdtr(self.freedom, -abs(self.mean) / self.error))


def clustered_mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> ClusteredMean:
    """The mean of ``values`` float64 [n], and what is known of its error; ``clusters`` names what each belongs to.

    The error is that of Liang and Zeger (1986), times G / (G - 1). Its degrees of freedom are G - 1, or fewer where few
    of the G clusters make most of the error: those of a chi-square with its own relative variance (Potthoff, Woodbury
    and Manton 1992, Journal of the American Statistical Association 87, 383-396).

    Raises:
        ValueError: ``clusters`` has another length than ``values``, a value is not finite, or there is none.
    """
    x, groups, number = _prepare(values, clusters)
    if not len(x):
        raise ValueError("no value")
    average = float(x.mean())
    sums = np.bincount(groups, weights=x - average, minlength=number)
    squares = float(sums @ sums)
    if number < 2 or squares == 0.0:
        return ClusteredMean(average, 0.0, float(max(number - 1, 1)), len(x), number)
    error = float(np.sqrt(number / (number - 1) * squares)) / len(x)
    excess = float(np.sum(sums**4)) - squares**2 / number
    # excess / squares**2 is 0 where all clusters count alike; below 1e-9 it is rounding
    freedom = 2 * squares**2 / excess if excess > 1e-9 * squares**2 else np.inf
    return ClusteredMean(average, error, float(max(1.0, min(number - 1, freedom))), len(x), number)


def interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    statistic: Statistic | None = None,
) -> tuple[float | None, float | None]:
    """The interval of the mean of ``values``, or of another ``statistic`` of them.

    ``values`` is one number per sample; ``clusters`` names what each belongs to (an image, a study): samples of
    one cluster are not independent. The mean of values in [0, 1] gets Wilson's interval: with the t of one sample less
    where they are 0 or 1 and each a cluster of its own; over as many independent samples as would scatter as the
    clusters do (Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3, 484-503), with the t of
    ``clustered_mean``, elsewhere; over the clusters where these are all alike. The mean of other values gets Student's
    t, any other statistic the middle of ``num_resamples`` resamples of whole clusters. (None, None) where there is no
    value, or values beyond [0, 1] show no spread.

    Raises:
        ValueError: ``clusters`` has another length than ``values``, or a value is not finite.
    """
    x, _, number = _prepare(values, clusters)
    if not len(x):
        return None, None
    if statistic is not None:
        numbers = x
        draws = resample(
            range(len(x)) if clusters is None else clusters, seed, num_resamples, lambda rows: statistic(numbers[rows])
        )
        return percentiles(draws, confidence)
    found = clustered_mean(x, clusters)
    binary = bool(np.isin(x, (0.0, 1.0)).all())
    if binary and 1 < number == len(x):
        # Student's t of one sample less: the normal point covers a share of 0.02 or 0.98 in 92% of trials of 50
        return _wilson(found.mean, number - 1, replace(found, freedom=number - 1.0).quantile(confidence))
    if x.min() >= 0.0 and x.max() <= 1.0:
        if not found.has_spread:
            return wilson(found.mean, number, confidence)
        num = found.mean * (1.0 - found.mean) / found.error**2
        return _wilson(found.mean, min(num, len(x)) if binary else num, found.quantile(confidence))
    if not found.has_spread:
        return None, None
    half = found.half_width(confidence)
    return found.mean - half, found.mean + half


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjusted p-values, in the order given; they hold the family-wise error rate."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1, dtype=np.float64)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(value) for value in adjusted]


def minimum_detectable_difference(found: ClusteredMean, power: float = 0.8) -> float | None:
    """The true mean difference that the two-sided t-test at 0.05 finds with probability ``power``.

    A measured difference below it says little either way. ``None`` where no spread was seen.
    """
    from scipy.special import nctdtrinc

    if not found.has_spread:
        return None
    return float(nctdtrinc(found.freedom, 1.0 - power, found.quantile())) * found.error


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Cohen's kappa (1960) of two raters on the same items: agreement beyond chance, 1.0 at most.

    ``None`` where it is undefined: no item, or both raters gave one and the same label throughout.

    Raises:
        ValueError: lengths that differ.
    """
    if len(a) != len(b):
        raise ValueError(f"raters differ in number of items: {len(a)} and {len(b)}")
    codes = {label: code for code, label in enumerate(dict.fromkeys((*a, *b)))}
    if len(codes) < 2:
        return None
    first, second = (np.array([codes[label] for label in labels]) for labels in (a, b))
    shares = [np.bincount(rater, minlength=len(codes)) / len(a) for rater in (first, second)]
    by_chance = float(shares[0] @ shares[1])
    return (float(np.mean(first == second)) - by_chance) / (1.0 - by_chance)


def resample(
    clusters: Sequence[Hashable], seed: int, num_resamples: int, statistic: Callable[[NDArray[np.int64]], float]
) -> NDArray[np.float64]:
    """``statistic`` of the indices of samples under resampling of whole clusters: float64 [num_resamples]."""
    _, groups, number = _prepare(np.zeros(len(clusters)), clusters)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups, minlength=number))[:-1])
    generator = np.random.default_rng(seed)
    draws = np.empty(num_resamples)
    for index in range(num_resamples):
        drawn = generator.integers(0, number, size=number)
        draws[index] = statistic(
            order[drawn] if number == len(order) else np.concatenate([members[group] for group in drawn])
        )
    return draws


def percentiles(draws: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """The middle ``confidence`` of draws, as two of them; undefined (NaN) draws are left out.

    The interval leaves out zero exactly where ``p_of_draws`` is below ``1 - confidence``.
    """
    draws = np.sort(draws[np.isfinite(draws)])  # a statistic may be undefined on a resample
    if not len(draws):
        return float("nan"), float("nan")
    outside = max(0, math.ceil((1.0 - confidence) / 2 * (len(draws) + 1) - 1e-9) - 2)
    return float(draws[outside]), float(draws[-1 - outside])


def p_of_draws(draws: NDArray[np.float64]) -> float:
    """The two-sided p-value of "the difference is zero" that the middle of bootstrap draws of it gives.

    Twice the share of draws on the far side of zero, counting the measured one too; never above 1.
    """
    draws = draws[np.isfinite(draws)]
    far = min(int(np.sum(draws <= 0.0)), int(np.sum(draws >= 0.0)))
    return min(1.0, 2 * (1 + far) / (1 + len(draws)))


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
