"""The plugin `packing`: which samples share a row."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_packers() -> dict[str, str]:
    """``best-fit``, ``next-fit``, ``padded`` and ``padded-sorted``."""
    return {
        "best-fit": "infimed_plugins.packing.fitting:BestFit",
        "next-fit": "infimed_plugins.packing.fitting:NextFit",
        "padded": "infimed_plugins.packing.padding:Padded",
        "padded-sorted": "infimed_plugins.packing.padding:PaddedSorted",
    }


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """The packer of a run file without ``packing:``, and that of a model whose samples may not share a row."""
    return {"packing": "best-fit", "padded packer": "padded"}
