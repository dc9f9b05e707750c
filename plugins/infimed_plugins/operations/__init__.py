"""The plugin `operations`: for whoever runs InfiMed for a team: status of many runs, disk space, examples."""

from __future__ import annotations

from collections.abc import Callable

from infimed_core import RunEvent, hookimpl


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Looking after many runs."""
    from infimed_plugins.operations import commands

    return {"runs": commands.runs, "gc": commands.gc, "verify": commands.verify, "example": commands.example}


@hookimpl
def infimed_run_event(event: RunEvent) -> None:
    """Keep the heartbeat of a run going."""
    from infimed_plugins.operations.heartbeat import take

    take(event)
