"""The plugin `executors`: what maps work over shards, here or on a cluster."""

from __future__ import annotations

from infimed_core import Executor, hookimpl


@hookimpl
def infimed_executors() -> dict[str, type[Executor]]:
    """``serial``, ``processes`` and ``ray``."""
    from infimed_plugins.executors.local import Processes, Serial
    from infimed_plugins.executors.ray import Ray

    return {"serial": Serial, "processes": Processes, "ray": Ray}
