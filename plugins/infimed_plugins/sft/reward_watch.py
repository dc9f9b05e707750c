"""A reward that rises while held-out answers become no better is not what was wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FEWEST_STEPS = 6
"""A curve of fewer steps says nothing."""


def told_hollow(curve: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> str | None:
    """What to say where the reward rose and nothing that is held out did; ``None`` where there is nothing to say."""
    rewards = [float(entry["reward"]) for entry in curve if isinstance(entry.get("reward"), int | float)]
    if len(rewards) < FEWEST_STEPS or not (rise := rise_of(rewards)):
        return None
    told = f"the mean reward rose by {rise:.3f}"
    measured = _measured(evaluations)
    if not measured:
        return (
            f"{told}, and no benchmark was asked twice within the stage, so nothing says whether answers became "
            "better; set evaluate: {benchmarks: [NAME], every: STEPS, at_start: true}"
        )
    if any(last > first for first, last in measured.values()):
        return None
    shown = ", ".join(f"{name} {first:.3f} to {last:.3f}" for name, (first, last) in measured.items())
    return (
        f"{told}, but held-out answers became no better ({shown}): the rewards may be met without better answers; read "
        "the rollouts, lower the learning rate, or set kl"
    )


def rise_of(rewards: Sequence[float]) -> float:
    """How much higher the last third is than the first; 0 where that is within twice its standard error."""
    share = max(2, len(rewards) // 3)
    first, last = np.asarray(rewards[:share]), np.asarray(rewards[-share:])
    rise = float(last.mean() - first.mean())
    error = math.sqrt(first.var(ddof=1) / share + last.var(ddof=1) / share)
    return rise if rise > 2.0 * error and rise > 1e-9 else 0.0


def _measured(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """First and last value of each benchmark's first metric, where it was measured twice."""
    points: dict[str, list[float]] = {}
    for entry in evaluations:
        for name, facts in (entry.get("benchmarks") or {}).items():
            values = [fact["value"] for fact in facts.values() if isinstance(fact, Mapping) and "value" in fact]
            if values and values[0] is not None:
                points.setdefault(str(name), []).append(float(values[0]))
    return {name: (values[0], values[-1]) for name, values in points.items() if len(values) > 1}
