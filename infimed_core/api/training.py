"""Stages, and the parts that train a model through them."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import Field, JsonValue, model_validator

from infimed_core.api.component import Component, ComponentRef, Row, canonical_json
from infimed_core.api.data import MediaLoader, Sample
from infimed_core.api.models import LoadedModel, PackedBatch, TrainableModel


class Batches(Protocol):
    """The rows of a stage. Picklable; any step can be made at any time, in any process, with the same result.

    ``media`` opens the images of its samples.
    """

    media: MediaLoader

    @property
    def plan_hash(self) -> str:
        """Digest of everything that decides which rows come when."""
        ...

    @property
    def num_steps(self) -> int:
        """Optimizer steps in the stage."""
        ...

    def rows(self, step: int) -> list[PackedBatch]:
        """All rows of an optimizer step, over all ranks, in a fixed order (decodes and encodes; CPU work)."""
        ...

    def num_rows(self, step: int) -> int:
        """``len(rows(step))`` without making them."""
        ...

    def row(self, step: int, index: int) -> PackedBatch:
        """One row of a step."""
        ...

    def samples(self, step: int) -> list[tuple[Sample, int | None]]:
        """The samples of a step, each with the most visual tokens of its images."""
        ...


class Measurements(Protocol):
    """What a stage is measured by while it trains (``Stage.evaluate``); the same in every process of the run."""

    @property
    def every(self) -> int:
        """Steps between two measurements; after the last step there is always one."""
        ...

    @property
    def at_start(self) -> bool:
        """Whether there is a measurement before the first step."""
        ...

    @property
    def held_out(self) -> Batches | None:
        """One step of rows whose loss is measured; no stage trains on their samples."""
        ...

    @property
    def benchmarks(self) -> Sequence[str]:
        """Names of the benchmarks that are asked."""
        ...

    def ask(self, model: LoadedModel, rank: int, size: int) -> JsonValue:
        """Ask the model as it is the questions of one rank out of ``size``, and grade its answers."""
        ...

    def summarise(self, shares: Sequence[JsonValue]) -> dict[str, JsonValue]:
        """The figures of each benchmark, from what ``ask`` returned on every rank."""
        ...


@dataclass(frozen=True)
class TrainingContext:
    """What a trainer needs besides model, rows and stage.

    Attributes:
        directory: where the trainer keeps resumable state; survives a kill; removed after the stage.
        seed: seed of everything random in the stage.
        emit: report ``progress``, ``log``, ``evaluation`` or ``message`` (kind, payload).
        stopped: set when the user asked to stop; the trainer writes its state and raises ``KeyboardInterrupt``.
        measurements: what to measure while the stage trains, without an effect on the weights; ``None`` for nothing.
        checkpoints: where models are kept that the trainer saves along the way; stays after the stage.
    """

    directory: Path
    seed: int
    emit: Callable[[str, Mapping[str, Any]], None]
    stopped: threading.Event = field(default_factory=threading.Event)
    measurements: Measurements | None = None
    checkpoints: Path | None = None


class Trainer(Component):
    """Trains a model through stages."""

    @property
    @abstractmethod
    def stage_list(self) -> Sequence[Stage]:
        """The stages in order."""

    def result_identity(self, stage: Stage) -> str:
        """Text of every setting that decides the weights after ``stage``; leave out worker counts and the like."""
        settings = self.model_dump(mode="json", exclude={"stages"})
        settings |= {} if self.version == "1" else {"version": self.version}
        settings |= {"plugin_version": self.plugin_version} if self.plugin_version else {}
        return canonical_json([settings, stage.model_dump(mode="json", exclude={"evaluate"})])

    @abstractmethod
    def train(
        self, model: TrainableModel, batches: Batches, stage: Stage, context: TrainingContext
    ) -> dict[str, JsonValue]:
        """Train ``model`` in place over ``batches``, resuming from ``context.directory`` if state is there.

        Returns facts for the record: steps, tokens, supervised_tokens, images, padding_share, tokens_per_second,
        data_wait_share, flops, loss_first, loss_last, ``curve``: a list of {step, loss, ...}, and ``evaluations``: a
        list of {step, held_out_loss, benchmarks} where ``context.measurements`` asks for them.
        """


class Mix(Row):
    """A share of a stage's data: the samples whose tags match ``where`` (value or list of values per tag)."""

    where: dict[str, str | tuple[str, ...]] = Field(default_factory=dict, description="Tags that samples must have.")
    weight: float = Field(default=1.0, gt=0.0, description="Relative share of what is drawn from here.")

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether every tag named in ``where`` has (one of) the wanted value(s)."""
        return all(
            tags.get(tag) in ((wanted,) if isinstance(wanted, str) else wanted) for tag, wanted in self.where.items()
        )


class StageEvaluation(Row):
    """What a stage is measured by while it trains. The weights that come out do not depend on it.

    A sample that any stage of a run holds out is trained on by none. Samples and questions are a seeded choice, the
    same at every measurement.
    """

    every: int = Field(ge=1, description="Steps between two measurements; after the last step there is always one.")
    at_start: bool = Field(default=False, description="Measure before the first step too.")
    held_out: dict[str, str | tuple[str, ...]] | None = Field(
        default=None, description="Tags of the samples whose loss is measured; no stage trains on them."
    )
    benchmarks: tuple[str, ...] = Field(default=(), description="Benchmarks of the run that are asked, by name.")
    max_samples: int = Field(
        default=64, ge=1, description="Most samples held out that are measured, and most questions of each benchmark."
    )

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if self.held_out is None and not self.benchmarks:
            raise ValueError("measures nothing; give held_out (tags of samples), benchmarks (names), or both")
        return self


class Stage(Row):
    """One training stage; a trainer's own stage class adds its settings (learning rate ...).

    The data are every sample that some ``mix`` entry matches (all samples where ``mix`` is empty), drawn with the
    entries' weights. The length is one of ``num_samples`` (drawn, with repetition after a full pass), ``num_tokens``
    or ``num_steps``, else ``epochs``. ``resolution`` and ``packing`` override the run file's sections for this stage.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$", description="Name of the stage.")
    mix: tuple[Mix, ...] = ()
    mix_by: Literal["samples", "tokens"] = Field(
        default="samples", description="What the weights of the mix are shares of: samples drawn, or their tokens."
    )
    mix_epoch: Literal["all", "shortest", "longest"] = Field(
        default="all",
        description="How long one epoch of a mix is. all: as many draws as there are samples; shortest: until the "
        "first entry is seen whole, so that nothing repeats; longest: until the last entry is seen whole.",
    )
    epochs: float = Field(default=1.0, gt=0.0, description="How often each sample is seen, where no length is set.")
    num_samples: int | None = Field(default=None, ge=1, description="Length in samples drawn.")
    num_tokens: int | None = Field(default=None, ge=1, description="Length in tokens, as near as whole samples come.")
    num_steps: int | None = Field(default=None, ge=1, description="Length in optimizer steps.")
    rows_per_step: int = Field(default=1, ge=1, description="Packed rows in one optimizer step, over all ranks.")
    samples_per_step: int | None = Field(
        default=None, ge=1, exclude_if=lambda n: n is None, description="Samples in a step, in place of rows_per_step."
    )
    overlong: Literal["drop", "error"] = Field(
        default="drop",
        description="What happens to a sample that fits no row after its images were shrunk: a counted drop, or an "
        "error before training starts.",
    )
    resolution: ComponentRef | None = None
    packing: ComponentRef | None = None
    curriculum: ComponentRef | None = Field(
        default=None, exclude_if=lambda ref: ref is None, description="What says which samples come first (by-length)."
    )
    evaluate: StageEvaluation | None = Field(
        default=None, description="What is measured while the stage trains: a loss on held-out samples, benchmarks."
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [name for name in ("num_samples", "num_tokens", "num_steps") if getattr(self, name) is not None]
        given += ["epochs"] if given and self.epochs != 1.0 else []
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are two lengths of one stage; keep one")
        if self.samples_per_step is not None and self.rows_per_step != 1:
            raise ValueError("rows_per_step and samples_per_step are two sizes of one step; keep one")
        return self
