"""What a stage has done so far: counts, curve, samples left out and steps skipped; part of its resumable state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from infimed_core import PackedBatch
from infimed_plugins.sft.accounting import COUNTS
from infimed_plugins.sft.flop_counter import FlopCounter
from infimed_plugins.sft.ranks import Ranks

MOST_FAULTS_TOLD = 20


class StageTally:
    """Attributes: ``totals`` of ``COUNTS`` over all ranks, ``curve`` (an entry for every step), ``skipped`` steps, and
    ``rows_without_gradient``."""

    def __init__(self, flops: FlopCounter, ranks: Ranks, say: Callable[[str], None]) -> None:
        self._flops, self._ranks, self._say = flops, ranks, say
        self.totals = dict.fromkeys(COUNTS, 0.0)
        self.curve: list[dict[str, Any]] = []
        self.skipped: list[dict[str, Any]] = []
        self.rows_without_gradient = 0
        self._dropped: Counter[str] = Counter()
        self._dropped_before: dict[str, int] = {}
        self._told: set[str] = set()
        self._lost: dict[str, str] = {}

    def count(self, rows: Sequence[tuple[int, PackedBatch]]) -> list[float]:
        """A step's ``COUNTS`` on this rank; samples left out are counted and told on the way."""
        counts = dict.fromkeys(COUNTS, 0.0)
        for _, row in rows:
            counts["rows"] += 1
            counts["tokens"] += len(row) - row.num_padding
            counts["padding"] += row.num_padding
            counts["supervised_tokens"] += row.num_supervised
            counts["images"] += len(row.visual_tokens)
            counts["samples"] += len(row.sample_ids)
            counts["flops"] += self._flops.of(row, row.num_supervised)
            for fault in row.dropped:
                self._dropped[fault.code] += 1
                self._lost[fault.sample_id] = fault.code
                if fault.sample_id not in self._told and len(self._told) < MOST_FAULTS_TOLD:
                    self._told.add(fault.sample_id)  # once, however often its turn comes
                    where = f" ({fault.where})" if fault.where else ""
                    self._say(f"sample {fault.sample_id}{where} was left out: {fault.code}: {fault.detail}")
        return list(counts.values())

    def add(self, counts: Sequence[float]) -> None:
        """Add a step's counts, summed over the ranks."""
        for name, count in zip(COUNTS, counts, strict=True):
            self.totals[name] += count

    def skip(self, step: int, reason: str, ids: Sequence[str] = ()) -> None:
        """A step that moved no weight."""
        self.skipped.append({"step": step, "reason": reason, **({"sample_ids": list(ids)} if ids else {})})

    def skip_reasons(self) -> dict[str, int]:
        """How many steps were skipped for each kind of reason."""
        return dict(Counter(str(skipped["reason"]).partition(" of ")[0] for skipped in self.skipped))

    def dropped(self) -> dict[str, int]:
        """Samples left out of all ranks and all runs of the stage, by reason; every rank must call this."""
        merged = Counter(self._dropped_before)
        for part in self._ranks.gather(dict(self._dropped)):
            merged.update(part)
        return dict(merged)

    def lost(self) -> dict[str, str]:
        """The id of every sample that was left out, and why; every rank must call this."""
        merged: dict[str, str] = {}
        for part in self._ranks.gather(dict(self._lost)):
            merged.update(part)
        return merged

    def state(self) -> dict[str, JsonValue]:
        """All of it, for the state on disk; every rank must call this."""
        return {
            "totals": dict(self.totals),
            "curve": list(self.curve),
            "skipped": list(self.skipped),
            "rows_without_gradient": self.rows_without_gradient,
            "dropped": dict(self.dropped()),
            "lost": dict(self.lost()),
        }

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.totals, self.curve, self.skipped = facts["totals"], facts["curve"], facts["skipped"]
        self.rows_without_gradient = facts.get("rows_without_gradient", 0)
        self._dropped_before = facts["dropped"]
        self._lost = dict(facts.get("lost", {}))

    def tell_losses(self, num_steps: int) -> None:
        """Say at the end of the stage which steps and rows added nothing."""
        if self.skipped:
            told = ", ".join(f"{count} for {reason}" for reason, count in self.skip_reasons().items())
            self._say(f"{len(self.skipped)} of {num_steps} steps skipped ({told})")
        if self.rows_without_gradient:
            self._say(
                f"{self.rows_without_gradient} rows added nothing to the gradient: they hold text alone, and what "
                "learns in this stage sees images only; keep them for another stage by mix"
            )
