"""The plugin ``gates``: checks of a data set as a whole, for duplicates and for overlap with benchmarks."""

from __future__ import annotations

from infimed_core import Gate, hookimpl


@hookimpl
def infimed_gates() -> dict[str, type[Gate]]:
    """The gates ``duplicates`` and ``contamination``."""
    from infimed_plugins.gates.contamination import Contamination
    from infimed_plugins.gates.duplicates import Duplicates

    return {"duplicates": Duplicates, "contamination": Contamination}
