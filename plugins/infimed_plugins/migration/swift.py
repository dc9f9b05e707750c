"""ms-swift's arguments of supervised fine-tuning: what each is here, and the recipe that a command of it says."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from infimed_core import InfimedError
from infimed_plugins.migration.keys import Key, Settings
from infimed_plugins.migration.preferences import objective_of, source_of
from infimed_plugins.migration.recipe import Lora, Recipe
from infimed_plugins.migration.swift_names import old_keys, with_new_names
from infimed_plugins.migration.transformers_arguments import (
    ARGUMENTS,
    HELD_OUT,
    OPTIMIZERS_OFFERED,
    STAGE,
    UNKNOWN_PIXELS,
    WHOLE_WEIGHTS,
    directory_and_name,
    each,
    held_out_share,
    lora_targets,
    shared_fields,
    visual_tokens,
    weights_of,
)

NAME = "ms-swift"
DEFAULTS = {
    "tuner_type": "lora", "lora_rank": 8, "lora_alpha": 32, "lora_dropout": 0.05, "freeze_vit": True,
    "freeze_aligner": True, "per_device_train_batch_size": 1, "num_train_epochs": 3.0, "lr_scheduler_type": "cosine",
    "optim": "adamw_torch_fused", "weight_decay": 0.1, "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0, "seed": 42, "save_steps": 500, "gradient_checkpointing": True, "split_dataset_ratio": 0.0,
    "stopping_strategy": "first_exhausted", "dataloader_num_workers": 1,
}  # fmt: skip

OBJECTIVES = {
    "dpo": {"beta": "beta", "loss": "loss_type", "label_smoothing": "label_smoothing", "sft_weight": "rpo_alpha"},
    "kto": {"beta": "beta", "desirable_weight": "desirable_weight", "undesirable_weight": "undesirable_weight"},
}
"""``rlhf_type`` of `swift rlhf`, with its name of every setting of ours."""

TABLE: dict[str, Key] = ARGUMENTS | {
    "model": Key("same", "model.with.checkpoint", "a name is one of Hugging Face's hub here"),
    "rlhf_type": Key("same", f"{STAGE}.objective", "dpo and kto; the others are refused"),
    "beta": Key("same", f"{STAGE}.objective.with.beta"),
    "loss_type": Key("same", f"{STAGE}.objective.with.loss", "of swift rlhf: sigmoid, hinge and ipo"),
    "label_smoothing": Key("same", f"{STAGE}.objective.with.label_smoothing"),
    "rpo_alpha": Key("same", f"{STAGE}.objective.with.sft_weight"),
    "desirable_weight": Key("same", f"{STAGE}.objective.with.desirable_weight"),
    "undesirable_weight": Key("same", f"{STAGE}.objective.with.undesirable_weight"),
    **each("ref_model ref_adapters ref_model_type ref_model_revision", Key("none", note="the reference is the model "
           "that the stage begins with")),
    "model_revision": Key("same", "model.with.revision"),
    "torch_dtype": Key("same", "training.with.precision, model.with.dtype"),
    "tuner_type": Key("same", f"{STAGE}.trainable, {STAGE}.lora", "full, lora and lora_llm; an adapter stays one, "
                      "except beside weights that learn wholly"),
    "dataset": Key("same", "data.sources", "files, or names of Hugging Face's hub; #N becomes max_samples"),
    "val_dataset": Key("same", f"data.sources, {STAGE}.evaluate.held_out"),
    "split_dataset_ratio": HELD_OUT,
    "interleave_prob": Key("same", f"{STAGE}.mix[].weight"),
    "stopping_strategy": Key("same", f"{STAGE}.mix_epoch"),
    "columns": Key("by hand", "data.sources[].with.columns", "of the readers huggingface, parquet and csv"),
    "max_length": Key("differs", "packing.with.row_tokens", "a longer sample is a counted drop, it is never cut"),
    "truncation_strategy": Key("by hand", f"{STAGE}.overlong", "delete is drop, raise is error; nothing is cut"),
    "packing": Key("same", "packing"),
    "packing_length": Key("same", "packing.with.row_tokens"),
    "padding_free": Key("same", "packing", "best-fit"),
    "max_pixels": Key("differs", "resolution.with.max_visual_tokens", "in visual tokens, of 28 or 32 pixels a side by "
                      "the model's family"),
    "template": Key("by hand", "model.with.chat_template", "the checkpoint's own, or a file"),
    "system": Key("same", "data.sources[].with.system", "of rows that have no system prompt, of JSON files"),
    "loss_scale": Key("same", "model.with.supervise, model.with.prompt_loss", "default, last_round and all"),
    "freeze_llm": Key("same", f"{STAGE}.trainable"),
    "freeze_vit": Key("same", f"{STAGE}.trainable, {STAGE}.lora.groups"),
    "freeze_aligner": Key("same", f"{STAGE}.trainable"),
    "vit_lr": Key("same", f"{STAGE}.learning_rate.vision"),
    "aligner_lr": Key("same", f"{STAGE}.learning_rate.projector"),
    "target_modules": Key("same", f"{STAGE}.lora.targets", "within lora.groups"),
    "lora_rank": Key("same", f"{STAGE}.lora.rank"),
    "lora_alpha": Key("same", f"{STAGE}.lora.alpha"),
    "lora_dropout": Key("same", f"{STAGE}.lora.dropout"),
    "use_rslora": Key("same", f"{STAGE}.lora.rank_stabilised"),
    "use_dora": Key("same", f"{STAGE}.lora.dora"),
    "acc_strategy": Key("same", f"{STAGE}.loss_weighting", "token is token, seq is sample"),
    "attn_impl": Key("always", note="packed attention keeps samples apart: torch's varlen kernel, or flash-attn by "
                     "model.with.kernel"),
    "eval_dataset": Key("by hand", f"{STAGE}.evaluate.benchmarks", "benchmarks by their names here"),
    "max_new_tokens": Key("by hand", "evaluation.benchmarks[].generation.max_new_tokens"),
    "temperature": Key("by hand", "evaluation.benchmarks[].generation.temperature"),
    "top_p": Key("by hand", "evaluation.benchmarks[].generation.top_p"),
    "stop_words": Key("by hand", "evaluation.benchmarks[].generation.stop"),
    "quant_bits": Key("same", "model.with.quantize", "4 bits of bitsandbytes; the adapters are kept beside them"),
    "adapters": Key("same", "model.with.checkpoint, model.with.base", "one adapter, trained further"),
    "use_hf": Key("always", note="names are those of Hugging Face's hub"),
    "external_plugins": Key("by hand", "run.plugins", "a plugin of InfiMed's own"),
    "streaming": Key("always", note="an index of the samples is kept, images are opened when they are needed"),
    "early_stop_interval": Key("same", f"{STAGE}.patience", "where there are held-out samples"),
    "enable_thinking": Key("differs", note="as the checkpoint's template has it"),
    "sequence_parallel_size": Key("none", note="a sample lies on one device"),
    **each("dataset_num_proc lazy_tokenize load_from_cache_file packing_num_proc packing_strategy cached_dataset "
           "cached_val_dataset shuffle_buffer_size download_mode dataset_shuffle val_dataset_shuffle "
           "train_dataloader_shuffle strict ignore_args_error load_args load_data_args add_version check_model "
           "create_checkpoint_symlink safe_serialization max_shard_size max_model_len model_type task_type device_map "
           "max_memory local_repo_path model_kwargs use_logits_to_keep vit_gradient_checkpointing tuner_backend "
           "norm_bbox padding_side template_backend use_chat_template logging_dir ds3_gather_for_generation "
           "resume_only_model use_flash_ckpt enable_npu_model_patch use_swift_lora stream dataset_info "
           "disable_auto_column_mapping remove_unused_columns custom_dataset_info use_ray ray_exp_name device_groups "
           "agent_template", Key("always", note="nothing to set")),
    **each("model_name model_author custom_register_path init_strategy new_special_tokens rope_scaling experts_impl "
           "num_labels problem_type router_aux_loss_coef", Key("none", note="the model is trained as the checkpoint "
           "describes it")),
    **each("is_binary_loss_scale response_prefix add_non_thinking_prefix disable_ignore_empty_think preserve_thinking",
           Key("differs", note="as the checkpoint's template has it")),
    **each("top_k repetition_penalty num_beams logprobs top_logprobs structured_outputs_regex",
           Key("none", note="answers are greedy, or sampled by temperature and top_p")),
    **each("eval_use_evalscope eval_dataset_args eval_limit eval_generation_config extra_eval_args eval_metric",
           Key("by hand", "evaluation", "benchmarks of InfiMed")),
    **each("quant_method hqq_axis bnb_4bit_compute_dtype bnb_4bit_quant_type bnb_4bit_use_double_quant "
           "bnb_4bit_quant_storage", Key("differs", "model.with.quantize", "nf4 with double quantization")),
    **each("freeze_parameters freeze_parameters_regex freeze_parameters_ratio trainable_parameters "
           "trainable_parameters_regex target_regex target_parameters modules_to_save", Key("none", note="whole groups "
           "are trained or frozen: vision, projector, language, embeddings")),
    **each("lora_bias lora_dtype lorap_lr_ratio lora_ga_batch_size lora_ga_iters lora_ga_max_length lora_ga_direction "
           "lora_ga_scale lora_ga_stable_gamma init_weights fourier_n_frequency fourier_scaling boft_block_size "
           "boft_block_num boft_n_butterfly_factor boft_dropout vera_rank vera_projection_prng_key vera_dropout "
           "vera_d_initial adapter_act adapter_length adalora_target_r adalora_init_r adalora_tinit adalora_tfinal "
           "adalora_deltaT adalora_beta1 adalora_beta2 adalora_orth_reg_weight llamapro_num_new_blocks "
           "llamapro_num_groups reft_layer_key reft_layers reft_rank reft_intervention_type reft_args",
           Key("none", note="plain low-rank adapters alone")),
    **each("use_galore galore_target_modules galore_rank galore_update_proj_gap galore_scale galore_proj_type "
           "galore_optim_per_parameter galore_with_embedding galore_quantization galore_proj_quant galore_proj_bits "
           "galore_proj_group_size galore_cos_threshold galore_gamma_proj galore_queue_size lisa_activated_layers "
           "lisa_step_interval", Key("none", note=OPTIMIZERS_OFFERED)),
    "optimizer": Key("same", f"{STAGE}.optimizer", "muon; no other of theirs"),
    **each("enable_dft_loss enable_channel_loss mrl_dims", Key("none", note="cross-entropy")),
    **each("callbacks max_epochs zero_hpz_partition_size deepspeed_autotp_size", Key("none", note="no such setting")),
    **each("swanlab_token swanlab_secret swanlab_webhook_url swanlab_smtp_server swanlab_smtp_port "
           "swanlab_sender_email swanlab_receiver_email", Key("none", note="a secret has no place in a file; it is not "
           "copied")),
    **each("swanlab_project swanlab_workspace swanlab_exp_name swanlab_notification_method swanlab_email_language "
           "swanlab_mode", Key("none", note="no such tracker")),
}  # fmt: skip

TABLE |= old_keys(TABLE)


def recipe_of(values: dict[str, Any], devices: int, file: Path) -> tuple[Recipe, dict[str, Key]]:
    """The recipe, and what became of the keys whose value decides it.

    Raises:
        InfimedError: the command asks for something that cannot be said here.
    """
    values, renamed = with_new_names(values)
    method = values.get("tuner_type", DEFAULTS["tuner_type"])
    settings = Settings(values, DEFAULTS | {"learning_rate": 1e-5 if method == "full" else 1e-4})
    if not settings.get("model"):
        raise InfimedError(f"{file}: --model is missing; name the checkpoint that is trained")
    kwargs = settings.get("lr_scheduler_kwargs")
    if isinstance(kwargs, str):
        settings.values = {**values, "lr_scheduler_kwargs": _json(kwargs, file)}
    objective, system = settings.get("rlhf_type"), settings.get("system")
    if objective is not None and objective not in tuple(OBJECTIVES):
        raise InfimedError(f"{file}: rlhf_type: {objective} is not converted; dpo and kto are")
    fields, changed = shared_fields(settings)
    if settings.get("optimizer") == "muon":
        fields["optimizer"] = {"use": "muon"}
    elif settings.get("optimizer"):
        changed["optimizer"] = Key("none", note=OPTIMIZERS_OFFERED)
    if objective is None and settings.get("loss_type"):
        changed["loss_type"] = Key("none", note="cross-entropy")
    batch, steps = fields["batch"], "gradient_accumulation_steps"
    trainable, lora = _method(settings, str(method), file)
    model, dtype = str(settings.get("model")), str(settings.get("torch_dtype") or "")
    held_out = settings.names("val_dataset")
    weights = weights_of("interleave_prob", _words(settings, "interleave_prob"))
    tags = {"split": "train"} if held_out else {}
    if not _words(settings, "dataset"):
        raise InfimedError(f"{file}: dataset is missing; name the data that it learns from")
    sources = [_source(name, tags, bool(weights), objective) for name in _words(settings, "dataset")]
    names = [source["with"].get("tags", {}).get("dataset") for source in sources]
    mix = [{"where": {"dataset": name}, "weight": weight} for name, weight in zip(names, weights, strict=False)]
    sources += [_source(name, {"split": "held-out"}, False, objective) for name in held_out]
    for source in sources:
        source["with"] |= {"system": str(system)} if system and source["use"] == "llava" else {}
    output = settings.get("output_dir") or f"output/{model.rstrip('/').rsplit('/', 1)[-1]}"
    directory, name = directory_and_name(output)
    length = "packing_length" if settings.get("packing_length") else "max_length"
    longest = int(settings.number(length)) if settings.get(length) else None
    most = visual_tokens(settings.number("max_pixels"), model) if settings.get("max_pixels") else None
    if most is None and settings.get("max_pixels"):
        changed["max_pixels"] = UNKNOWN_PIXELS
    ends = "shortest" if settings.get("stopping_strategy") == "first_exhausted" else "longest"
    scale = settings.get("loss_scale")
    if scale not in (None, "default", "last_round", "all"):
        changed["loss_scale"] = Key("none", note=f"there is no weighting '{scale}' of tokens here")
    newer = settings.get("activation_checkpointing") is not None
    recomputing = "activation_checkpointing" if newer else "gradient_checkpointing"
    if settings.get("quant_bits") and not _is_four_bit(settings):
        changed["quant_bits"] = WHOLE_WEIGHTS
    share, told = held_out_share(settings, "split_dataset_ratio") if not held_out else (None, {})
    changed |= told
    recipe = Recipe(
        **fields,
        held_out=share,
        name=name,
        directory=directory,
        model=model,
        adapter=next(iter(settings.names("adapters")), None),
        quantize="nf4" if _is_four_bit(settings) else None,
        revision=settings.get("model_revision"),
        sources=sources,
        mix=mix or ([{"where": {"split": "train"}}] if held_out else []),
        mix_epoch=ends if mix else None,
        accumulation=int(settings.number(steps)) if settings.get(steps) else max(1, math.ceil(16 / batch / devices)),
        devices=devices,
        learning_rate=_rates(settings, trainable, lora),
        trainable=trainable,
        lora=lora,
        packed=settings.flag("packing") or settings.flag("padding_free"),
        longest=longest,
        max_visual_tokens=most,
        precision="bf16-mixed" if "16" in dtype or settings.flag("bf16") or settings.flag("fp16") else None,
        dtype="bfloat16" if "bfloat16" in dtype or settings.flag("bf16") else None,
        recompute=settings.flag(recomputing),
        loss_weighting="sample" if settings.get("acc_strategy") == "seq" else None,
        patience=int(settings.number("early_stop_interval")) if settings.get("early_stop_interval") else None,
        supervise="last" if scale == "last_round" else None,
        prompt_loss=scale == "all",
        objective=objective_of(objective, settings, OBJECTIVES[objective], longest) if objective else None,
    )
    return recipe, changed | {old: changed[new] for old, new in renamed.items() if new in changed}


def _words(settings: Settings, name: str) -> list[str]:
    """Names of a command line: its words, never parted at commas."""
    value = settings.get(name)
    return [str(word) for word in (value if isinstance(value, list) else [value] if value is not None else [])]


def _json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InfimedError(f"{file}: lr_scheduler_kwargs is no JSON: {error}") from error


def _method(settings: Settings, method: str, file: Path) -> tuple[list[str] | None, Lora | None]:
    free = {
        "vision": not settings.flag("freeze_vit"),
        "projector": not settings.flag("freeze_aligner"),
        "language": not settings.flag("freeze_llm"),
    }
    groups = [group for group, learns in free.items() if learns]
    if method == "full":
        return groups + (["embeddings"] if free["language"] else []), None
    if method not in ("lora", "lora_llm"):
        raise InfimedError(f"{file}: tuner_type: {method} is not offered; full, lora and lora_llm are")
    whole = ["vision", "projector"] if method == "lora_llm" else None
    adapted = ["language"] if whole else groups or ["language"]
    dropout, stabilised = settings.number("lora_dropout"), settings.flag("use_rslora")
    rank, alpha = int(settings.number("lora_rank")), settings.number("lora_alpha")
    dora, targets = settings.flag("use_dora"), lora_targets(settings, "target_modules")
    kept = not whole
    return whole, Lora(rank, alpha, dropout, stabilised, adapted, dora, targets, kept)


def _is_four_bit(settings: Settings) -> bool:
    return str(settings.get("quant_bits")) == "4" and str(settings.get("quant_method") or "bnb") == "bnb"


def _rates(settings: Settings, trainable: list[str] | None, lora: Lora | None) -> float | dict[str, float]:
    """One rate, or one for each group that learns where the vision tower or the projector has its own."""
    rate = settings.number("learning_rate")
    own = {"vision": "vit_lr", "projector": "aligner_lr"}
    if not any(settings.get(key) for key in own.values()):
        return rate
    learning = [*(trainable or ()), *(lora.groups if lora else ())]
    return {group: settings.number(own[group]) if settings.get(own.get(group, "")) else rate for group in learning}


def _source(name: str, tags: dict[str, str], weighted: bool, objective: str | None = None) -> dict[str, Any]:
    """A reader for a file, or for ``name:subset#count`` of the hub."""
    name, _, count = name.partition("#")
    if count and not count.isdecimal():
        raise ValueError(f"dataset: '{name}#{count}': after # stands how many samples are taken")
    more: dict[str, Any] = {"max_samples": int(count)} if count else {}
    subset = ""
    if not re.search(r"\.(jsonl?|csv|tsv|parquet)$", name) and ":" in name:
        name, _, subset = name.partition(":")
    tags = tags | ({"dataset": name} if weighted else {})
    more |= {"tags": tags} if tags else {}
    if objective:
        return source_of(objective, name, {"allow_outside": True, **more})
    if name.endswith((".csv", ".tsv")):
        return {"use": "csv", "with": {"path": name, **more}}
    if name.endswith(".parquet"):
        return {"use": "parquet", "with": {"path": name, **more}}
    if name.endswith((".json", ".jsonl")) or Path(name).is_dir():
        return {"use": "llava", "with": {"path": name, "allow_outside": True, **more}}
    return {"use": "huggingface", "with": {"path": name, **({"name": subset} if subset else {}), **more}}
