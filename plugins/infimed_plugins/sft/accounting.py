"""What a stage cost: counts, rates, memory, and the curve of its loss."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import JsonValue

COUNTS = ("rows", "tokens", "padding", "supervised_tokens", "images", "samples", "flops")
"""What is summed over rows and ranks in every step."""

MOST_CURVE_POINTS = 500


def peak_memory(device: Any) -> int:
    """Most bytes held: by tensors on a CUDA device (since the stage began), else by this process (ever)."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    # Kibibytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def stage_facts(
    totals: Mapping[str, float], seconds: float, num_ranks: int, peak: float | None
) -> dict[str, JsonValue]:
    """Counts and rates of a stage from its sums (``COUNTS``); ``peak`` is one device's operations per second."""
    tokens, padding = totals["tokens"], totals["padding"]
    return {
        **{name: int(totals[name]) for name in COUNTS if name not in ("padding", "flops")},
        "padding_share": padding / (tokens + padding) if tokens + padding else 0.0,
        "seconds": seconds,
        "device_hours": seconds * num_ranks / 3600,
        "tokens_per_second": rate(tokens, seconds),
        "supervised_tokens_per_second": rate(totals["supervised_tokens"], seconds),
        "samples_per_second": rate(totals["samples"], seconds),
        "flops": totals["flops"],
        "mfu": rate(totals["flops"], seconds * num_ranks) / peak if peak else None,
    }


def curve_summary(curve: Sequence[dict[str, Any]]) -> dict[str, JsonValue]:
    """``loss_first`` and ``loss_last`` (means of the first and last 5% of the steps) and the curve, thinned.

    Steps without a loss are left out of the means; where none of the last 5% has one, ``loss_last`` is ``None``: a loss
    that ends not finite is not shown as the last finite one. The first and the last step always stay in the curve; no
    more than ``MOST_CURVE_POINTS`` are left.
    """
    first, last = ends([entry["loss"] for entry in curve if entry["loss"] is not None])
    share = max(1, round(0.05 * len(curve)))
    if all(entry["loss"] is None for entry in curve[-share:]):
        last = None
    kept = sorted({round(i) for i in np.linspace(0, len(curve) - 1, min(len(curve), MOST_CURVE_POINTS))})
    return {
        "loss_first": first,
        "loss_last": last,
        "curve": [curve[i] for i in kept],
    }


def ends(losses: Sequence[float]) -> tuple[float | None, float | None]:
    """Means of the first and of the last 5% of the values, one at least; ``None`` where there is none."""
    share = max(1, round(0.05 * len(losses)))
    return (float(np.mean(losses[:share])), float(np.mean(losses[-share:]))) if losses else (None, None)


def rate(amount: float, seconds: float) -> float:
    """``amount`` per second; 0 where no time passed."""
    return amount / seconds if seconds > 0 else 0.0
