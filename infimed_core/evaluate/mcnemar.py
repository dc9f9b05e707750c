"""Two models whose answers are right or wrong on independent questions: the exact test, its interval and its power."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The 97.5% point of the normal distribution."""


def exact_p_value(only_first: int, only_second: int) -> float:
    """McNemar's exact p-value of the numbers of questions that only one of two models answers rightly."""
    from scipy.special import bdtr

    num = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), num, 0.5))) if num else 1.0


def paired_interval(only_first: int, only_second: int, num: int) -> tuple[float, float]:
    """95% interval of the difference of two shares of right answers to the same ``num`` independent questions.

    All differences that Tango's score test (1998, Statistics in Medicine 17, 891-908) does not reject; of a difference
    of zero the exact McNemar test decides, so that the interval holds zero exactly where that p-value is 0.05 or more.
    """
    from scipy.optimize import brentq

    measured = (only_first - only_second) / num

    def bound(edge: float, sign: float) -> float:
        if measured == edge:
            return edge
        inner = edge * (1.0 - 1e-12)
        return float(brentq(lambda d: score(d, only_first, only_second, num) - sign * Z, measured, inner, xtol=1e-14))

    low, high = bound(-1.0, 1.0), bound(1.0, -1.0)
    if exact_p_value(only_first, only_second) >= 0.05:
        return min(low, 0.0), max(high, 0.0)
    return low, high


def score(difference: float, only_first: int, only_second: int, num: int) -> float:
    """Tango's statistic: how many standard errors, under ``difference``, the measured one lies above it."""
    excess = only_first - only_second - num * difference
    if excess == 0.0:
        return 0.0
    linear = -only_first - only_second + (2 * num - only_first + only_second) * difference
    constant = -only_second * difference * (1.0 - difference)
    root = math.sqrt(max(0.0, linear * linear - 8 * num * constant))
    share_second = (root - linear) / (4 * num)  # its maximum-likelihood estimate where the difference is given
    variance = num * (2 * share_second + difference * (1.0 - difference))
    return excess / math.sqrt(variance) if variance > 0.0 else math.copysign(math.inf, excess)


@lru_cache(maxsize=1024)
def minimum_detectable(num: int, share_differing: float, power: float = 0.8) -> float | None:
    """The true difference that the exact test finds at 0.05 with probability ``power``, on ``num`` questions.

    ``share_differing`` of the questions are answered rightly by one of the models alone; where no difference of that
    size is large enough, more questions differ, all of them to one side. ``None`` where even a model that is always
    right would not be told from one that never is.
    """
    from scipy.optimize import brentq

    def lacking(difference: float) -> float:
        return exact_power(num, max(share_differing, difference), difference) - power

    if lacking(1.0) < 0.0:
        return None
    return float(brentq(lacking, 1e-9, 1.0, xtol=1e-7))


def exact_power(num: int, share_differing: float, difference: float) -> float:
    """The probability that McNemar's exact test rejects at 0.05: exact, over every number of differing questions."""
    from scipy.special import bdtr, bdtrc, gammaln, xlog1py, xlogy

    share = min(1.0, share_differing)
    reach = 9 * math.sqrt(num * share * (1 - share)) + 9  # beyond it lies less than 1e-12
    counts = np.arange(max(1, math.floor(num * share - reach)), min(num, math.ceil(num * share + reach)) + 1)
    edge = _rejected_up_to(num)[counts]
    counts, edge = counts[edge >= 0], edge[edge >= 0]
    to_first = min(1.0, (1.0 + difference / share) / 2)
    rejected = bdtr(edge, counts, to_first) + bdtrc(counts - edge - 1, counts, to_first)
    ways = gammaln(num + 1) - gammaln(counts + 1) - gammaln(num - counts + 1)
    return float(np.exp(ways + xlogy(counts, share) + xlog1py(num - counts, -share)) @ rejected)


@lru_cache(maxsize=16)
def _rejected_up_to(num: int) -> NDArray[np.int64]:
    """For each number of differing questions up to ``num``: the largest smaller part that is rejected, -1 for none."""
    from scipy.stats import binom

    counts = np.arange(1, num + 1)
    edge = binom.ppf(0.025, counts, 0.5).astype(np.int64)
    edge -= 2 * binom.cdf(edge, counts, 0.5) >= 0.05
    return np.concatenate([np.array([-1]), edge])
