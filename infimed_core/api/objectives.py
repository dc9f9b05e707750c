"""What a stage minimises, and how good an answer is that a model drew."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infimed_core.api.component import Component
from infimed_core.api.data import MediaLoader, Sample, Score
from infimed_core.api.models import PackedBatch, TrainableModel


@dataclass(frozen=True)
class Rollout:
    """An answer that a model drew. ``sample`` ends with the reference answer; ``finished``: it was not cut."""

    sample: Sample
    text: str
    num_tokens: int
    finished: bool = True


class Reward(Component):
    """How good an answer is that a model drew: for reinforcement learning and rejection sampling alike."""

    is_accuracy: ClassVar[bool] = False
    """Whether 1 means that the answer is right and 0 that it is wrong: pass@k is told from it."""

    @abstractmethod
    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score for each rollout, in order; ``None`` with a reason for what cannot be scored."""


class StageAccess(Protocol):
    """What an objective that makes its own rows may use of the stage and of the other processes."""

    model: TrainableModel
    media: MediaLoader
    seed: int
    rank: int
    size: int

    def gather(self, value: Any) -> list[Any]:
        """The JSON value of every rank, in their order; every rank must call this."""
        ...

    def log_probabilities(self, rows: Sequence[PackedBatch], reference: bool) -> list[NDArray[np.float32]]:
        """Those of the targets of each row, by the weights as they are or those that the stage began with; every rank
        must call this."""
        ...


@dataclass(frozen=True)
class MadeRows:
    """What an objective made of a step of the plan: for each update this rank's rows; facts for the curve; and lines
    for people about what this rank made."""

    updates: list[list[PackedBatch]]
    facts: dict[str, JsonValue] = field(default_factory=dict)
    lines: list[dict[str, JsonValue]] = field(default_factory=list)


class Objective(Component):
    """What a stage minimises: the sum of ``weights * losses`` over all rows of a step, divided by the sum of their
    amounts, whatever the split into rows, accumulation and ranks."""

    makes_rows: ClassVar[bool] = False
    """Whether it makes its rows while the stage trains, from the samples of the plan's steps (rollouts, pairs)."""

    @property
    def num_updates(self) -> int:
        """Optimizer steps for each step of the plan."""
        return 1

    @property
    def draws(self) -> bool:
        """Whether ``make_rows`` lets the model draw answers: where weights are shared out, they are gathered for it."""
        return self.makes_rows

    @property
    def uses_reference(self) -> bool:
        """Whether the weights that the stage begins with are needed while it trains."""
        return False

    @property
    def sampling_temperature(self) -> float:
        """What logits are divided by: log-probabilities are those of the distribution that answers were drawn from."""
        return 1.0

    def make_rows(self, step: int, samples: Sequence[tuple[Sample, int | None]], stage: StageAccess) -> MadeRows:
        """This rank's rows of a step of the plan, from its samples and the most visual tokens of their images."""
        raise NotImplementedError(f"{type(self).__name__} makes no rows")

    @abstractmethod
    def targets(self, row: PackedBatch) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Positions of a row that carry loss [n], their weights [n], and the row's amount."""

    @abstractmethod
    def losses(self, row: PackedBatch, log_probabilities: Any) -> tuple[Any, dict[str, Any]]:
        """Losses [n] from the log-probabilities [n] of the labels (torch), and measures by name: tensors of any length,
        of whose values in a step the mean is told."""
