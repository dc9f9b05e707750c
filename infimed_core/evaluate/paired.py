"""The mean of paired differences: its interval and p-value, in closed form, so that anybody can compute them again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from infimed_core.evaluate import statistics

Test = Literal["mcnemar", "clusters", "sign", "means"]
Z = 1.959963984540054
"""The 97.5% point of the normal distribution."""


@dataclass(frozen=True)
class Estimate:
    """A mean of paired differences with its standard error; ``freedom`` are the degrees of freedom of its t."""

    difference: float
    error: float
    freedom: float
    low: float
    high: float
    p_value: float | None
    test: Test
    num_clusters: int


def estimate(values: NDArray[np.float64], clusters: Sequence[str], binary: bool, limit: float = 1.0) -> Estimate:
    """The mean of paired differences float64 [n] in [-``limit``, ``limit``], its 95% interval and p-value.

    The interval is Student's t with the standard error over clusters (Liang and Zeger 1986, times G / (G - 1)) and
    G - 1 degrees of freedom. The p-value is McNemar's exact one where every score is 0 or 1 (``binary``) and no two
    questions share a cluster, else of the same t. Where all clusters differ alike the t has no spread to go by: the
    interval then reaches as far as Wilson's bound on a share of clusters none of which differs, which says something
    with a ``limit`` of 1 only, and the p-value is of the sign test over clusters.
    """
    from scipy.special import stdtr, stdtrit

    codes: dict[str, int] = {}
    groups = np.fromiter((codes.setdefault(name, len(codes)) for name in clusters), dtype=np.int64, count=len(values))
    number, mean = len(codes), float(values.mean())
    sums = np.bincount(groups, weights=values - mean, minlength=number)
    error = math.sqrt(number / (number - 1) * float(sums @ sums)) / len(values) if number > 1 else 0.0
    freedom = float(max(number - 1, 1))
    exact = binary and number == len(values)
    p_value: float | None
    test: Test
    if error > statistics.NO_SPREAD:
        half = float(stdtrit(freedom, 0.975)) * error
        p_value, test = 2 * float(stdtr(freedom, -abs(mean) / error)), "clusters"
    else:
        half = statistics.wilson(0.0, number)[1]
        p_value, test = (1.0 if mean == 0 else min(1.0, 2 * 0.5**number)), "sign"
    if exact:
        p_value, test = statistics.mcnemar(values > 0, values < 0), "mcnemar"
    return Estimate(
        mean,
        error,
        freedom,
        max(mean - half, -limit),
        min(mean + half, limit),
        p_value,
        test,
        number,
    )


def mean_estimate(parts: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of independent estimates; the degrees of freedom are Satterthwaite's (1946)."""
    from scipy.special import stdtr, stdtrit

    size = len(parts)
    difference = sum(one.difference for one in parts) / size
    # Where a part has no spread to go by, the reach of its interval stands in for it.
    found = [
        (one.error, one.freedom) if one.error > statistics.NO_SPREAD else ((one.high - one.low) / 2 / Z, 1e9)
        for one in parts
    ]
    variances = [error**2 for error, _ in found]
    error = math.sqrt(sum(variances)) / size
    freedom = sum(variances) ** 2 / sum(error**4 / own for error, own in found)
    half = float(stdtrit(freedom, 0.975)) * error
    p_value = 2 * float(stdtr(freedom, -abs(difference) / error))
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    return Estimate(difference, error, freedom, low, high, p_value, "means", sum(one.num_clusters for one in parts))
