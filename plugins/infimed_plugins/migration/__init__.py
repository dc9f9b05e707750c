"""The plugin `migration`: run files out of the files of other tools."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_commands() -> dict[str, str]:
    """``infimed convert``."""
    return {"convert": "infimed_plugins.migration.command:convert_command"}
