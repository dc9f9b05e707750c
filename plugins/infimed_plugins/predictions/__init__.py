"""The plugin `predictions`: answers that other tools got, and models given on the command line, evaluated alike."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_readers() -> dict[str, str]:
    """Offer ``answered``, the questions in a file of answers."""
    return {"answered": "infimed_plugins.predictions.answered:Answered"}


@hookimpl
def infimed_models() -> dict[str, str]:
    """Offer ``predictions``, a file of answers in the place of a model."""
    return {"predictions": "infimed_plugins.predictions.model:Predictions"}


@hookimpl
def infimed_commands() -> dict[str, str]:
    """Offer ``infimed evaluate`` and ``infimed grade``."""
    commands = "infimed_plugins.predictions.commands"
    return {"evaluate": f"{commands}:evaluate", "grade": f"{commands}:grade"}
