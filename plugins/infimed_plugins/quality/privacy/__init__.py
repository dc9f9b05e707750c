"""The plugin ``privacy``: identity in headers and pixels, and copies of data without it."""

from __future__ import annotations

from collections.abc import Callable

from infimed_core import hookimpl


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """``infimed deidentify``."""
    from infimed_plugins.quality.privacy.command import deidentify_command

    return {"deidentify": deidentify_command}
