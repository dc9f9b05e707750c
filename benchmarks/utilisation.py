"""How much of the time ranks would compute, as a cost model has it."""

from __future__ import annotations

import numpy as np

from infimed_core.plan.stage_plan import StagePlan


def utilisation(plan: StagePlan, num_ranks: int) -> float:
    """Modelled share of time in which ranks compute.

    Rows of a step are dealt in order, every round waits for its slowest row, and a rank without a row idles.
    """
    costs = plan.pack_sums(plan.costs)
    slowest = 0.0
    for size in np.unique(np.diff(plan.steps)):
        starts = plan.steps[:-1][np.diff(plan.steps) == size]
        for first in range(0, int(size), num_ranks):
            width = min(num_ranks, int(size) - first)
            slowest += float(costs[starts[:, None] + np.arange(first, first + width)].max(axis=1).sum())
    return float(costs.sum()) / (num_ranks * slowest) if slowest else 1.0
