"""The training arguments of transformers, which LLaMA-Factory and ms-swift share."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from infimed_plugins.migration.keys import Key, Settings
from infimed_plugins.migration.recipe import pixels_of_token

STAGE = "training.with.stages[0]"


def each(keys: str, key: Key) -> dict[str, Key]:
    """One fate for several keys; spaces stand between their names."""
    return dict.fromkeys(keys.split(), key)


OPTIMIZERS_OFFERED = "adamw, adafactor, sgd and muon are offered"

ARGUMENTS: dict[str, Key] = {
    "output_dir": Key("differs", "run.directory, run.name", "the last folder is the run's name"),
    "seed": Key("same", "run.seed"),
    "data_seed": Key("none", note="one seed, run.seed, decides everything random"),
    "per_device_train_batch_size": Key(
        "same", "packing.with.batch_size", "packed, it is a factor of rows_per_step, as there"
    ),
    "gradient_accumulation_steps": Key("same", f"{STAGE}.rows_per_step", "over all devices: steps times devices"),
    "num_train_epochs": Key("same", f"{STAGE}.epochs"),
    "max_steps": Key("same", f"{STAGE}.num_steps"),
    "learning_rate": Key("same", f"{STAGE}.learning_rate"),
    "lr_scheduler_type": Key("same", f"{STAGE}.schedule"),
    "lr_scheduler_kwargs": Key("differs", f"{STAGE}.min_learning_rate_ratio", "min_lr, min_lr_rate, power, num_cycles"),
    "warmup_steps": Key("same", f"{STAGE}.warmup"),
    "warmup_ratio": Key("same", f"{STAGE}.warmup"),
    "optim": Key("same", f"{STAGE}.optimizer", "AdamW, Adafactor and SGD; the 8-bit and paged kinds become AdamW"),
    "weight_decay": Key("same", f"{STAGE}.weight_decay"),
    "adam_beta1": Key("same", f"{STAGE}.betas[0]"),
    "adam_beta2": Key("same", f"{STAGE}.betas[1]"),
    "adam_epsilon": Key("same", f"{STAGE}.epsilon"),
    "max_grad_norm": Key("same", f"{STAGE}.max_gradient_norm"),
    "bf16": Key("same", "training.with.precision", "bf16-mixed: what learns is held in fp32"),
    "fp16": Key("differs", "training.with.precision", "bf16-mixed: there is no loss scaling here"),
    "gradient_checkpointing": Key("same", f"{STAGE}.activation_checkpointing"),
    "activation_checkpointing": Key("same", f"{STAGE}.activation_checkpointing"),
    "use_liger_kernel": Key("differs", "training.with.loss_kernel", "the fused loss alone"),
    "deepspeed": Key("differs", "training.with.parallel", "ZeRO 2 and 3 become fsdp2, which shards alike; no offload"),
    "fsdp": Key("differs", "training.with.parallel", "fsdp2"),
    "dataloader_num_workers": Key("same", "training.with.num_workers"),
    "eval_strategy": Key("differs", f"{STAGE}.evaluate.every", "steps; epochs are not counted out, give steps"),
    "eval_steps": Key("same", f"{STAGE}.evaluate.every"),
    "save_steps": Key("differs", f"{STAGE}.save_every", "states to resume from; keep_checkpoints keeps models"),
    "save_total_limit": Key("same", f"{STAGE}.keep"),
    "report_to": Key("same", "report", "tensorboard, wandb and trackio"),
    "hub_token": Key("none", note="a token has no place in a file; set HF_TOKEN where the hub is asked"),
    "neftune_noise_alpha": Key("same", f"{STAGE}.neftune_alpha"),
    "label_smoothing_factor": Key("none", note="no smoothing of labels"),
    "predict_with_generate": Key("by hand", f"{STAGE}.evaluate.benchmarks", "benchmarks are asked while training"),
    "generation_config": Key("by hand", "evaluation.benchmarks[].generation"),
    "generation_max_length": Key("by hand", "evaluation.benchmarks[].generation.max_new_tokens"),
    "torch_compile": Key("none", note="rows of every length would compile anew"),
    "metric_for_best_model": Key("by hand", f"{STAGE}.best_by", "held-out loss, or a benchmark's metric"),
    "load_best_model_at_end": Key("same", f"{STAGE}.end_with", "where there are held-out samples"),
    "eval_on_start": Key("same", f"{STAGE}.evaluate.at_start"),
    **each(
        "do_train do_eval do_predict overwrite_output_dir resume_from_checkpoint ignore_data_skip",
        Key("always", note="a run does what its sections say and goes on where it was stopped"),
    ),
    **each(
        "logging_strategy logging_steps logging_first_step log_level log_level_replica log_on_each_node "
        "include_num_input_tokens_seen disable_tqdm logging_nan_inf_filter prediction_loss_only "
        "include_for_metrics skip_memory_metrics",
        Key("always", note="every step is logged, to the record and the trackers"),
    ),
    **each(
        "average_tokens_across_devices",
        Key("always", note="the loss is over all supervised tokens of a step; loss_weighting says another way"),
    ),
    **each(
        "full_determinism dataloader_in_order remove_unused_columns dataloader_pin_memory label_names "
        "dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context "
        "train_sampling_strategy length_column_name group_by_length use_cache save_strategy save_only_model "
        "save_on_each_node restore_callback_states_from_checkpoint per_device_eval_batch_size "
        "eval_accumulation_steps eval_do_concat_batches eval_use_gather_object batch_eval_metrics "
        "dataloader_drop_last gradient_checkpointing_kwargs activation_checkpointing_kwargs run_name",
        Key("always", note="planned before training, the same for any number of workers and devices"),
    ),
    **each(
        "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout "
        "local_rank accelerator_config",
        Key("always", note="accelerate launch or torchrun sets up the processes"),
    ),
    **each(
        "greater_is_better eval_delay",
        Key("always", note="a metric says itself which way is better; measuring begins with the first interval"),
    ),
    **each(
        "push_to_hub hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision",
        Key("by hand", note="infimed export CHECKPOINT --to hub:OWNER/NAME, when the run is done"),
    ),
    **each("project trackio_space_id trackio_bucket_id trackio_static_space_id",
           Key("by hand", note="settings of trackers are read from the trackers' own environment variables")),
    **each("bf16_full_eval fp16_full_eval", Key("always", note="a model is asked in the type that it is held in")),
    **each("generation_num_beams sortish_sampler", Key("none", note="answers are greedy or sampled, without beams")),
    **each(
        "optim_args optim_target_modules tf32 torch_compile_backend torch_compile_mode torch_empty_cache_steps "
        "auto_find_batch_size liger_kernel_config enable_jit_checkpoint fsdp_config parallelism_config use_cpu debug",
        Key("none", note="no such setting"),
    ),
}  # fmt: skip
"""Every argument of transformers' ``Seq2SeqTrainingArguments``, and those of older versions that files still set."""

