"""Rewards: what an answer that a model drew is worth."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_rewards() -> dict[str, str]:
    """Offer accuracy, form, length, repetition, language, regions and a judge."""
    return {
        "strict-accuracy": "infimed_plugins.rewards.accuracy:StrictAccuracy",
        "format": "infimed_plugins.rewards.form:Format",
        "length": "infimed_plugins.rewards.form:Length",
        "repetition": "infimed_plugins.rewards.form:Repetition",
        "language": "infimed_plugins.rewards.language:Language",
        "region": "infimed_plugins.rewards.region:RegionCitation",
        "judge": "infimed_plugins.rewards.judge:Judge",
    }
