"""Ranks with ties: a rank counts the models that are better by more than chance."""

from __future__ import annotations

from collections.abc import Sequence


def rank(model: str, models: Sequence[str], better: set[tuple[str, str]]) -> str:
    """``2``, or ``1–3`` where it shares the ranks; ``better`` holds (better, worse) of every two that differ."""
    first = 1 + sum((other, model) in better for other in models)
    last = len(models) - sum((model, other) in better for other in models)
    return f"{first}" if first >= last else f"{first}–{last}"
