"""Losses that must not be learnt from: not finite, or far above those before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SPIKE_WINDOW = 50
FEWEST_BEFORE = 10
MOST_IDS_SHOWN = 20


def find_anomaly(loss: float, norm: float, curve: Sequence[Mapping[str, Any]], spike: float | None) -> str | None:
    """What is wrong with a step's loss and gradient norm, in words; ``None`` where nothing is.

    A spike is a loss above ``spike`` times the mean of the last ``SPIKE_WINDOW`` steps of ``curve``, once it has
    ``FEWEST_BEFORE``.
    """
    if not math.isfinite(loss):
        return "the loss is not finite"
    if not math.isfinite(norm):
        return "the gradient is not finite"
    recent = [entry["loss"] for entry in curve[-SPIKE_WINDOW:] if entry["loss"] is not None]
    if spike is not None and len(recent) >= FEWEST_BEFORE and loss > spike * (sum(recent) / len(recent)):
        return f"the loss of {loss:.4g} is above {spike:g} times the mean of the last {len(recent)} steps"
    return None


def shown_ids(ids: Sequence[str]) -> str:
    """The first ids, and how many more there are."""
    more = f" and {len(ids) - MOST_IDS_SHOWN} more" if len(ids) > MOST_IDS_SHOWN else ""
    return ", ".join(ids[:MOST_IDS_SHOWN]) + more
