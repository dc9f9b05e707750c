"""The plugin `authoring`: `infimed new` writes the beginning of a plugin."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_commands() -> dict[str, str]:
    """Offer ``infimed new``."""
    return {"new": "infimed_plugins.authoring.command:new"}
