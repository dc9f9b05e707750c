"""The plugin `executors`: what maps work over shards, here or on a cluster."""

from __future__ import annotations

from infimed_core import RunEvent, hookimpl


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


@hookimpl
def infimed_run_event(event: RunEvent) -> None:
    """Where a run begins: no more threads than processors are granted."""
    if event.kind == "run_started":
        from infimed_plugins.executors.local import bound_threads

        bound_threads()
