"""The plugin ``quality``: five-dimension scorers and the selectors that use its scores."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_scorers() -> dict[str, str]:
    """The scorers ``five-dimension`` (on the CPU) and ``quality-judge`` (asks a model)."""
    return {
        "five-dimension": "infimed_plugins.quality.scorer:FiveDimension",
        "quality-judge": "infimed_plugins.quality.judge:QualityJudge",
    }


@hookimpl
def infimed_selectors() -> dict[str, str]:
    """The selectors ``threshold``, ``top-share``, ``quota`` and ``budget``; ``random-share`` and ``bottom-share``."""
    return {
        "threshold": "infimed_plugins.quality.selectors:Threshold",
        "top-share": "infimed_plugins.quality.selectors:TopShare",
        "quota": "infimed_plugins.quality.selectors:Quota",
        "budget": "infimed_plugins.quality.budget:Budget",
        "random-share": "infimed_plugins.quality.selectors:RandomShare",
        "bottom-share": "infimed_plugins.quality.selectors:BottomShare",
    }


@hookimpl
def infimed_commands() -> dict[str, str]:
    """``infimed validate-scorer``."""
    return {"validate-scorer": "infimed_plugins.quality.validation_command:validate_scorer_command"}
