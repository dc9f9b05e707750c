"""Reasoning data: answers of a teacher that are graded, checked and routed, and the choice of few good samples."""

from infimed_core import hookimpl


@hookimpl
def infimed_synthesizers() -> dict[str, str]:
    """Offer ``rejection-sampling``."""
    return {"rejection-sampling": "infimed_plugins.reasoning.rejection:RejectionSampling"}


@hookimpl
def infimed_selectors() -> dict[str, str]:
    """Offer ``minimal-sample``."""
    return {"minimal-sample": "infimed_plugins.reasoning.minimal:MinimalSample"}


@hookimpl
def infimed_scorers() -> dict[str, str]:
    """Offer ``pass-rate``."""
    return {"pass-rate": "infimed_plugins.reasoning.pass_rate:PassRate"}
