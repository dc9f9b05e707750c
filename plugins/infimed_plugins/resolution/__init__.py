"""The plugin `resolution`: how large images may be at each point of a stage."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_resolution_schedulers() -> dict[str, str]:
    """``fixed``, ``native`` and ``low-to-high``."""
    return {
        "fixed": "infimed_plugins.resolution.schedulers:Fixed",
        "native": "infimed_plugins.resolution.schedulers:Native",
        "low-to-high": "infimed_plugins.resolution.schedulers:LowToHigh",
    }


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """What a run file without ``resolution:`` trains at."""
    return {"resolution": "native"}
