"""The plugin `predictions`: answers that other tools got, and models given on the command line, evaluated alike."""

from __future__ import annotations

from collections.abc import Callable

from infimed_core import hookimpl


@hookimpl
def infimed_models() -> dict[str, str]:
    """Offer ``predictions``, a file of answers in the place of a model."""
    return {"predictions": "infimed_plugins.predictions.model:Predictions"}


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Offer ``infimed evaluate`` and ``infimed grade``."""
    from infimed_plugins.predictions import commands

    return {"evaluate": commands.evaluate, "grade": commands.grade}
