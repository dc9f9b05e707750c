"""The loss of a row: cross-entropy, or what a stage's objective says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infimed_core import Objective, PackedBatch, TrainableModel
from infimed_plugins.sft.loss import linear_cross_entropy, row_loss, supervised, token_log_probabilities
from infimed_plugins.sft.sources import SourceLosses
from infimed_plugins.sft.stages import LossWeighting

Targets = tuple[NDArray[np.int64], NDArray[np.float64], float]
"""Positions of a row that carry loss, the weight of each, and what the row adds to the step's denominator."""


class CrossEntropyRows:
    """Weighted cross-entropy by a kernel, told by the source of the samples."""

    def __init__(self, model: TrainableModel, kernel: Any, weighting: LossWeighting, device: Any) -> None:
        self._model, self._kernel, self._weighting, self._device = model, kernel, weighting, device
        self.sources = SourceLosses(device)

    def targets(self, row: PackedBatch) -> Targets:
        """What carries loss in a row."""
        positions, weights = supervised(row, self._weighting)
        return positions, weights, float(weights.sum())

    def of_row(self, row: PackedBatch, positions: Any, weights: Any, counts: bool) -> Callable[[], Any]:
        """What computes a row's share of the loss; a row that does not count leaves no trace."""
        place, labels, weight = tensors_of(row, positions, weights, self._device)
        parts, sums = self.sources.of_row(row, positions, counts)

        def compute() -> Any:
            hidden = self._model.hidden_states(row).index_select(0, place)
            return row_loss(self._kernel, hidden, self._model.output_embedding(), labels, weight, parts, sums)

        return compute

    def of_step(self) -> JsonValue:
        """This rank's figures of the rows since the last call."""
        return self.sources.of_step()  # type: ignore[return-value]

    def merged(self, ranks: Sequence[Any]) -> dict[str, JsonValue]:
        """What the curve tells of a step, from ``of_step`` of every rank."""
        by_source = self.sources.merged(ranks)
        return {"loss_by_source": by_source} if by_source else {}  # type: ignore[dict-item]

    def state(self) -> dict[str, JsonValue]:
        """For the state on disk."""
        return {"sources": self.sources.totals}  # type: ignore[dict-item]

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.sources.totals = {name: (count, total) for name, (count, total) in facts["sources"].items()}

    def summary(self, curve: Sequence[Mapping[str, Any]]) -> dict[str, JsonValue]:
        """For the record of the stage."""
        return {"sources": self.sources.summary(curve)}


class ObjectiveRows(CrossEntropyRows):
    """The losses of an objective, with the means of its measures."""

    def __init__(self, model: TrainableModel, kernel: Any, objective: Objective, device: Any) -> None:
        super().__init__(model, kernel, "token", device)
        self._objective = objective
        self._sums: dict[str, list[float]] = {}

    def targets(self, row: PackedBatch) -> Targets:
        """As the objective says."""
        return self._objective.targets(row)

    def of_row(self, row: PackedBatch, positions: Any, weights: Any, counts: bool) -> Callable[[], Any]:
        """See ``CrossEntropyRows``; a row that does not count is of no objective's making."""
        place, labels, weight = tensors_of(row, positions, weights, self._device)

        def compute() -> Any:
            hidden, head = self._model.hidden_states(row).index_select(0, place), self._model.output_embedding()
            if not counts:
                return linear_cross_entropy(hidden, head, labels, weight)
            told, entropies = token_log_probabilities(hidden, head, labels, self._objective.sampling_temperature)
            losses, measures = self._objective.losses(row, told)
            for name, values in {**measures, "entropy": entropies}.items():
                total = self._sums.setdefault(name, [0.0, 0.0])
                total[0] += float(values.detach().double().sum())
                total[1] += len(values)
            return weight @ losses

        return compute

    def of_step(self) -> JsonValue:
        """Sum and number of each measure."""
        found, self._sums = self._sums, {}
        return found  # type: ignore[return-value]

    def merged(self, ranks: Sequence[Any]) -> dict[str, JsonValue]:
        """The mean of each measure."""
        names = sorted({name for part in ranks for name in part})
        sums = {name: np.sum([part[name] for part in ranks if name in part], axis=0) for name in names}
        means = {name: float(total / count) for name, (total, count) in sums.items() if count}
        return {name: mean for name, mean in means.items() if np.isfinite(mean)}


def tensors_of(row: PackedBatch, positions: Any, weights: Any, device: Any) -> tuple[Any, Any, Any]:
    """Positions, labels at them and weights, as tensors on the device."""
    import torch

    place = torch.from_numpy(positions).to(device)
    labels = torch.from_numpy(row.labels[positions].clip(min=0)).to(device)
    return place, labels, torch.from_numpy(weights).to(device=device, dtype=torch.float32)
