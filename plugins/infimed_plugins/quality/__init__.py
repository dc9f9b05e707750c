"""The plugin ``quality``: five-dimension scorers and the selectors that use its scores."""

from __future__ import annotations

from infimed_core import Scorer, Selector, hookimpl


@hookimpl
def infimed_scorers() -> dict[str, type[Scorer]]:
    """The scorers ``five-dimension`` (on the CPU) and ``quality-judge`` (asks a model)."""
    from infimed_plugins.quality.judge import QualityJudge
    from infimed_plugins.quality.scorer import FiveDimension

    return {"five-dimension": FiveDimension, "quality-judge": QualityJudge}


@hookimpl
def infimed_selectors() -> dict[str, type[Selector]]:
    """The selectors ``threshold``, ``top-share``, ``quota`` and ``budget``; ``random-share`` and ``bottom-share``."""
    from infimed_plugins.quality.budget import Budget
    from infimed_plugins.quality.selectors import BottomShare, Quota, RandomShare, Threshold, TopShare

    return {
        "threshold": Threshold,
        "top-share": TopShare,
        "quota": Quota,
        "budget": Budget,
        "random-share": RandomShare,
        "bottom-share": BottomShare,
    }
