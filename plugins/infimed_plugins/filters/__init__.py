"""The plugin ``filters``: checks of a data set as a whole, for duplicates and for overlap with benchmarks."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_filters() -> dict[str, str]:
    """The filters ``duplicates`` and ``contamination``."""
    return {
        "duplicates": "infimed_plugins.filters.duplicates:Duplicates",
        "contamination": "infimed_plugins.filters.contamination:Contamination",
    }


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """What a run with an evaluation checks unless ``data.filters`` says otherwise."""
    return {"filter": "contamination"}
