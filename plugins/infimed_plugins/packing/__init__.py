"""The plugin `packing`: which samples share a row."""

from __future__ import annotations

from infimed_core import Packer, hookimpl


@hookimpl
def infimed_packers() -> dict[str, type[Packer]]:
    """``best-fit``, ``next-fit``, ``padded`` and ``padded-sorted``."""
    from infimed_plugins.packing.fitting import BestFit, NextFit
    from infimed_plugins.packing.padding import Padded, PaddedSorted

    return {"best-fit": BestFit, "next-fit": NextFit, "padded": Padded, "padded-sorted": PaddedSorted}
