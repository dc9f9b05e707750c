"""The loss of each source of data, step by step and over a stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infimed_core import PackedBatch
from infimed_plugins.sft.accounting import ends

MOST_SOURCES = 32
OTHERS = "(others)"
"""Sources after the first ``MOST_SOURCES`` are counted together under this name."""


class SourceLosses:
    """Sums of the unweighted token losses, by the source of the sample.

    Attributes:
        totals: supervised tokens and summed loss of each source since the stage began.
    """

    def __init__(self, device: Any) -> None:
        self.totals: dict[str, tuple[int, float]] = {}
        self._device = device
        self._rows: list[tuple[list[str], NDArray[np.int64], Any]] = []

    def of_row(self, row: PackedBatch, positions: NDArray[np.int64], counts: bool = True) -> tuple[Any, Any]:
        """For a row's supervised positions: the part that each belongs to, int64 [n], and zeros to add losses to.

        A row that does not count leaves no trace.
        """
        import torch

        names = list(dict.fromkeys(row.sources)) or [""]
        parts = np.zeros(len(positions), dtype=np.int64)
        if len(names) > 1:
            codes = np.array([names.index(source) for source in row.sources], dtype=np.int64)
            parts = codes[np.searchsorted(row.cu_seqlens, positions, side="right") - 1]
        sums = torch.zeros(len(names), dtype=torch.float32, device=self._device)
        if counts:
            self._rows.append((names, np.bincount(parts, minlength=len(names)), sums))
        return torch.from_numpy(parts).to(self._device), sums

    def of_step(self) -> dict[str, tuple[int, float]]:
        """Supervised tokens and summed loss of each source over the rows since the last call."""
        found: dict[str, tuple[int, float]] = {}
        for names, counts, sums in self._rows:
            for name, count, total in zip(names, counts.tolist(), sums.tolist(), strict=True):
                before = found.get(name, (0, 0.0))
                found[name] = (before[0] + count, before[1] + total)
        self._rows = []
        return found

    def merged(self, ranks: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
        """The step's mean loss of each named source over all ranks; totals go on. A loss not finite is left out."""
        step: dict[str, tuple[int, float]] = {}
        for part in ranks:
            for name, (count, total) in part.items():
                if not math.isfinite(total):
                    continue
                known = name in self.totals or len(self.totals) < MOST_SOURCES
                shown = name if known else OTHERS
                before, so_far = step.get(shown, (0, 0.0)), self.totals.get(shown, (0, 0.0))
                step[shown] = (before[0] + int(count), before[1] + total)
                self.totals[shown] = (so_far[0] + int(count), so_far[1] + total)
        return {name: total / count for name, (count, total) in step.items() if name and count}

    def summary(self, curve: Sequence[Mapping[str, Any]]) -> dict[str, JsonValue]:
        """For each source: supervised tokens, mean loss over the stage, and over its first and last 5% of steps."""
        facts: dict[str, JsonValue] = {}
        for name, (count, total) in self.totals.items():
            if not name:
                continue
            losses = [entry["loss_by_source"][name] for entry in curve if name in entry.get("loss_by_source", {})]
            first, last = ends(losses)
            facts[name] = {
                "supervised_tokens": count,
                "loss": total / count if count else None,
                "loss_first": first,
                "loss_last": last,
            }
        return facts
