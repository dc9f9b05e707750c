"""The plugin `resolution`: how large images may be at each point of a stage."""

from __future__ import annotations

from infimed_core import ResolutionScheduler, hookimpl


@hookimpl
def infimed_resolution_schedulers() -> dict[str, type[ResolutionScheduler]]:
    """``fixed``, ``native`` and ``low-to-high``."""
    from infimed_plugins.resolution.schedulers import Fixed, LowToHigh, Native

    return {"fixed": Fixed, "native": Native, "low-to-high": LowToHigh}
