"""What a model is worth while its stage trains: the loss of held-out samples, and answers to a few questions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import JsonValue

from infimed_core import (
    IGNORED_LABEL,
    Batches,
    Measurements,
    PackedBatch,
    TrainableModel,
    TrainingContext,
)
from infimed_plugins.sft.at_rest import at_rest
from infimed_plugins.sft.loss import linear_cross_entropy
from infimed_plugins.sft.ranks import Ranks
from infimed_plugins.sft.sharding import reshard, whole_weights


class Validation:
    """Measures at the steps that the stage names; weights, optimizer and the course of training do not change.

    Every rank takes part: rows and questions are dealt out. Dropout draws from generators that training seeds anew
    for each row, and is off here.

    Attributes:
        entries: what was found so far, for the record: ``step`` (the last one trained), ``held_out_loss``,
            ``benchmarks``.
        seconds: spent on it by this process; ``seconds_before``: by those that were stopped before.
    """

    def __init__(
        self,
        model: TrainableModel,
        context: TrainingContext,
        ranks: Ranks,
        forward: Callable[[Callable[[], Any]], Any],
        sharded: bool,
        arithmetic: Callable[[], Any],
    ) -> None:
        self._model, self._ranks, self._forward, self._sharded = model, ranks, forward, sharded
        self._wanted, self._emit, self._arithmetic = context.measurements, context.emit, arithmetic
        self.entries: list[dict[str, JsonValue]] = []
        self.seconds = self.seconds_before = 0.0

    def facts(self) -> dict[str, JsonValue]:
        """For the record and the state; nothing where nothing is measured."""
        if self._wanted is None:
            return {}
        return {"evaluations": list(self.entries), "evaluation_seconds": self.seconds_before + self.seconds}

    def at_start(self) -> None:
        """Measure before the first step, where that is wanted."""
        if self._wanted is not None and self._wanted.at_start:
            self._measure(self._wanted, 0)

    def after(self, done: int, num_steps: int) -> dict[str, JsonValue] | None:
        """Measure after ``done`` of ``num_steps`` steps, if that is a step to measure at; what was found."""
        wanted = self._wanted
        if wanted is None or (done % wanted.every and done != num_steps):
            return None
        return self._measure(wanted, done)

    def _measure(self, wanted: Measurements, step: int) -> dict[str, JsonValue]:
        started = time.perf_counter()
        entry: dict[str, JsonValue] = {"step": step}
        try:
            if wanted.held_out is not None:
                with at_rest(self._model.module), self._arithmetic():
                    entry |= self._held_out(wanted.held_out)
            if wanted.benchmarks:
                whole = whole_weights(self._forward, self._sharded)
                with whole, at_rest(self._model.module), self._arithmetic():
                    shares = self._ranks.gather(wanted.ask(self._model, self._ranks.rank, self._ranks.size))
                    entry["benchmarks"] = wanted.summarise(shares) if self._ranks.is_first else {}
        finally:
            if self._sharded:
                reshard(self._forward)
        self.seconds += time.perf_counter() - started
        self.entries.append(entry)
        if self._ranks.is_first:
            self._emit("evaluation", entry)
        return entry

    def _held_out(self, batches: Batches) -> dict[str, JsonValue]:
        """Mean loss of the supervised tokens of all rows, each weighing the same."""
        ranks, total = self._ranks, np.zeros(4)
        places = [(step, index) for step in range(batches.num_steps) for index in range(batches.num_rows(step))]
        some: PackedBatch | None = None
        for start in range(0, len(places), ranks.size):
            own = start + ranks.rank
            row = batches.row(*places[own]) if own < len(places) else None
            if row is not None:
                total[2:] += len(row.sample_ids), len(row.dropped)
            if row is not None and (row.labels != IGNORED_LABEL).any():
                total[:2] += self._loss(row)
            elif self._sharded:  # the others gather the layers in this round: take part
                some = some or next(made for place in places if len(made := batches.row(*place)))
                self._loss(some)
        loss, count, samples, dropped = ranks.sum(total.tolist())
        mean = loss / count if count else math.nan
        return {
            "held_out_loss": mean if math.isfinite(mean) else None,
            "held_out_tokens": int(count),
            "held_out_samples": int(samples),
            **({"held_out_dropped": int(dropped)} if dropped else {}),
        }

    def _loss(self, row: PackedBatch) -> tuple[float, int]:
        """Summed loss of a row's supervised tokens, and their number."""
        import torch

        positions = np.flatnonzero(row.labels != IGNORED_LABEL)
        positions = positions if len(positions) else np.zeros(1, dtype=np.int64)

        def compute() -> Any:
            hidden = self._model.hidden_states(row)
            place = torch.from_numpy(positions).to(hidden.device)
            labels = torch.from_numpy(row.labels[positions].clip(min=0)).to(hidden.device)
            weights = torch.ones(len(positions), dtype=torch.float32, device=hidden.device)
            head = self._model.output_embedding()
            return linear_cross_entropy(hidden.index_select(0, place), head, labels, weights)

        return float(self._forward(compute)), len(positions)
