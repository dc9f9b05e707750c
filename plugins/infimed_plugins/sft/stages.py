"""What a run file may set for one training stage, and the learning rate at each of its steps."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from infimed_core import ComponentRef, Row, Stage
from infimed_plugins.sft.named import makes_rows

HELD_OUT_LOSS = "held_out_loss"
SCHEDULES = ("cosine", "linear", "constant", "warmup-stable-decay", "polynomial", "cosine-with-restarts")
OPTIMIZERS = ("adamw", "adafactor", "sgd")
Rate = float | dict[str, float]
LossWeighting = Literal["token", "sample", "square-root"]


class Lora(Row):
    """Low-rank adapters in linear layers of some groups; merged into the weights at the end of the stage, or kept."""

    rank: int = Field(default=16, ge=1, description="Rank of the matrices.")
    alpha: float | None = Field(
        default=None, gt=0.0, description="They are scaled by alpha / rank; None is twice the rank."
    )
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Dropout before them.")
    rank_stabilised: bool = Field(default=False, description="Scale by alpha / sqrt(rank) instead.")
    dora: bool = Field(default=False, description="Learn the length of each row of weights apart (DoRA).")
    groups: tuple[str, ...] = Field(default=("language",), min_length=1, description="Groups that get adapters.")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear",
        description="Layers of these groups that get adapters: every linear one, or those with these last names "
        "(q_proj, v_proj).",
    )
    merge: bool = Field(
        default=True,
        description="Merge the adapters into the weights when the stage is over; false keeps them beside: the "
        "checkpoint is then a PEFT adapter.",
    )

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Settings of a later version only where they are set: what an earlier one trained without them stands."""
        later = {"dora": False, "targets": "all-linear", "merge": True}
        return {name: value for name, value in serialize(self).items() if name not in later or value != later[name]}


class KeepCheckpoints(Row):
    """Which models of a stage stay beside the one it ends with, each whole and in Hugging Face layout."""

    every: int | None = Field(default=None, ge=1, description="After every so many steps.")
    most: int | None = Field(default=None, ge=1, description="How many of these stay, the newest; null is all.")
    best: bool = Field(default=False, description="The best one by best_by, replaced when there is a better one.")
    optimizer: bool = Field(default=False, description="Keep the optimizer's state beside each, to go on from it.")

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if self.every is None and not self.best:
            raise ValueError("keeps nothing; give every (a number of steps), best: true, or both")
        return self


class ContinueFrom(Row):
    """A checkpoint of an earlier training: its directory, RUN/STAGE, RUN/STAGE@STEP or RUN/STAGE@best."""

    checkpoint: str = Field(min_length=1, description="Its directory, RUN/STAGE, RUN/STAGE@STEP or RUN/STAGE@best.")
    optimizer: bool = Field(default=False, description="Take over the optimizer's state too, which must be beside it.")


