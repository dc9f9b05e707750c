"""Kahneman-Tversky optimisation (arXiv 2402.01306): answers that are good or bad, each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Encoded, Fault, MadeRows, PackedBatch, Sample, StageAccess, Turn, encode_sample
from infimed_plugins.reinforcement.dpo import REJECTED, last_alone
from infimed_plugins.reinforcement.drawing import Group
from infimed_plugins.reinforcement.preferences import PreferenceObjective
from infimed_plugins.reinforcement.rows import AnswerRow, lost, packed, with_log_probabilities

LABEL = "label"
"""Key of a sample's ``meta``: whether the answer that it ends with is good."""
Judged = tuple[Encoded, bool]
"""An answer, and whether it is good."""


class Kto(PreferenceObjective):
    """Makes good answers likelier and bad ones less likely, measured from the model that the stage begins with.

    Answers are those of the data, with a label each (a reader such as ``labelled-answers``) or in pairs
    (``preference-pairs``); or with ``rewards`` the model's own, good from ``good_from`` on.
    """

    beta: float = Field(default=0.1, gt=0.0, description="How much a difference from the reference counts.")
    loss: Literal["kto", "apo-zero"] = Field(
        default="kto",
        description="kto measures from the mean divergence from the reference, apo-zero (arXiv 2408.06266) from zero.",
    )
    desirable_weight: float = Field(default=1.0, ge=0.0, description="Weight of good answers.")
    undesirable_weight: float = Field(default=1.0, ge=0.0, description="Weight of bad answers.")
    good_from: float = Field(default=0.5, description="Reward from which on a drawn answer is good.")

    def make_rows(self, step: int, samples: Sequence[tuple[Sample, int | None]], stage: StageAccess) -> MadeRows:
        """The answers of the step, with its divergence from the reference."""
        faults: list[Fault] = []
        answers: list[Judged] = []
        others: list[Encoded] = []
        made = MadeRows([])
        if self.rewards:
            groups, faults = self.drawn(step, samples, stage, made, lambda group: "every answer counts by itself")
            answers = [judged for group in groups for judged in self._judged(group)]
        else:
            for given in _given(samples, stage):
                if isinstance(given, Fault):
                    faults.append(given)
                else:
                    answers += given[0]
                    others += given[1]
        padded = not stage.model.can_pack()[0]
        rows = packed([[(answer, 1.0 if good else -1.0, True)] for answer, good in answers], self.row_tokens, padded)
        rows = with_log_probabilities(rows, "reference", stage.log_probabilities(rows, reference=True))
        if self.loss == "kto":
            apart = packed([[(other, 0.0, True)] for other in others], self.row_tokens, padded)
            divergence = self._divergence(rows if self.rewards else apart, stage)
            rows = [replace(row, divergence=divergence) for row in rows]
            made.facts["divergence"] = divergence
        made.updates.append([*rows, *lost(faults)])
        return made

    def _judged(self, group: Group) -> list[Judged]:
        return [(answer, total >= self.good_from) for answer, total in zip(group.answers, group.totals, strict=True)]

    def _divergence(self, rows: Sequence[AnswerRow], stage: StageAccess) -> float:
        """Mean over the answers of all ranks of how much likelier they became, at least 0.

        Answers that the model drew give the divergence itself. For given ones the paper takes those of other questions.
        """
        now = stage.log_probabilities(rows, reference=False)
        before = stage.log_probabilities(rows, reference=True)
        change = sum(float((a.astype(np.float64) - b).sum()) for a, b in zip(now, before, strict=True))
        parts = stage.gather([change, sum(len(row.lengths) for row in rows)])
        return max(0.0, sum(part[0] for part in parts) / max(1, sum(part[1] for part in parts)))

    def targets(self, row: PackedBatch) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Every token of every answer; an answer adds 1 to the step's amount."""
        if not isinstance(row, AnswerRow):
            return np.zeros(0, dtype=np.int64), np.zeros(0), 0.0
        positions = row.positions_with_loss
        return positions, np.ones(len(positions)), float(len(row.lengths))

    def losses(self, row: PackedBatch, log_probabilities: Any) -> tuple[Any, dict[str, Any]]:
        """The loss of each answer, at its first token."""
        import torch

        assert isinstance(row, AnswerRow) and row.values is not None
        device = log_probabilities.device
        answer, lengths = torch.from_numpy(row.answer_of_position).to(device), torch.from_numpy(row.lengths).to(device)
        change = log_probabilities - torch.from_numpy(row.reference).to(device)
        sums = change.new_zeros(len(lengths)).index_add(0, answer, change)
        sign = torch.from_numpy(row.values).to(device=device, dtype=sums.dtype)
        weight = torch.where(sign > 0, self.desirable_weight, self.undesirable_weight)
        losses = weight * (1.0 - torch.sigmoid(self.beta * sign * (sums - row.divergence)))
        rewards = self.beta * sums.detach()
        measures = {
            "chosen_reward": rewards[sign > 0],
            "rejected_reward": rewards[sign < 0],
            "good_share": (sign > 0).float(),
        }
        firsts = torch.cumsum(lengths, 0) - lengths
        return torch.zeros_like(change).index_put((firsts,), losses), measures


def _given(
    samples: Sequence[tuple[Sample, int | None]], stage: StageAccess
) -> Iterator[tuple[list[Judged], list[Encoded]] | Fault]:
    """This rank's answers with their labels, and to each question the answer of the next question of the step."""

    def encoded(sample: Sample, answer: Turn, cap: int | None) -> Encoded:
        whole = sample.model_copy(update={"turns": (*sample.turns[:-1], answer)})
        return encode_sample(last_alone(whole), stage.model.encoder, stage.media, cap)

    for place in range(stage.rank, len(samples), stage.size):
        sample, cap = samples[place]
        other = samples[(place + 1) % len(samples)][0].turns[-1]
        try:
            judged = [(encoded(sample, turn, cap), good) for turn, good in _labelled(sample)]
            yield judged, [encoded(sample, other, cap)] if len(samples) > 1 else []
        except DataError as error:
            yield Fault(sample_id=sample.id, code=error.code, detail=str(error))


def _labelled(sample: Sample) -> list[tuple[Turn, bool]]:
    label, rejected = sample.meta.get(LABEL), sample.meta.get(REJECTED)
    if isinstance(label, bool):
        return [(sample.turns[-1], label)]
    if isinstance(rejected, str) and rejected.strip():
        return [(sample.turns[-1], True), (Turn(role="assistant", content=(rejected,)), False)]
    raise DataError(
        "no_label", f"sample '{sample.id}' has neither a label nor a rejected answer; read it with labelled-answers"
    )
