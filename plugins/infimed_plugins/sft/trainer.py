"""The ``staged`` trainer: the same samples give the same gradient however they are split, and a kill loses nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator

from infimed_core import (
    Batches,
    Component,
    InfimedError,
    Model,
    Stage,
    TrainableModel,
    Trainer,
    TrainingContext,
    canonical_json,
)
from infimed_plugins.sft.kernels import MODULES, is_installed
from infimed_plugins.sft.named import augmentations_of, components_of, objective_of
from infimed_plugins.sft.stages import TrainingStage


class StagedTrainer(Trainer):
    """Trains through ``stages``, one after the other, on packed rows."""

    packages: ClassVar[Mapping[str, str]] = dict.fromkeys(("accelerate", "safetensors", "torch"), "infimed[train]")

    stages: tuple[TrainingStage, ...] = Field(min_length=1, description="The stages in order.")
    num_workers: int = Field(
        default=0, ge=0, description="Processes that prepare rows; 0 prepares them in a thread of this process."
    )
    rows_ahead: int = Field(default=4, ge=1, description="Rows that the thread, or each process, keeps ready.")
    precision: Literal["auto", "fp32", "bf16-mixed", "bf16"] = Field(
        default="auto",
        description="bf16-mixed: fp32 weights, bf16 arithmetic; bf16: bf16 weights too, which lose updates below "
        "about a 500th of a weight; auto: bf16-mixed on CUDA, else fp32.",
    )
    parallel: Literal["ddp", "fsdp2"] = Field(
        default="ddp",
        description="With several processes: ddp, each holds the whole model; fsdp2, each holds a share of weights, "
        "gradients and moments. The weights that come out are the same.",
    )
    loss_kernel: Literal["auto", "chunked", "liger", "cut-cross-entropy"] = Field(
        default="auto",
        description="What computes output matrix and loss; auto: Liger or cut-cross-entropy on CUDA where installed, "
        "else chunks of our own.",
    )
    peak_flops: float | None = Field(
        default=None, gt=0.0, description="Operations per second of a device, for MFU; by its name where not given."
    )

    until: str | None = Field(
        default=None,
        pattern=r"^([a-z0-9][a-z0-9_-]*:)?[0-9]+$",
        description="Stop the run, to go on later, after this step of every stage, or of one: STAGE:STEP.",
    )

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, stages: tuple[TrainingStage, ...]) -> tuple[TrainingStage, ...]:
        names = [stage.name for stage in stages]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two stages have the name '{repeated[0]}'")
        return stages

    @property
    def stage_list(self) -> Sequence[Stage]:
        """The stages in order."""
        return self.stages

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Parameter groups that the run's model does not have, and packages of a kernel or of LoRA that are missing."""
        model = run.get("model")
        known = type(model).group_names if isinstance(model, Model) else ()
        found = {}
        if self.loss_kernel in MODULES and not is_installed(MODULES[self.loss_kernel]):
            package = "liger-kernel" if self.loss_kernel == "liger" else self.loss_kernel
            found["loss_kernel"] = f"'{self.loss_kernel}' is not installed; pip install '{package}', or take auto"
        for index, stage in enumerate(self.stages):
            if stage.continue_from is not None:
                from infimed_plugins.sft.continuing import source_of

                try:
                    source_of(stage)
                except InfimedError as error:
                    found[f"stages.{index}.continue_from"] = str(error).partition(": continue_from: ")[2]
        for index, stage in enumerate(() if is_installed("peft") else self.stages):
            if stage.lora is not None:
                found[f"stages.{index}.lora"] = "lora needs peft, which is not installed: pip install 'infimed[lora]'"
        for index, stage in enumerate(self.stages if known else ()):
            for setting, groups in stage.named_groups().items():
                unknown = [group for group in groups if group not in known]
                if unknown:
                    close = [name for group in unknown for name in difflib.get_close_matches(group, known, n=1)]
                    hint = f"did you mean {' and '.join(map(repr, dict.fromkeys(close)))}? " if close else ""
                    named = " and ".join(map(repr, unknown))
                    message = f"the model has no parameter group {named}; {hint}it has: {', '.join(known)}"
                    found[f"stages.{index}.{setting}"] = message
        return found

    def result_identity(self, stage: Stage) -> str:
        """Without what decides only how fast the weights come, or how often their state is written."""
        own = self.model_dump(
            mode="json", exclude={"stages", "num_workers", "rows_ahead", "parallel", "peak_flops", "until"}
        )
        own |= {} if self.version == "1" else {"version": self.version}
        assert isinstance(stage, TrainingStage)
        settings = stage.model_dump(mode="json", exclude=stage.fast_settings() | stage.unset_settings())
        from infimed_plugins.sft.continuing import source_identity

        source = {"source": identity} if (identity := source_identity(stage)) else {}
        source |= {setting: component.identity() for setting, component in components_of(stage)}
        return canonical_json([own, settings | source | {"trainable": settings["trainable"] or []}])

    def _stop_after(self, stage: Stage) -> int | None:
        name, _, step = (self.until or "").rpartition(":")
        return int(step) if step and name in ("", stage.name) else None

    def train(
        self, model: TrainableModel, batches: Batches, stage: Stage, context: TrainingContext
    ) -> dict[str, JsonValue]:
        """Train ``model`` in place through ``stage``; see ``Trainer.train``.

        Raises:
            InfimedError: a setting does not fit the model, a bad loss under ``on_bad_loss: stop``, or a state
                that could not be written.
            KeyboardInterrupt: the user asked to stop; the state is on disk.
        """
        from infimed_plugins.sft.adapters import adapters
        from infimed_plugins.sft.augmenting import augmented
        from infimed_plugins.sft.failures import check_start
        from infimed_plugins.sft.loop import Loop, LoopSettings
        from infimed_plugins.sft.noise import noisy_embeddings
        from infimed_plugins.sft.parameters import in_precision, only_trainable, trainable_parameters
        from infimed_plugins.sft.ranks import Ranks
        from infimed_plugins.sft.sharding import sharded

        objective = objective_of(stage)
        if not isinstance(stage, TrainingStage):
            raise InfimedError(f"stage '{stage.name}' is not a stage of the 'staged' trainer")
        check_start(stage.name, model.module)
        batches = augmented(batches, augmentations_of(stage), context.seed)
        ranks = Ranks()
        if ranks.size > 1 and ranks.device.type == "cuda":
            model.module.to(ranks.device)
        on_cuda = next(model.module.parameters()).device.type == "cuda"
        precision = self.precision if self.precision != "auto" else ("bf16-mixed" if on_cuda else "fp32")
        settings = LoopSettings(
            precision, self.num_workers, self.rows_ahead, self.loss_kernel, self.peak_flops, self._stop_after(stage)
        )
        with adapters(model, stage, context.seed) as added:
            chosen = trainable_parameters(model, stage, added)
            with (
                only_trainable(model, chosen),
                in_precision(model, precision),
                _training_mode(model, stage),
                noisy_embeddings(model, stage),
            ):
                if ranks.size == 1 or self.parallel == "ddp":
                    return Loop(settings, model, batches, stage, context, chosen, ranks, None, objective).run()
                if stage.optimizer == "adafactor":
                    raise InfimedError(
                        f"stage '{stage.name}': adafactor needs whole matrices; use parallel: ddp, or adamw"
                    )
                with sharded(model, ranks, precision) as forward:
                    chosen = trainable_parameters(model, stage, added)  # the shares of what learns
                    return Loop(settings, model, batches, stage, context, chosen, ranks, forward, objective).run()


@contextmanager
def _training_mode(model: TrainableModel, stage: TrainingStage) -> Iterator[None]:
    module: Any = model.module
    was_training = module.training
    # transformers renames gradient_checkpointing_* to activation_checkpointing_*; the old name warns.
    kind = "activation" if hasattr(module, "activation_checkpointing_enable") else "gradient"
    if stage.activation_checkpointing and not hasattr(module, f"{kind}_checkpointing_enable"):
        raise InfimedError(f"stage '{stage.name}': this model cannot do activation_checkpointing; set it to false")
    module.train()
    if stage.activation_checkpointing:
        options = {f"{kind}_checkpointing_kwargs": {"use_reentrant": False}}
        getattr(module, f"{kind}_checkpointing_enable")(**options)
    try:
        yield
    finally:
        if stage.activation_checkpointing:
            getattr(module, f"{kind}_checkpointing_disable")()
        module.train(was_training)
