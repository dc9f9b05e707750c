"""The plugin ``gates``: checks of a data set as a whole, for duplicates and for overlap with benchmarks."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_gates() -> dict[str, str]:
    """The gates ``duplicates`` and ``contamination``."""
    return {
        "duplicates": "infimed_plugins.gates.duplicates:Duplicates",
        "contamination": "infimed_plugins.gates.contamination:Contamination",
    }
