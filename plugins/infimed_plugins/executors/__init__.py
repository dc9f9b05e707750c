"""The plugin `executors`: what maps work over shards, here or on a cluster."""

from __future__ import annotations

from infimed_core import Executor, hookimpl


@hookimpl
def infimed_executors() -> dict[str, type[Executor]]:
    """``serial``, ``processes``, ``ray`` and ``ray-data``."""
    from infimed_plugins.executors.local import Processes, Serial
    from infimed_plugins.executors.ray import Ray
    from infimed_plugins.executors.ray_data import RayData

    return {"serial": Serial, "processes": Processes, "ray": Ray, "ray-data": RayData}
