"""What a fine-tuning recipe says, whatever tool it is for, and the run file that says the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_core import read_named


@dataclass
class Lora:
    """Low-rank adapters, as the run file calls their settings."""

    rank: int
    alpha: float
    dropout: float = 0.0
    rank_stabilised: bool = False
    groups: list[str] = field(default_factory=lambda: ["language"])
    dora: bool = False
    targets: list[str] | None = None
    keep: bool = False
    """Whether the adapters stay beside the weights (merge: false)."""

    def settings(self) -> dict[str, Any]:
        """As they stand in a run file."""
        given = {key: value for key, value in vars(self).items() if value not in (False, None) and key != "keep"}
        return given | ({"merge": False} if self.keep else {})


@dataclass
class Recipe:
    """A recipe of fine-tuning; ``None`` is what the recipe leaves open.

    Attributes:
        sources: readers, as they stand under ``data.sources``; held-out ones carry the tag ``split: held-out``.
        mix: entries of the stage's mix, where sources have weights.
        batch: samples of one device in one forward pass, or packed rows where ``packed``.
        longest: most tokens of a sample, and of a packed row.
        max_visual_tokens: most visual tokens of an image.
    """

    name: str
    directory: str
    model: str
    seed: int
    sources: list[dict[str, Any]]
    epochs: float
    batch: int
    accumulation: int
    devices: int
    learning_rate: float | dict[str, float]
    schedule: str
    warmup: float
    revision: str | None = None
    adapter: str | None = None
    quantize: str | None = None
    max_steps: int | None = None
    mix: list[dict[str, Any]] = field(default_factory=list)
    mix_epoch: str | None = None
    trainable: list[str] | None = None
    lora: Lora | None = None
    packed: bool = False
    longest: int | None = None
    max_visual_tokens: int | None = None
    min_rate_ratio: float = 0.0
    power: float | None = None
    cycles: int | None = None
    optimizer: str | dict[str, str] | None = None
    neftune_alpha: float | None = None
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip: float | None = 1.0
    precision: str | None = None
    dtype: str | None = None
    kernel: str | None = None
    parallel: str | None = None
    workers: int = 0
    recompute: bool = False
    loss_weighting: str | None = None
    save_every: int | None = None
    keep: int | None = None
    evaluate_every: int | None = None
    evaluate_at_start: bool = False
    patience: int | None = None
    end_with_best: bool = False
    held_out: float | None = None
    """Share of the samples that is held out at random, by the seed."""
    trackers: list[str] = field(default_factory=list)
    supervise: str | None = None
    prompt_loss: bool = False
    objective: dict[str, Any] | None = None
    """What is learned from judged answers, as it stands in a stage; none for supervised fine-tuning."""

    def run_file(self) -> dict[str, Any]:
        """The run file's sections, in their order; the same samples a step as the recipe has."""
        model = _given(
            checkpoint=self.adapter or self.model,
            base=self.model if self.adapter else None,
            revision=self.revision,
            dtype=self.dtype,
            quantize=self.quantize,
            supervise=self.supervise,
        )
        model |= {"prompt_loss": True} if self.prompt_loss else {}
        sections: dict[str, Any] = {
            "run": {"name": self.name, "directory": self.directory, "seed": self.seed},
            "data": {"sources": self.sources},
            "model": {"use": "transformers", "with": model},
        }
        if self.held_out is not None:
            sections["data"]["split"] = {"held_out": self.held_out, "seed": self.seed}
        if self.max_visual_tokens is not None:
            sections["resolution"] = {"use": "fixed", "with": {"max_visual_tokens": self.max_visual_tokens}}
        sections["packing"] = self._packing()
        settings = _given(
            num_workers=self.workers or None,
            precision=self.precision,
            parallel=self.parallel,
            loss_kernel=self.kernel,
        )
        sections["training"] = {"use": "staged", "with": {**settings, "stages": [self._stage()]}}
        if self.trackers:
            sections["report"] = [{"use": name} for name in self.trackers]
        return sections

    def _packing(self) -> dict[str, Any]:
        if self.packed or self.objective:
            return {"use": "best-fit", "with": {"row_tokens": self.longest or 8192}}
        # A padded batch is a row: its budget is that of its longest sample, as often as the batch has samples.
        return {"use": "padded", "with": {"row_tokens": self.batch * (self.longest or 8192), "batch_size": self.batch}}

    def _stage(self) -> dict[str, Any]:
        # With an objective a row of the plan is one question.
        rows = self.accumulation * self.devices * (self.batch if self.packed or self.objective else 1)
        length = {"num_steps": self.max_steps} if self.max_steps else {"epochs": self.epochs}
        held_out = self.held_out is not None or any(
            source["with"].get("tags", {}).get("split") == "held-out" for source in self.sources
        )
        evaluate: dict[str, Any] | None = None
        if held_out:
            evaluate = {"every": self.evaluate_every or 500, "held_out": {"split": "held-out"}}
            evaluate |= {"at_start": True} if self.evaluate_at_start else {}
        name = self.objective["use"] if self.objective else "sft"
        stage: dict[str, Any] = {
            "name": name,
            **({"mix": self.mix} if self.mix else {}),
            **_given(objective=self.objective),
        }
        stage |= _given(mix_epoch=self.mix_epoch) | length
        stage |= _given(rows_per_step=rows, trainable=self.trainable)
        if self.lora is not None:
            stage["lora"] = self.lora.settings()
        stage |= _given(
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            power=self.power,
            cycles=self.cycles,
            warmup=self.warmup,
            min_learning_rate_ratio=self.min_rate_ratio or None,
            optimizer=self.optimizer,
            neftune_alpha=self.neftune_alpha,
            weight_decay=self.weight_decay,
            betas=list(self.betas),
            epsilon=self.epsilon,
            loss_weighting=self.loss_weighting,
        )
        stage["max_gradient_norm"] = self.clip
        stage |= _given(
            patience=self.patience if held_out else None,
            end_with="best" if held_out and self.end_with_best else None,
            activation_checkpointing=self.recompute or None,
            save_every=self.save_every,
            keep=self.keep,
            evaluate=evaluate,
        )
        return stage


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def pixels_of_token(model: str) -> int | None:
    """Pixels that one visual token stands for, by a checkpoint's files or its name; ``None`` where neither says it."""
    if (own := _of_checkpoint(Path(model))) is not None:
        return own
    name = model.lower().replace("_", "-")
    if "qwen3-vl" in name or "qwen3.5" in name or "qwen3.6" in name:
        return 32 * 32
    glm = ("glm-4.1v", "glm-4.5v", "glm-4.6v", "glm-5.3-flash")
    if any(known in name for known in ("qwen2-vl", "qwen2.5-vl", "qvq-72b", "mistral-small-3", *glm)):
        return 28 * 28
    return None


def _of_checkpoint(directory: Path) -> int | None:
    """Of a tower with native resolution: the side of a patch, as often as patches are merged into one token."""
    try:
        config = json.loads(read_named(directory / "config.json"))
        vision = config["vision_config"]
        side = vision["patch_size"] * (vision.get("spatial_merge_size") or config["spatial_merge_size"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return side * side if isinstance(side, int) and side > 0 else None
