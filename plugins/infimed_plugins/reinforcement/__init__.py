"""Objectives that learn from a model's own answers or from pairs of answers: ``grpo`` and ``dpo``."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_objectives() -> dict[str, str]:
    """Offer ``grpo`` and ``dpo``."""
    return {
        "grpo": "infimed_plugins.reinforcement.grpo:Grpo",
        "dpo": "infimed_plugins.reinforcement.dpo:Dpo",
    }


@hookimpl
def infimed_readers() -> dict[str, str]:
    """Offer ``preference-pairs``."""
    return {"preference-pairs": "infimed_plugins.reinforcement.reader:PreferencePairs"}
