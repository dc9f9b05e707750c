"""The plugin ``privacy``: identity in headers and pixels, and copies of data without it."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_commands() -> dict[str, str]:
    """``infimed deidentify``."""
    return {"deidentify": "infimed_plugins.quality.privacy.command:deidentify_command"}
