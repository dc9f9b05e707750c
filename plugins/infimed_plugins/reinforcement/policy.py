"""The policy-gradient losses of GRPO, Dr. GRPO, DAPO and GSPO, as formulas over the tokens of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Kind = Literal["grpo", "dr-grpo", "dapo", "gspo"]
EPSILON = 1e-4
"""Added to the standard deviation of a group's rewards, as TRL does."""


def advantages(rewards: Sequence[float], by_deviation: bool) -> list[float]:
    """Reward minus the group's mean, over its standard deviation where ``by_deviation`` (GRPO, arXiv 2402.03300).

    Without it: Dr. GRPO (arXiv 2503.20783).
    """
    values = np.asarray(rewards, dtype=np.float64)
    apart = values - values.mean()
    return list(map(float, apart / (values.std(ddof=1) + EPSILON) if by_deviation else apart))


def policy_losses(
    logs: Any,
    old: Any,
    reference: Any | None,
    advantage: Any,
    answer: Any,
    kind: Kind,
    clip: tuple[float, float],
    kl: float,
) -> tuple[Any, dict[str, Any]]:
    """The loss of each token, and measures.

    Args:
        logs: log-probabilities by the weights as they are, tensor [n].
        old: the same by the weights that drew the answers, [n].
        reference: the same by the reference, [n]; ``None`` where ``kl`` is 0.
        advantage: of the answer of each token, [n].
        answer: number of the answer of each token, int64 [n].
        kind: ``gspo`` takes the ratio of whole answers (arXiv 2507.18071), the others that of each token.
        clip: how far the ratio may go below and above 1 (apart: DAPO, arXiv 2503.14476).
        kl: weight of the divergence from the reference.
    """
    import torch

    change = logs - old
    if kind == "gspo":
        counts = torch.bincount(answer).to(change.dtype)
        sums = torch.zeros_like(counts).index_add(0, answer, change)
        change = (sums / counts.clamp(min=1.0))[answer]
    ratio = change.exp()
    limited = ratio.clamp(1.0 - clip[0], 1.0 + clip[1])
    losses = -torch.minimum(ratio * advantage, limited * advantage)
    measures = {
        "clip_low": ((ratio < 1.0 - clip[0]) & (advantage < 0)).float(),
        "clip_high": ((ratio > 1.0 + clip[1]) & (advantage > 0)).float(),
    }
    measures["clip_share"] = measures["clip_low"] + measures["clip_high"]
    if reference is not None:
        apart = reference - logs
        divergence = apart.exp() - apart - 1.0  # an unbiased estimate that is never negative (GRPO, equation 4)
        losses = losses + kl * divergence
        measures["kl"] = divergence
    return losses, measures
