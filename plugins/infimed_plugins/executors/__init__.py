"""The plugin `executors`: what maps work over shards, here or on a cluster."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_executors() -> dict[str, str]:
    """``serial``, ``processes``, ``ray`` and ``ray-data``."""
    return {
        "serial": "infimed_plugins.executors.local:Serial",
        "processes": "infimed_plugins.executors.local:Processes",
        "ray": "infimed_plugins.executors.ray:Ray",
        "ray-data": "infimed_plugins.executors.ray_data:RayData",
    }


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """What maps work where a run file names nothing."""
    return {"executor": "processes"}
