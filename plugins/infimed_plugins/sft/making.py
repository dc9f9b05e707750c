"""A stage whose objective makes the rows: what it may use, and its steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infimed_core import (
    Batches,
    MediaLoader,
    Objective,
    PackedBatch,
    Sample,
    TrainableModel,
    TrainingContext,
    canonical_json,
    digest,
    write_atomically,
)
from infimed_plugins.sft.at_rest import at_rest
from infimed_plugins.sft.loss import token_log_probabilities
from infimed_plugins.sft.ranks import Ranks
from infimed_plugins.sft.reward_watch import told_hollow
from infimed_plugins.sft.row_losses import tensors_of
from infimed_plugins.sft.sharding import reshard, whole_weights

LINES = "rollouts.jsonl"
"""What an objective tells of its rows, beside the checkpoints that a stage keeps."""
SHOWN = 3
"""Questions of the first and of the last step that stand in the record."""


@dataclass
class Updates:
    """The plan of a stage as its optimizer steps: ``num_updates`` for each step of the plan."""

    plan: Batches
    objective: Objective
    made: list[int] = field(default_factory=list)
    """Rows of each update of the step that was made last, over all ranks."""

    @cached_property
    def plan_hash(self) -> str:
        """Digest of everything that decides what the model is asked when."""
        settings = self.objective.model_dump(mode="json", by_alias=True)
        return digest("objective", 1, self.plan.plan_hash, canonical_json(settings))

    def __post_init__(self) -> None:
        self.media: MediaLoader = self.plan.media

    @property
    def num_steps(self) -> int:
        """Optimizer steps."""
        return self.plan.num_steps * self.objective.num_updates

    def num_rows(self, step: int) -> int:
        """Rows of the step that is being done."""
        return self.made[step % self.objective.num_updates] if self.made else 0

    def rows(self, step: int) -> list[PackedBatch]:
        """Those of the plan: samples as they are."""
        return self.plan.rows(step // self.objective.num_updates)

    def row(self, step: int, index: int) -> PackedBatch:
        """One row of the plan."""
        return self.plan.row(step // self.objective.num_updates, index)

    def samples(self, step: int) -> list[tuple[Sample, int | None]]:
        """The samples of a step of the plan."""
        return self.plan.samples(step // self.objective.num_updates)


class RowMaker:
    """Makes the rows of each step by the objective, in step with training: rollouts need the weights as they are.

    Attributes:
        facts: what the objective told of the step, for its first update; empty for the others.
    """

    def __init__(
        self,
        objective: Objective,
        model: TrainableModel,
        updates: Updates,
        context: TrainingContext,
        ranks: Ranks,
        parameters: Mapping[str, Any],
        passing: tuple[Callable[[Callable[[], Any]], Any], bool, Callable[[], Any]],
    ) -> None:
        self.model, self.media, self.seed = model, updates.media, context.seed
        self.rank, self.size = ranks.rank, ranks.size
        self.facts: dict[str, JsonValue] = {}
        self.waited = 0.0
        self._objective, self._updates, self._ranks, self._parameters = objective, updates, ranks, parameters
        self._forward, self._sharded, self._arithmetic = passing
        self._reference: dict[str, Any] = {}
        self._whole = ExitStack()
        self._lines = (context.checkpoints or context.directory / "kept") / LINES

    def begin(self) -> None:
        """Keep the weights as they are for what asks for the reference."""
        if self._objective.uses_reference:
            self._reference = {name: tensor.detach().clone() for name, tensor in self._parameters.items()}

    def steps(self, start: int) -> Iterator[tuple[int, list[tuple[int, PackedBatch]]]]:
        """Each optimizer step from ``start``, the first of a step of the plan, with this rank's rows."""
        each = self._objective.num_updates
        self._forget_lines(start // each)
        for step in range(start // each, self._updates.plan.num_steps):
            started = time.perf_counter()
            self._gather_weights()
            with self._whole:
                made = self._objective.make_rows(step, self._updates.plan.samples(step), self)
            counts = self._ranks.gather([len(rows) for rows in made.updates])
            self._updates.made = [max(column) * self.size for column in zip(*counts, strict=True)]
            self._write([line for part in self._ranks.gather(made.lines) for line in part])
            self.facts = made.facts
            self.waited += time.perf_counter() - started
            for update, rows in enumerate(made.updates):
                yield step * each + update, [(place * self.size + self.rank, row) for place, row in enumerate(rows)]
                self.facts = {}

    def summary(
        self, curve: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]], say: Callable[[str], None]
    ) -> dict[str, JsonValue]:
        """For the record: where all rollouts are, some of the first and of the last step, and what is doubtful."""
        facts: dict[str, JsonValue] = {}
        if self._lines.is_file():
            lines = [json.loads(line) for line in _whole_lines(self._lines)]
            ends = [[line for line in lines if line["step"] == lines[place]["step"]] for place in (0, -1)]
            shown = [
                line for end in (ends if lines[0]["step"] != lines[-1]["step"] else ends[:1]) for line in end[:SHOWN]
            ]
            facts["rollouts_file"] = "/".join(self._lines.parts[-3:])
            facts["rollouts_shown"] = shown
        if warning := told_hollow(curve, evaluations):
            say(warning)
            facts["reward_warning"] = warning
        return facts

    # -- what an objective may use -------------------------------------------------------------------------------

    def gather(self, value: Any) -> list[Any]:
        """See ``StageAccess``."""
        return self._ranks.gather(value)

    def log_probabilities(self, rows: Sequence[PackedBatch], reference: bool) -> list[NDArray[np.float32]]:
        """See ``StageAccess``."""
        self._whole.close()
        most = max(self._ranks.gather(len(rows))) if self._sharded else len(rows)
        found: list[NDArray[np.float32]] = []
        with at_rest(self.model.module), self._arithmetic(), self._weights(reference):
            for number in range(most):
                if number < len(rows):
                    found.append(self._of_row(rows[number], self._objective.targets(rows[number])[0]))
                else:  # the others gather the layers in this round: take part
                    self._of_row(self._updates.row(0, 0), np.zeros(1, dtype=np.int64))
            if self._sharded:
                reshard(self._forward)
        self._gather_weights()
        return found

    def _gather_weights(self) -> None:
        """Where each process holds a share, let it hold the whole model until ``_whole`` is closed: it will draw."""
        if self._objective.draws:
            self._whole.enter_context(whole_weights(self._forward, self._sharded))

    def _of_row(self, row: PackedBatch, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        head = self.model.output_embedding()
        place, labels, _ = tensors_of(row, positions, np.zeros(len(positions)), next(iter(head.parameters())).device)

        def compute() -> Any:
            hidden = self.model.hidden_states(row).index_select(0, place)
            return token_log_probabilities(hidden, head, labels, self._objective.sampling_temperature)[0]

        found: NDArray[np.float32] = self._forward(compute).cpu().numpy()
        return found

    @contextmanager
    def _weights(self, reference: bool) -> Iterator[None]:
        """With ``reference``, what learns is as the stage began within this; afterwards bit-equal to before."""
        if not reference:
            yield
            return
        held = {name: tensor.detach().clone() for name, tensor in self._parameters.items()}
        self._put(self._reference)
        try:
            yield
        finally:
            self._put(held)

    def _put(self, tensors: Mapping[str, Any]) -> None:
        import torch

        with torch.no_grad():
            for name, tensor in tensors.items():
                self._parameters[name].copy_(tensor)

    # -- lines for people ----------------------------------------------------------------------------------------

    def _forget_lines(self, step: int) -> None:
        """Drop what a run that was killed told of steps that come again."""
        if self.rank or not self._lines.is_file():
            return
        lines = [json.loads(line) for line in _whole_lines(self._lines)]
        text = "".join(json.dumps(line) + "\n" for line in lines if line.get("step", 0) <= step)
        write_atomically(self._lines, text)

    def _write(self, lines: Sequence[Mapping[str, JsonValue]]) -> None:
        if self.rank or not lines:
            return
        self._lines.parent.mkdir(parents=True, exist_ok=True)
        with self._lines.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _whole_lines(path: Path) -> list[str]:
    """Without a last line that a kill cut off."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()
