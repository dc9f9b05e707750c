"""The plugin `checkpoints`: a trained model in the hand: asked, compared with its server, described and given away."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_commands() -> dict[str, str]:
    """What is done with a checkpoint after training."""
    return {
        "ask": "infimed_plugins.checkpoints.ask_command:ask",
        "parity": "infimed_plugins.checkpoints.parity_command:parity",
        "export": "infimed_plugins.checkpoints.export_command:export",
        "card": "infimed_plugins.checkpoints.export_command:card",
    }


@hookimpl
def infimed_reporters() -> dict[str, str]:
    """Offer ``model-card``."""
    return {"model-card": "infimed_plugins.checkpoints.card:ModelCard"}
