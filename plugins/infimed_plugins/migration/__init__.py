"""The plugin `migration`: run files out of the files of other tools."""

from __future__ import annotations

from collections.abc import Callable

from infimed_core import hookimpl


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """``infimed convert``."""
    from infimed_plugins.migration.command import convert_command

    return {"convert": convert_command}
