"""What of a stage is put on disk and back: weights that learn, buffers, the optimizer, and whose state it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from infimed_core import Batches, InfimedError, TrainableModel, TrainingContext, canonical_json
from infimed_plugins.sft.continuing import take_over
from infimed_plugins.sft.failures import check_weights
from infimed_plugins.sft.ranks import Ranks
from infimed_plugins.sft.sharding import gathered_on_first, to_shard
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.sft.state import (
    clear_unfinished,
    flatten_optimizer,
    newest_state,
    restore_optimizer,
    write_state,
)


@dataclass(frozen=True)
class StageStates:
    """The resumable states of a stage; ``parameters`` are what learns, by name."""

    model: TrainableModel
    parameters: Mapping[str, Any]
    optimizer: Any
    batches: Batches
    stage: TrainingStage
    context: TrainingContext
    precision: str
    ranks: Ranks
    say: Callable[[str], None]

    @cached_property
    def fingerprint(self) -> str:
        """Changes with whatever decides the weights; not with workers, ranks, or how often state is kept."""
        without = {"activation_checkpointing", *self.stage.fast_settings(), *self.stage.unset_settings()}
        stage = self.stage.model_dump(mode="json", exclude=without)
        names = {name: list(parameter.shape) for name, parameter in self.parameters.items()}
        facts = [self.batches.plan_hash, stage, self.context.seed, self.precision, names]
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()

    def load(self) -> tuple[int, dict[str, Any]]:
        """Put the newest good state in place; the number of finished steps and the facts that were written with it."""
        import torch

        directory = self.context.directory
        if self.ranks.is_first:
            clear_unfinished(directory)
        self.ranks.wait()
        state = newest_state(directory, self.fingerprint, self.say)
        start = state.step if state else 0
        if self.ranks.sum([float(start)])[0] != start * self.ranks.size:
            raise InfimedError(f"{directory}: the ranks do not see the same training state; use a shared directory")
        if state is None:
            return 0, {}
        held = self._tensors()
        with torch.no_grad():
            for name, tensor in state.weights.items():
                held[name].copy_(to_shard(tensor, held[name]))
        restore_optimizer(self.optimizer, self.parameters, state.moments)
        self.say(f"stage '{self.stage.name}' goes on after step {start} of {self.batches.num_steps}")
        return start, state.facts

    def begin(self) -> int:
        """Begin with what ``continue_from`` names, if it does; returns the steps that lie behind."""

        def restore(moments: Mapping[str, Any]) -> None:
            restore_optimizer(self.optimizer, self.parameters, moments)

        return take_over(self.stage, self.model, self.batches.plan_hash, self.batches.num_steps, restore, self.say)

    def save(self, step: int, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Write the state after ``step`` steps; every rank must call this, and ``facts`` is asked of the first."""
        check_weights(self.stage.name, step, self.parameters)
        tensors = gathered_on_first(self._tensors(), self.ranks)
        moments = gathered_on_first(self.moments(), self.ranks)
        problem = None
        if self.ranks.is_first:
            told = {"fingerprint": self.fingerprint, **facts()}
            try:
                write_state(self.context.directory, step, told, tensors, moments, self.stage.keep)
            except InfimedError as error:
                problem = str(error)
        self.ranks.agree(problem)

    def moments(self) -> dict[str, Any]:
        """The optimizer's tensors by parameter name and entry."""
        return flatten_optimizer(self.optimizer, {parameter: name for name, parameter in self.parameters.items()})

    def _tensors(self) -> dict[str, Any]:
        """What learns, and every buffer of the model that a checkpoint holds."""
        held = self.model.module.state_dict(keep_vars=True)
        buffers = {name: held[name] for name, _ in self.model.module.named_buffers() if name in held}
        return {**buffers, **self.parameters}
