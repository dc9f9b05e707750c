"""Direct preference optimisation (arXiv 2305.18290), on given pairs of answers or on pairs of the model's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import (
    DataError,
    Encoded,
    Fault,
    MadeRows,
    PackedBatch,
    Sample,
    StageAccess,
    Turn,
    encode_sample,
)
from infimed_plugins.reinforcement.drawing import Group
from infimed_plugins.reinforcement.preferences import PreferenceObjective
from infimed_plugins.reinforcement.rows import AnswerRow, lost, packed, with_log_probabilities

REJECTED = "rejected"
"""Key of a sample's ``meta``: the answer that is worse than the one the sample ends with."""
Pair = tuple[Encoded, Encoded]


class Dpo(PreferenceObjective):
    """Makes chosen answers likelier than rejected ones, measured from the model that the stage begins with.

    Pairs are those of the data (a reader such as ``preference-pairs`` gives each sample its rejected answer), or with
    ``rewards`` the best and the worst of the model's own ``rollouts``.
    """

    beta: float = Field(default=0.1, gt=0.0, description="How much a difference from the reference counts.")
    loss: Literal["sigmoid", "ipo", "hinge"] = Field(default="sigmoid", description="sigmoid is DPO's own.")
    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=0.5, description="Share of pairs that are thought to be the wrong way round."
    )
    sft_weight: float = Field(
        default=0.0,
        ge=0.0,
        description="Weight of the chosen answer's own loss, its mean over tokens, added to a pair's (arXiv "
        "2404.19733): without it both answers may become less likely, the rejected one only more so.",
    )

    def make_rows(self, step: int, samples: Sequence[tuple[Sample, int | None]], stage: StageAccess) -> MadeRows:
        """The pairs of the step, each whole in one row."""
        faults: list[Fault] = []
        pairs: list[Pair] = []
        made = MadeRows([])
        if self.rewards:
            groups, faults = self.drawn(step, samples, stage, made, _outcome)
            pairs = [_best_and_worst(group) for group in groups if group.differs]
        else:
            for given in _given(samples[stage.rank :: stage.size], stage):
                pairs.append(given) if isinstance(given, tuple) else faults.append(given)
        items = [[(chosen, 1.0, True), (rejected, -1.0, True)] for chosen, rejected in pairs]
        rows = packed(items, self.row_tokens, not stage.model.can_pack()[0])
        rows = with_log_probabilities(rows, "reference", stage.log_probabilities(rows, reference=True))
        made.updates.append([*rows, *lost(faults)])
        return made

    def targets(self, row: PackedBatch) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Every token of both answers; a pair adds 1 to the step's amount."""
        if not isinstance(row, AnswerRow):
            return np.zeros(0, dtype=np.int64), np.zeros(0), 0.0
        positions = row.positions_with_loss
        return positions, np.ones(len(positions)), len(row.lengths) / 2

    def losses(self, row: PackedBatch, log_probabilities: Any) -> tuple[Any, dict[str, Any]]:
        """The loss of each pair, at the first token of its chosen answer."""
        import torch

        assert isinstance(row, AnswerRow)
        device = log_probabilities.device
        answer, lengths = torch.from_numpy(row.answer_of_position).to(device), torch.from_numpy(row.lengths).to(device)
        change = log_probabilities - torch.from_numpy(row.reference).to(device)
        sums = change.new_zeros(len(lengths)).index_add(0, answer, change)
        if self.loss == "ipo":
            sums = sums / lengths
        chosen, rejected = sums[0::2], sums[1::2]
        losses = preference_losses(chosen - rejected, self.beta, self.loss, self.label_smoothing)
        if self.sft_weight:
            logs = change.new_zeros(len(lengths)).index_add(0, answer, log_probabilities)
            losses = losses - self.sft_weight * (logs / lengths)[0::2]
        firsts = torch.cumsum(lengths, 0) - lengths
        measures = {
            "reward_margin": self.beta * (chosen - rejected).detach(),
            "chosen_reward": self.beta * chosen.detach(),
            "rejected_reward": self.beta * rejected.detach(),
            "preference_accuracy": (chosen > rejected).float(),
        }
        return torch.zeros_like(change).index_put((firsts[0::2],), losses), measures


def preference_losses(margin: Any, beta: float, loss: str, smoothing: float = 0.0) -> Any:
    """Loss of pairs from how much likelier the chosen answer became than the rejected one, in log-probability."""
    from torch.nn import functional

    if loss == "ipo":  # arXiv 2310.12036, equation 17, of means over tokens
        return (margin - 1.0 / (2.0 * beta)) ** 2
    if loss == "hinge":
        return functional.relu(1.0 - beta * margin)
    right, wrong = functional.logsigmoid(beta * margin), functional.logsigmoid(-beta * margin)
    return -(1.0 - smoothing) * right - smoothing * wrong


def _best_and_worst(group: Group) -> Pair:
    totals = group.totals
    return group.answers[totals.index(max(totals))], group.answers[totals.index(min(totals))]


def _outcome(group: Group) -> str:
    return "best and worst make a pair" if group.differs else "all answers have the same reward, no pair"


def _given(samples: Sequence[tuple[Sample, int | None]], stage: StageAccess) -> Iterator[Pair | Fault]:
    for sample, cap in samples:
        rejected = sample.meta.get(REJECTED)
        try:
            if not isinstance(rejected, str) or not rejected.strip():
                raise DataError(
                    "no_pair", f"sample '{sample.id}' has no rejected answer; read it with preference-pairs"
                )
            turn = Turn(role="assistant", content=(rejected,))
            both = sample, sample.model_copy(update={"turns": (*sample.turns[:-1], turn)})
            chosen, worse = (encode_sample(last_alone(one), stage.model.encoder, stage.media, cap) for one in both)
            yield chosen, worse
        except DataError as error:
            yield Fault(sample_id=sample.id, code=error.code, detail=str(error))


def last_alone(sample: Sample) -> Sample:
    """The sample with a loss on its last answer alone: earlier turns are the same in both."""
    earlier = [turn.model_copy(update={"supervised": False}) for turn in sample.turns[:-1]]
    return sample.model_copy(update={"turns": (*earlier, sample.turns[-1])})
