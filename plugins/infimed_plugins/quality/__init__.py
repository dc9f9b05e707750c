"""The plugin ``quality``: a five-dimension scorer and the selectors that use its scores."""

from __future__ import annotations

from infimed_core import Scorer, Selector, hookimpl


@hookimpl
def infimed_scorers() -> dict[str, type[Scorer]]:
    """The scorer ``five-dimension``."""
    from infimed_plugins.quality.scorer import FiveDimension

    return {"five-dimension": FiveDimension}


@hookimpl
def infimed_selectors() -> dict[str, type[Selector]]:
    """The selectors ``threshold``, ``top-share``, ``quota`` and ``budget``."""
    from infimed_plugins.quality.selectors import Budget, Quota, Threshold, TopShare

    return {"threshold": Threshold, "top-share": TopShare, "quota": Quota, "budget": Budget}