SCHEDULES = {
    "linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant",
    "cosine_with_restarts": "cosine-with-restarts", "polynomial": "polynomial",
    "cosine_with_min_lr": "cosine", "warmup_stable_decay": "warmup-stable-decay",
}  # fmt: skip
WHOLE_WEIGHTS = Key("none", note="4 bits of bitsandbytes alone; the file trains with whole weights")


def lora_targets(settings: Settings, name: str) -> list[str] | None:
    """Layers that get adapters, by their last names; ``None`` for every linear one."""
    names = settings.names(name) if settings.get(name) is not None else []
    return None if not names or {"all", "all-linear", "all-router"} & set(names) else names


OTHER_OPTIMIZERS = {"adafactor": "adafactor", "sgd": "sgd"}
OPTIMIZERS = ("adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf")


def shared_fields(settings: Settings) -> tuple[dict[str, Any], dict[str, Key]]:
    """Fields of a ``Recipe`` that both tools take from these arguments, and keys whose value decides their fate."""
    schedule, changed = _schedule_of(settings)
    if "trust_remote_code" in settings.values and not settings.flag("trust_remote_code"):
        changed["trust_remote_code"] = Key("always", note="off there, and here")
    if settings.get("eval_strategy") == "no":
        changed["eval_strategy"] = Key("always", note="off there, and here")
    if settings.get("eval_strategy") == "steps":
        changed["eval_strategy"] = Key("same", f"{STAGE}.evaluate.every", "by eval_steps")
    batch = settings.number("per_device_train_batch_size")
    if batch < 1:
        raise ValueError(f"per_device_train_batch_size: {batch:g} is no batch; give at least 1")
    fields: dict[str, Any] = {
        **schedule,
        "warmup": _warmup_of(settings),
        "seed": int(settings.number("seed")),
        "epochs": settings.number("num_train_epochs"),
        "max_steps": _count(settings, "max_steps"),
        "batch": int(batch),
        "optimizer": OTHER_OPTIMIZERS.get(str(settings.get("optim"))),
        "neftune_alpha": settings.number("neftune_noise_alpha") if settings.get("neftune_noise_alpha") else None,
        "weight_decay": settings.number("weight_decay"),
        "betas": (settings.number("adam_beta1"), settings.number("adam_beta2")),
        "epsilon": settings.number("adam_epsilon"),
        "clip": settings.number("max_grad_norm") or None,
        "kernel": "liger" if settings.flag("enable_liger_kernel") or settings.flag("use_liger_kernel") else None,
        "parallel": _parallel_of(settings),
        "workers": _count(settings, "dataloader_num_workers") or 0,
        "save_every": _count(settings, "save_steps"),
        "keep": _count(settings, "save_total_limit"),
        "evaluate_every": _count(settings, "eval_steps"),
        "evaluate_at_start": settings.flag("eval_on_start"),
        "end_with_best": settings.flag("load_best_model_at_end"),
        "trackers": _trackers(settings),
    }
    if settings.get("eval_strategy") == "epoch":
        changed["eval_strategy"] = Key("by hand", f"{STAGE}.evaluate.every", "epochs are not counted out; give steps")
    return fields, changed | _optimizer_note(settings) | _tracker_note(settings)


