"""Objectives that learn from a model's own answers or from answers that are judged: ``grpo``, ``dpo``, ``kto``."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_objectives() -> dict[str, str]:
    """Offer ``grpo``, ``dpo`` and ``kto``."""
    return {
        "grpo": "infimed_plugins.reinforcement.grpo:Grpo",
        "dpo": "infimed_plugins.reinforcement.dpo:Dpo",
        "kto": "infimed_plugins.reinforcement.kto:Kto",
    }


@hookimpl
def infimed_readers() -> dict[str, str]:
    """Offer ``preference-pairs`` and ``labelled-answers``."""
    return {
        "preference-pairs": "infimed_plugins.reinforcement.reader:PreferencePairs",
        "labelled-answers": "infimed_plugins.reinforcement.reader:LabelledAnswers",
    }