class TrainingStage(Stage):
    """A stage of the ``staged`` trainer.

    Groups are those of the model: ``vision``, ``projector``, ``language``, ``embeddings``.
    """

    learning_rate: Rate = Field(default=1e-5, description="Peak learning rate, one for all groups or one per group.")
    trainable: tuple[str, ...] | None = Field(
        default=None,
        description="Parameter groups that learn; null is all, or with lora none but the adapters. The others stay "
        "bit-equal.",
    )
    lora: Lora | None = Field(default=None, description="Train low-rank adapters in place of the weights of a group.")
    warmup: float = Field(
        default=0.03,
        ge=0.0,
        allow_inf_nan=False,
        description="Steps with a rising rate: below 1 a share of them, else their number.",
    )
    schedule: (
        Literal["cosine", "linear", "constant", "warmup-stable-decay", "polynomial", "cosine-with-restarts"]
        | ComponentRef
    ) = Field(
        default="cosine",
        description="Course of the learning rate after the warm-up; another name is a plugin's (inverse-square-root).",
    )
    power: float = Field(default=1.0, gt=0.0, description="Exponent of the schedule polynomial; linear is 1.")
    cycles: int = Field(default=1, ge=1, description="Falls of cosine-with-restarts, each from the peak.")
    decay: float = Field(
        default=0.2, gt=0.0, le=1.0, description="Share of the steps, at the end, in which warmup-stable-decay falls."
    )
    min_learning_rate_ratio: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Last learning rate as a share of the peak."
    )
    optimizer: Literal["adamw", "adafactor", "sgd"] | ComponentRef = Field(
        default="adamw",
        description="adamw; adafactor holds a row and a column of averages for a matrix; sgd holds one momentum "
        "(betas[0]); another name is a plugin's (muon).",
    )
    augmentations: tuple[ComponentRef, ...] = Field(
        default=(), description="What varies the images each time that a sample is drawn (intensity); none by default."
    )
    weight_decay: float = Field(default=0.01, ge=0.0, description="The optimizer's decay; not on biases and norms.")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="AdamW's averaging constants.")
    epsilon: float = Field(default=1e-8, gt=0.0, description="AdamW's epsilon.")
    neftune_alpha: float | None = Field(
        default=None, gt=0.0, description="Uniform noise on embeddings, of alpha / sqrt(length * width) (NEFTune)."
    )
    max_gradient_norm: float | None = Field(default=1.0, gt=0.0, description="Clip to this norm; None never clips.")
    loss_weighting: LossWeighting = Field(
        default="token",
        description="token: every supervised token weighs the same; sample: every sample; square-root: in between.",
    )
    on_bad_loss: Literal["stop", "skip"] = Field(
        default="stop", description="What to do where loss or gradient is not finite, or the loss spikes."
    )
    max_skipped_share: float = Field(
        default=0.5, ge=0.0, le=1.0, description="A stage that skips more than this share of its steps fails."
    )
    spike: float | None = Field(
        default=None, gt=1.0, description="A loss above this many times the mean of the last 50 steps is a bad loss."
    )
    objective: ComponentRef | None = Field(
        default=None, description="What the stage minimises (grpo, dpo ...); null is cross-entropy."
    )
    activation_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass: less memory, about a third more work."
    )
    save_every: int = Field(default=200, ge=1, description="Steps between two resumable states.")
    save_seconds: float = Field(
        default=300.0,
        gt=0.0,
        description="Seconds after which a state is saved too; after a kill that came earlier, a third of that time.",
    )
    keep: int = Field(default=2, ge=1, description="How many resumable states stay on disk.")

    keep_checkpoints: KeepCheckpoints | None = Field(
        default=None, description="Models to keep while the stage trains; stock transformers opens them."
    )
    best_by: str = Field(
        default=HELD_OUT_LOSS,
        description="What best means: held_out_loss, or one of evaluate.benchmarks (its first metric).",
    )
    patience: int | None = Field(
        default=None, ge=1, description="Stop early after so many measurements without a better one by best_by."
    )
    end_with: Literal["last", "best"] = Field(
        default="last", description="Weights that the stage ends with: of its last step, or the best by best_by."
    )
    continue_from: ContinueFrom | None = Field(
        default=None, description="Begin with the weights of an earlier training in place of the model before."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_sample_in_a_row(cls, values: object) -> object:
        """An objective that makes its own rows takes the plan's steps as so many samples."""
        if not isinstance(values, dict) or values.get("packing") is not None or values.get("objective") is None:
            return values
        if makes_rows(ComponentRef.model_validate(values["objective"]).use):
            return {**values, "packing": {"use": "padded", "with": {"batch_size": 1, "row_tokens": 2**30}}}
        return values

    @field_validator("schedule", "optimizer", mode="before")
    @classmethod
    def _named_by_a_plugin(cls, value: object) -> object:
        return {"use": value} if isinstance(value, str) and value not in (*SCHEDULES, *OPTIMIZERS) else value

    @field_validator("augmentations", mode="before")
    @classmethod
    def _named_by_a_list(cls, value: object) -> object:
        return [{"use": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value

    @field_validator("continue_from", mode="before")
    @classmethod
    def _named_by_text(cls, value: object) -> object:
        return {"checkpoint": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _best_is_measured(self) -> Self:
        wanted = {"patience": self.patience, "end_with": self.end_with == "best"}
        wanted["keep_checkpoints.best"] = self.keep_checkpoints is not None and self.keep_checkpoints.best
        for setting in [name for name, is_set in wanted.items() if is_set]:
            if self.evaluate is None:
                raise ValueError(f"{setting} needs evaluate, which says what is measured while the stage trains")
            if self.best_by == HELD_OUT_LOSS and self.evaluate.held_out is None:
                raise ValueError(
                    f"{setting} goes by held_out_loss; give evaluate.held_out, or name a benchmark in best_by"
                )
            if self.best_by not in (HELD_OUT_LOSS, *self.evaluate.benchmarks):
                raise ValueError(f"best_by names '{self.best_by}', which evaluate.benchmarks does not")
        return self

    @model_validator(mode="after")
    def _augments_what_is_encoded(self) -> Self:
        if self.augmentations and self.objective is not None and makes_rows(self.objective.use):
            raise ValueError(f"augmentations vary no image of '{self.objective.use}', which makes its own rows")
        return self

    def fast_settings(self) -> set[str]:
        """Settings that decide no weight: how often something is kept or measured."""
        unseen = {"save_every", "save_seconds", "keep", "max_skipped_share", "keep_checkpoints"}
        measured = self.patience is not None or self.end_with == "best"
        unseen |= {"objective"} if self.objective is None else set()
        unseen |= set() if measured else {"evaluate", "best_by", "patience", "end_with"}
        return unseen if self.continue_from is not None else unseen | {"continue_from"}

    def unset_settings(self) -> set[str]:
        """Settings of a later version that are not set: what an earlier one trained without them stands."""
        later = {
            "optimizer": self.optimizer == "adamw",
            "neftune_alpha": self.neftune_alpha is None,
            "augmentations": not self.augmentations,
        }
        return {name for name, is_unset in later.items() if is_unset}

    @model_validator(mode="after")
    def _rates_are_complete(self) -> Self:
        rates = self.learning_rate if isinstance(self.learning_rate, dict) else {"all": self.learning_rate}
        for group, rate in rates.items():
            if not (math.isfinite(rate) and rate > 0):
                raise ValueError(
                    f"learning_rate of '{group}' must be above 0 (to freeze a group, leave it out of trainable)"
                )
        if isinstance(self.learning_rate, dict):
            learning = (*(self.trainable or ()), *(self.lora.groups if self.lora else ()))
            missing = [group for group in learning if group not in self.learning_rate]
            if missing:
                raise ValueError(f"learning_rate names no rate for the trainable group(s) {', '.join(missing)}")
        both = [group for group in self.trainable or () if self.lora and group in self.lora.groups]
        if both:
            raise ValueError(f"the group '{both[0]}' cannot have adapters and learn wholly; keep one of the two")
        if self.trainable and self.lora is not None and not self.lora.merge:
            raise ValueError(
                f"lora with merge: false keeps adapters alone, and the group '{self.trainable[0]}' would be lost; "
                "leave trainable out and add the group to lora.groups, or set merge: true"
            )
        if self.continue_from is not None and self.lora is not None and not self.lora.merge:
            raise ValueError(
                "continue_from changes the weights beneath the adapters that merge: false keeps; name its checkpoint "
                "in the model section instead"
            )
        if self.trainable == () and self.lora is None:
            raise ValueError("trainable names no group, so nothing would learn; leave it out to train all")
        if self.warmup >= 1.0 and self.warmup != int(self.warmup):
            raise ValueError("warmup must be a share below 1, or a whole number of steps")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self

    def named_groups(self) -> dict[str, tuple[str, ...]]:
        """The parameter groups that each setting names."""
        rates = tuple(self.learning_rate) if isinstance(self.learning_rate, dict) else ()
        lora = self.lora.groups if self.lora else ()
        return {"learning_rate": rates, "trainable": self.trainable or (), "lora.groups": lora}

    def rate_of(self, group: str) -> float | None:
        """Peak learning rate of a group; ``None`` where none is named."""
        return self.learning_rate.get(group) if isinstance(self.learning_rate, dict) else self.learning_rate
