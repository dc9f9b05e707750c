"""Reinforcement learning with verifiable rewards, by groups of answers to one question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from infimed_core import Fault, MadeRows, PackedBatch, Sample, StageAccess
from infimed_plugins.reinforcement.drawing import DrawingObjective, Group, WeightedReward, line_of
from infimed_plugins.reinforcement.figures import figures_of
from infimed_plugins.reinforcement.policy import Kind, advantages, policy_losses
from infimed_plugins.reinforcement.rows import AnswerRow, lost, packed, with_log_probabilities


class Grpo(DrawingObjective):
    """Draws ``rollouts`` answers to every question, grades them, and makes those better than their group likelier."""

    rewards: tuple[WeightedReward, ...] = Field(min_length=1, description="What an answer is worth, and how much.")
    rollouts: int = Field(default=8, ge=2, description="Answers to each question.")
    loss: Kind = Field(
        default="grpo",
        description="grpo: the mean over answers of the mean over their tokens; dapo: the mean over all tokens; "
        "dr-grpo: the sum over tokens by max_new_tokens, advantages not divided by the group's deviation; gspo: as "
        "grpo, with the ratio of whole answers.",
    )
    clip: tuple[float, float] = Field(
        default=(0.2, 0.2), description="How far the ratio of new to old probability may go below and above 1."
    )
    kl: float = Field(
        default=0.0, ge=0.0, description="Weight of the divergence from the model that the stage begins with."
    )
    scale_by_deviation: bool | None = Field(
        default=None, description="Divide advantages by the group's deviation; null: all but dr-grpo do."
    )
    dynamic_sampling: bool | int = Field(
        default=False,
        description="true: groups whose answers all have the same reward do not count. A number: so many questions of "
        "the step are asked at a time, until so many groups count; the step's other questions are not asked.",
    )
    mask_cut: bool = Field(default=False, description="Answers cut at max_new_tokens add nothing to the loss.")
    updates_per_rollout: int = Field(default=1, ge=1, description="Passes over the answers of a step.")
    minibatches: int = Field(
        default=1, ge=1, description="Optimizer steps in a pass; the step's questions are dealt to them."
    )

    @model_validator(mode="after")
    def _clips(self) -> Self:
        if not (0.0 < self.clip[0] <= 1.0 and self.clip[1] > 0.0):
            raise ValueError("clip takes how far below 1 (above 0, at most 1) and how far above 1 (above 0)")
        if not isinstance(self.dynamic_sampling, bool) and self.dynamic_sampling < 1:
            raise ValueError("dynamic_sampling is true, false, or how many questions are asked at a time (1 or more)")
        return self

    @property
    def weighted(self) -> tuple[WeightedReward, ...]:
        """The rewards with their weights."""
        return self.rewards

    @property
    def num_updates(self) -> int:
        """Optimizer steps for each step of the plan."""
        return self.updates_per_rollout * self.minibatches

    @property
    def uses_reference(self) -> bool:
        """Only the divergence does."""
        return self.kl > 0.0

    def make_rows(self, step: int, samples: Sequence[tuple[Sample, int | None]], stage: StageAccess) -> MadeRows:
        """Answers to the step's questions, in rows."""
        self.send_weights(step, stage)
        groups, faults, num_asked = self._groups(step, samples, stage)
        counting = [group for group in groups if group.differs or not self.dynamic_sampling]
        given = {group.place: self._advantages(group) for group in groups}
        parts: list[list[AnswerRow]] = []
        for number in range(self.minibatches):
            own = [group for group in counting if group.place % self.minibatches == number]
            answers = [answer for group in own for answer in self._items(group, given[group.place])]
            parts.append(packed([[answer] for answer in answers], self.row_tokens, not stage.model.can_pack()[0]))
        rows = [row for part in parts for row in part]
        if self.num_updates > 1:
            rows = with_log_probabilities(rows, "old", stage.log_probabilities(rows, reference=False))
        if self.kl > 0.0:
            rows = with_log_probabilities(rows, "reference", stage.log_probabilities(rows, reference=True))
        made, start = [], 0
        for part in parts:
            made.append([*rows[start : start + len(part)]])
            start += len(part)
        updates: list[list[PackedBatch]] = [[*rows] for _ in range(self.updates_per_rollout) for rows in made]
        updates[0] += lost(faults)
        facts = figures_of(groups, num_asked, self.is_accuracy, stage.gather) | self.server_difference(groups, stage)
        lines = [line_of(step, group, {"advantage": given[group.place]}, self._outcome(group)) for group in groups]
        return MadeRows(updates, facts, lines)

    def _groups(
        self, step: int, samples: Sequence[tuple[Sample, int | None]], stage: StageAccess
    ) -> tuple[list[Group], list[Fault], int]:
        """This rank's groups, what could not be asked, and how many questions were asked by all ranks."""
        wanted = self.dynamic_sampling
        at_a_time = len(samples) if isinstance(wanted, bool) else wanted
        groups: list[Group] = []
        faults: list[Fault] = []
        asked = 0
        while asked < len(samples):
            wave = samples[asked : asked + at_a_time]
            for found in self.draw_groups(step, wave, asked, self.rollouts, stage):
                groups.append(found) if isinstance(found, Group) else faults.append(found)
            asked += len(wave)
            if not isinstance(wanted, bool) and sum(stage.gather(sum(g.differs for g in groups))) >= wanted:
                break
        return groups, faults, asked

    def _advantages(self, group: Group) -> list[float]:
        scale = self.scale_by_deviation if self.scale_by_deviation is not None else self.loss != "dr-grpo"
        return advantages(group.totals, scale)

    def _items(self, group: Group, given: Sequence[float]) -> list[tuple[Any, float, bool]]:
        counted = [rollout.finished or not self.mask_cut for rollout in group.rollouts]
        return list(zip(group.answers, given, counted, strict=True))

    def _outcome(self, group: Group) -> str:
        if not group.differs:
            return "all answers have the same reward" + (", left out" if self.dynamic_sampling else "")
        return "learned from"

    def targets(self, row: PackedBatch) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Every token that was drawn; see ``loss``."""
        if not isinstance(row, AnswerRow):
            return np.zeros(0, dtype=np.int64), np.zeros(0), 0.0
        assert row.counted is not None
        answer, lengths = row.answer_of_position, row.lengths
        counted = row.counted[answer].astype(np.float64)
        if self.loss == "dapo":
            return row.positions_with_loss, counted, float(counted.sum())
        each = float(self.max_new_tokens) if self.loss == "dr-grpo" else lengths[answer].astype(np.float64)
        return row.positions_with_loss, counted / each, float(len(lengths))

    def losses(self, row: PackedBatch, log_probabilities: Any) -> tuple[Any, dict[str, Any]]:
        """The clipped policy gradient; see ``policy.policy_losses``."""
        import torch

        assert isinstance(row, AnswerRow) and row.values is not None
        device = log_probabilities.device
        answer = torch.from_numpy(row.answer_of_position).to(device)
        advantage = torch.from_numpy(row.values).to(device=device, dtype=torch.float32)[answer]
        old = log_probabilities.detach() if row.old is None else torch.from_numpy(row.old).to(device)
        reference = None if row.reference is None else torch.from_numpy(row.reference).to(device)
        return policy_losses(log_probabilities, old, reference, advantage, answer, self.loss, self.clip, self.kl)
