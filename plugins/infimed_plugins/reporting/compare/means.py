"""The mean of paired differences over several benchmarks, with its interval, p-value and power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from infimed_core import Comparison

Z = 1.959963984540054
"""The 97.5% point of the normal distribution."""
NO_SPREAD = 1e-12
"""A standard error up to this is rounding: nothing was seen to differ."""
MANY = 1e9
"""Degrees of freedom with which Student's t is the normal distribution."""


@dataclass(frozen=True)
class MeanDifference:
    """A mean difference; fields as in ``Comparison``."""

    difference: float
    low: float
    high: float
    p_value: float
    num_pairs: int
    num_clusters: int
    standard_error: float
    degrees_of_freedom: float
    minimum_detectable: float


def mean_of_differences(parts: Sequence[Comparison], power: float = 0.8) -> MeanDifference:
    """The unweighted mean of differences on sets of other questions each; freedom is Satterthwaite's (1946).

    Raises:
        ValueError: a part without ``standard_error``, as in records from before it was kept.
    """
    from scipy.special import nctdtrinc, stdtr, stdtrit

    size = len(parts)
    errors = [part.standard_error for part in parts if part.standard_error is not None]
    if len(errors) != size:
        raise ValueError("a difference without its standard error")
    # a part that never differed has no error of its own: the reach of its interval stands in for it
    variances = [
        error**2 if error > NO_SPREAD else ((part.high - part.low) / 2 / Z) ** 2
        for error, part in zip(errors, parts, strict=True)
    ]
    spread = sum(v**2 / (part.degrees_of_freedom or 1.0) for v, part in zip(variances, parts, strict=True))
    freedom = sum(variances) ** 2 / spread if spread > 0.0 else MANY
    difference = sum(part.difference for part in parts) / size
    error = math.sqrt(sum(variances)) / size
    reach = float(stdtrit(freedom, 0.975))
    return MeanDifference(
        difference,
        max(difference - reach * error, -1.0),
        min(difference + reach * error, 1.0),
        2 * float(stdtr(freedom, -abs(difference) / error)),
        sum(part.num_pairs for part in parts),
        sum(part.num_clusters for part in parts),
        error,
        freedom,
        float(nctdtrinc(freedom, 1.0 - power, reach)) * error,
    )