def _count(settings: Settings, name: str) -> int | None:
    """A whole number from 1; ``None`` where it is not set, or below (a share of the steps, or -1 for none)."""
    if settings.get(name) is None:
        return None
    number = settings.number(name)
    return int(number) if number >= 1 else None


def _schedule_of(settings: Settings) -> tuple[dict[str, Any], dict[str, Key]]:
    name = str(settings.get("lr_scheduler_type"))
    changed = {}
    if name not in SCHEDULES:
        note = f"there is no schedule '{name}' here; cosine is the nearest"
        changed["lr_scheduler_type"] = Key("differs", f"{STAGE}.schedule", note)
    more = settings.get("lr_scheduler_kwargs")
    kwargs = Settings(
        more if isinstance(more, dict) else {}, {"min_lr_rate": 0, "min_lr": 0, "power": 1, "num_cycles": 1}
    )
    fields: dict[str, Any] = {"schedule": SCHEDULES.get(name, "cosine")}
    peak = settings.number("learning_rate")
    lowest = kwargs.number("min_lr_rate") or (kwargs.number("min_lr") / peak if peak else 0.0)
    fields["min_rate_ratio"] = min(1.0, lowest)
    if name == "polynomial":
        fields["power"] = kwargs.number("power")
    if name == "cosine_with_restarts":
        fields["cycles"] = int(kwargs.number("num_cycles"))
    return fields, changed


def _warmup_of(settings: Settings) -> float:
    """The warm-up, below 1 a share of the steps; ``warmup_steps`` wins over ``warmup_ratio``, as there."""
    if settings.get("lr_scheduler_type") == "constant":
        return 0.0
    steps = settings.number("warmup_steps") if settings.get("warmup_steps") else 0.0
    if steps >= 1.0:
        return float(math.floor(steps))
    return steps or (settings.number("warmup_ratio") if settings.get("warmup_ratio") else 0.0)


def _optimizer_note(settings: Settings) -> dict[str, Key]:
    """What to say of an optimizer that is not offered."""
    name = str(settings.get("optim"))
    if settings.flag("use_muon") or name in OPTIMIZERS or name in OTHER_OPTIMIZERS:
        return {}
    return {"optim": Key("differs", note=f"AdamW in place of '{name}', which is not offered")}


HELD_OUT = Key(
    "same",
    f"data.split, {STAGE}.evaluate.held_out",
    "at random, by the seed; add by: patient so that no patient is on both sides",
)
TRACKERS = ("tensorboard", "wandb", "trackio")


def _trackers(settings: Settings) -> list[str]:
    """The trackers that are named, and that there are here; "all" is every one that is installed."""
    names = settings.names("report_to")
    installed = [name for name in TRACKERS if importlib.util.find_spec(name) is not None]
    return installed if "all" in names else [name for name in TRACKERS if name in names]


def _tracker_note(settings: Settings) -> dict[str, Key]:
    """What became of the trackers that are named."""
    names = [name for name in settings.names("report_to") if name not in ("none", "None")]
    if not names:
        return {"report_to": Key("always", note="no tracker but events.jsonl")}
    others = [name for name in names if name not in (*TRACKERS, "all")]
    if not others:
        return {}
    lacking = f"no tracker {', '.join(others)}"
    return {"report_to": Key("differs", "report", lacking) if _trackers(settings) else Key("none", note=lacking)}


def held_out_share(settings: Settings, name: str) -> tuple[float | None, dict[str, Key]]:
    """The share of samples that a recipe holds out at random; a number of samples is left to the user."""
    share = settings.number(name) if settings.get(name) else 0.0
    if share < 1:
        return share or None, {}
    return None, {name: Key("by hand", "data.split.held_out", "a share of the samples, not their number")}


def directory_and_name(output: Any) -> tuple[str, str]:
    """Where the run lies and what it is called, from a folder's path."""
    path = PurePosixPath(str(output or "runs/converted"))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name).strip("-._") or "converted"
    return (str(path.parent) if str(path.parent) != "." else "runs"), name


def _parallel_of(settings: Settings) -> str | None:
    """How several devices share the work, from ``deepspeed`` or ``fsdp``."""
    if settings.get("fsdp"):
        return "fsdp2"
    shared = str(settings.get("deepspeed") or "")
    return "ddp" if re.search(r"z(ero)?0", shared) else "fsdp2" if shared else None


def weights_of(name: str, words: Sequence[str]) -> list[float]:
    """Weights of data sets.

    Raises:
        ValueError: one is no number.
    """
    return [Settings({name: word}).number(name) for word in words]


def visual_tokens(pixels: float, model: str) -> int | None:
    """Most visual tokens of an image; ``None`` where the model's name does not say what a token covers."""
    side = pixels_of_token(model)
    return None if side is None else max(1, int(pixels) // side)


UNKNOWN_PIXELS = Key(
    "none",
    note="how many pixels a visual token of this model stands for is told neither by its name nor by its files; "
    "set resolution: {use: fixed, with: {max_visual_tokens: N}}",
)
"""What became of a limit of pixels where ``visual_tokens`` gives none."""
