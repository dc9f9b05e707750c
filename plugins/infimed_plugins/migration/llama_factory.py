"""LLaMA-Factory's arguments of supervised fine-tuning: what each is here, and the recipe that a file of it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infimed_core import InfimedError, read_named
from infimed_plugins.migration.keys import Key, Settings
from infimed_plugins.migration.preferences import objective_of, source_of
from infimed_plugins.migration.recipe import Lora, Recipe
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

NAME = "LLaMA-Factory"
OTHER_OBJECTIVE = Key("none", note="an objective that is not offered yet")
DEFAULTS = {
    "stage": "sft", "finetuning_type": "lora", "dataset_dir": "data", "cutoff_len": 2048, "lora_rank": 8,
    "lora_dropout": 0.0, "lora_target": "all", "image_max_pixels": 768 * 768, "freeze_vision_tower": True,
    "freeze_multi_modal_projector": True, "mix_strategy": "concat", "learning_rate": 5e-5, "num_train_epochs": 3.0,
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "lr_scheduler_type": "linear",
    "optim": "adamw_torch_fused", "weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0, "seed": 42, "save_steps": 500,
}  # fmt: skip

OBJECTIVES = {
    "dpo": {"beta": "pref_beta", "loss": "pref_loss", "label_smoothing": "dpo_label_smoothing",
            "sft_weight": "pref_ftx"},
    "kto": {"beta": "pref_beta", "desirable_weight": "kto_chosen_weight", "undesirable_weight": "kto_rejected_weight"},
}  # fmt: skip
"""Its stages that learn from judged answers, with its name of every setting of ours."""

TABLE: dict[str, Key] = ARGUMENTS | {
    "stage": Key("differs", f"{STAGE}.objective", "sft, dpo and kto; the other stages are refused"),
    "pref_beta": Key("same", f"{STAGE}.objective.with.beta"),
    "pref_loss": Key("same", f"{STAGE}.objective.with.loss", "sigmoid, hinge and ipo"),
    "pref_ftx": Key("same", f"{STAGE}.objective.with.sft_weight"),
    "dpo_label_smoothing": Key("same", f"{STAGE}.objective.with.label_smoothing"),
    "kto_chosen_weight": Key("same", f"{STAGE}.objective.with.desirable_weight"),
    "kto_rejected_weight": Key("same", f"{STAGE}.objective.with.undesirable_weight"),
    "ref_model": Key("none", note="the reference is the model that the stage begins with"),
    "model_name_or_path": Key("same", "model.with.checkpoint"),
    "model_revision": Key("same", "model.with.revision"),
    "trust_remote_code": Key("by hand", "model.with.trust_remote_code", "left out: code of a checkpoint runs only "
                             "where you write it into the run file yourself"),
    "adapter_name_or_path": Key("same", "model.with.checkpoint, model.with.base", "one adapter, trained further"),
    "create_new_adapter": Key("same", f"{STAGE}.lora.merge", "true merges the adapter that the model comes with first"),
    "dataset": Key("same", "data.sources", "an entry of dataset_info.json each"),
    "eval_dataset": Key("same", f"data.sources, {STAGE}.evaluate.held_out"),
    "dataset_dir": Key("same", "data.sources[].with.path"),
    "media_dir": Key("same", "data.sources[].with.image_root"),
    "template": Key("by hand", "model.with.chat_template", "the checkpoint's own, or a file"),
    "cutoff_len": Key("differs", "packing.with.row_tokens", "a longer sample is a counted drop, it is never cut"),
    "train_on_prompt": Key("same", "model.with.prompt_loss"),
    "mask_history": Key("same", "model.with.supervise", "last"),
    "mix_strategy": Key("same", f"{STAGE}.mix, {STAGE}.mix_epoch"),
    "interleave_probs": Key("same", f"{STAGE}.mix[].weight"),
    "max_samples": Key("same", "data.sources[].with.max_samples"),
    "val_size": HELD_OUT,
    "packing": Key("same", "packing"),
    "neat_packing": Key("same", "packing", "samples of a row never see each other, always"),
    "default_system": Key("same", "data.sources[].with.system", "of rows that have no system prompt"),
    "enable_thinking": Key("differs", note="as the checkpoint's template has it"),
    "finetuning_type": Key("same", f"{STAGE}.trainable, {STAGE}.lora", "full and lora; an adapter stays one"),
    "freeze_vision_tower": Key("same", f"{STAGE}.trainable, {STAGE}.lora.groups"),
    "freeze_multi_modal_projector": Key("same", f"{STAGE}.trainable"),
    "freeze_language_model": Key("same", f"{STAGE}.trainable"),
    "lora_rank": Key("same", f"{STAGE}.lora.rank"),
    "lora_alpha": Key("same", f"{STAGE}.lora.alpha"),
    "lora_dropout": Key("same", f"{STAGE}.lora.dropout"),
    "lora_target": Key("same", f"{STAGE}.lora.targets", "within lora.groups"),
    "use_rslora": Key("same", f"{STAGE}.lora.rank_stabilised"),
    "use_dora": Key("same", f"{STAGE}.lora.dora"),
    "quantization_bit": Key("same", "model.with.quantize", "4 bits of bitsandbytes; the adapters are kept beside them"),
    "pure_bf16": Key("same", "training.with.precision", "bf16"),
    "image_max_pixels": Key("differs", "resolution.with.max_visual_tokens", "in visual tokens, of 28 or 32 pixels "
                            "a side by the model's family"),
    "enable_liger_kernel": Key("differs", "training.with.loss_kernel", "the fused loss alone"),
    "disable_gradient_checkpointing": Key("same", f"{STAGE}.activation_checkpointing"),
    **each("gradient_checkpointing activation_checkpointing",
           Key("always", note="disable_gradient_checkpointing decides")),
    "preprocessing_num_workers": Key("always", note="data.executor uses the cores that there are"),
    "early_stopping_steps": Key("same", f"{STAGE}.patience", "where there are held-out samples"),
    "plot_loss": Key("always", note="the report draws the losses of every stage"),
    "disable_shuffling": Key("none", note="samples are always drawn in a seeded random order"),
    "include_effective_tokens_per_second": Key("always", note="in the table of stages"),
    "flash_attn": Key("always", note="packed attention keeps samples apart: torch's varlen kernel, or flash-attn by "
                      "model.with.kernel"),
    "infer_dtype": Key("by hand", "model.with.dtype"),
    "tokenized_path": Key("always", note="what is made once is kept under the run's directory"),
    "streaming": Key("always", note="an index of the samples is kept, images are opened when they are needed"),
    **each("overwrite_cache preprocessing_batch_size buffer_size data_shared_file_system cache_dir use_fast_tokenizer "
           "low_cpu_mem_usage print_param_status ignore_pad_token_for_loss use_reentrant_gc offload_folder "
           "use_kv_cache split_special_tokens compute_dtype device_map model_max_length block_diag_attn",
           Key("always", note="nothing to set")),
    **each("eval_num_beams num_beams length_penalty repetition_penalty top_k skip_special_tokens do_sample max_length",
           Key("none", note="answers are greedy, or sampled by temperature and top_p")),
    **each("temperature top_p max_new_tokens", Key("by hand", "evaluation.benchmarks[].generation")),
    **each("eval_on_each_dataset compute_accuracy", Key("by hand", f"{STAGE}.evaluate.benchmarks", "benchmarks, each "
           "with its own figures")),
    **each("image_min_pixels image_do_pan_and_scan crop_to_patches", Key("differs", note="as the checkpoint's image "
           "processor has it")),
    **each("video_max_pixels video_min_pixels video_fps video_maxlen use_audio_in_video audio_sampling_rate",
           Key("none", note="no video and no sound; such rows are counted faults")),
    **each("tool_format preserve_thinking", Key("differs", note="as the checkpoint's template has it")),
    **each("resize_vocab add_tokens add_special_tokens new_special_tokens_config init_special_tokens rope_scaling "
           "train_from_scratch upcast_layernorm upcast_lmhead_output moe_aux_loss_coef", Key("none", note="the model "
           "is trained as the checkpoint describes it")),
    **each("shift_attn mixture_of_depths use_unsloth use_unsloth_gc use_v1_kernels use_llama_pro",
           Key("none", note="no such way of training")),
    **each("quantization_method quantization_type double_quantization quantization_device_map",
           Key("differs", "model.with.quantize", "nf4 of bitsandbytes with double quantization")),
    **each("export_dir export_size export_device export_quantization_bit export_quantization_dataset "
           "export_quantization_nsamples export_quantization_maxlen export_legacy_format export_hub_model_id",
           Key("always", note="every stage ends with a checkpoint in the layout of transformers")),
    **each("vllm_maxlen vllm_gpu_util vllm_enforce_eager vllm_max_lora_rank vllm_config sglang_maxlen "
           "sglang_mem_fraction sglang_tp_size sglang_config sglang_lora_backend infer_backend",
           Key("by hand", "models", "a server is a model of its own: {use: openai-compatible}")),
    **each("use_kt kt_cpu_activation kt_weight_path kt_non_expert_weight_path kt_expert_checkpoint_path "
           "kt_use_lora_experts kt_lora_expert_num kt_lora_expert_intermediate_size use_mca use_megatron_bridge "
           "megatron_bridge_args use_hyper_parallel hyper_parallel_args hyper_parallel_cp_size ray_num_workers "
           "ray_init_kwargs master_addr master_port", Key("none", note="one backend: torch with ddp or fsdp2, started "
           "by accelerate launch or torchrun")),
    **each("hf_hub_token ms_hub_token om_hub_token swanlab_api_key swanlab_lark_webhook_url swanlab_lark_secret",
           Key("none", note="a secret has no place in a file; it is not copied")),
    **each("use_swanlab swanlab_project swanlab_workspace swanlab_run_name swanlab_mode swanlab_logdir",
           Key("none", note="no such tracker")),
    **each("freeze_trainable_layers freeze_trainable_modules freeze_extra_modules", Key("none", note="whole groups "
           "are frozen: vision, projector, language, embeddings")),
    **each("additional_target adapter_folder loraplus_lr_ratio loraplus_lr_embedding pissa_init "
           "pissa_iter pissa_convert", Key("none", note="plain low-rank adapters alone; trainable names whole groups "
           "that learn beside them")),
    **each("module_dropout oft_rank oft_block_size oft_target", Key("none", note="adapters are low-rank")),
    **each("use_galore galore_target galore_rank galore_update_interval galore_scale galore_proj_type galore_layerwise "
           "use_apollo apollo_target apollo_rank apollo_update_interval apollo_scale apollo_proj apollo_proj_type "
           "apollo_scale_type apollo_layerwise apollo_scale_front use_badam badam_mode badam_start_block "
           "badam_switch_mode badam_switch_interval badam_update_ratio badam_mask_mode badam_verbose use_adam_mini",
           Key("none", note=OPTIMIZERS_OFFERED)),
    "use_muon": Key("same", f"{STAGE}.optimizer", "muon"),
    **each("pref_bco_weight "
           "simpo_gamma ppo_buffer_size ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards "
           "ref_model_adapters ref_model_quantization_bit reward_model reward_model_adapters "
           "reward_model_quantization_bit reward_model_type ld_alpha use_dft_loss use_asft_loss asft_alpha "
           "use_eaft_loss eaft_alpha", OTHER_OBJECTIVE),
    **each("enable_torch_profiler profiler_output_dir profiler_wait_steps profiler_warmup_steps "
           "profiler_active_steps profiler_repeat profiler_record_shapes profiler_profile_memory profiler_with_stack "
           "profile_modules", Key("none", note="use torch's profiler around infimed-run")),
    **each("fp8 fp8_backend fp8_enable_fsdp_float8_all_gather", Key("none", note="bf16 or fp32")),
}  # fmt: skip


def recipe_of(values: dict[str, Any], devices: int, file: Path) -> tuple[Recipe, dict[str, Key]]:
    """The recipe, and what became of the keys whose value decides it.

    Raises:
        InfimedError: the file asks for something that cannot be said here, such as another stage than ``sft``.
    """
    settings = Settings(values, DEFAULTS)
    method = settings.get("stage")
    if method not in ("sft", *OBJECTIVES):
        raise InfimedError(f"{file}: stage: {method} is not converted; sft, dpo and kto are")
    if not settings.get("model_name_or_path"):
        newer = settings.get("model") and settings.get("train_dataset")
        other = "is of LLaMA-Factory's v1, whose files have other keys; those of v0 are converted"
        missing = "model_name_or_path is missing; name the checkpoint that is trained"
        raise InfimedError(f"{file}: {other if newer else missing}")
    fields, changed = shared_fields(settings)
    fields |= {"optimizer": {"use": "muon"}} if settings.flag("use_muon") else {}
    trainable, lora = _method(settings, file)
    sources, mix = _data(settings)
    directory, name = directory_and_name(settings.get("output_dir"))
    model = str(settings.get("model_name_or_path"))
    most = visual_tokens(settings.number("image_max_pixels"), model)
    if most is None and "image_max_pixels" in settings.values:
        changed["image_max_pixels"] = UNKNOWN_PIXELS
    if settings.get("quantization_bit") and not _is_four_bit(settings):
        changed["quantization_bit"] = WHOLE_WEIGHTS
    longest = int(settings.number("cutoff_len"))
    share, told = held_out_share(settings, "val_size") if not settings.names("eval_dataset") else (None, {})
    recipe = Recipe(
        **fields,
        held_out=share,
        name=name,
        directory=directory,
        model=model,
        adapter=next(iter(settings.names("adapter_name_or_path")), None),
        quantize="nf4" if _is_four_bit(settings) else None,
        revision=None if settings.get("model_revision") in (None, "main") else settings.get("model_revision"),
        sources=sources,
        mix=mix or ([{"where": {"split": "train"}}] if settings.names("eval_dataset") else []),
        mix_epoch=_mix_epoch(str(settings.get("mix_strategy"))) if mix else None,
        accumulation=int(settings.number("gradient_accumulation_steps")),
        devices=devices,
        learning_rate=settings.number("learning_rate"),
        trainable=trainable,
        lora=lora,
        packed=settings.flag("packing") or settings.flag("neat_packing"),
        longest=longest,
        max_visual_tokens=most,
        precision=_precision(settings),
        dtype="bfloat16" if settings.flag("bf16") or settings.flag("pure_bf16") else None,
        recompute=not settings.flag("disable_gradient_checkpointing"),
        patience=int(settings.number("early_stopping_steps")) if settings.get("early_stopping_steps") else None,
        supervise="last" if settings.flag("mask_history") else None,
        prompt_loss=settings.flag("train_on_prompt"),
        objective=objective_of(method, settings, OBJECTIVES[method], longest) if method != "sft" else None,
    )
    _refuse_what_trains_nothing(settings, file)
    return recipe, changed | told


def _refuse_what_trains_nothing(settings: Settings, file: Path) -> None:
    """Files of its other commands, which name a model too, in a line that says what does their work here."""
    if settings.names("dataset"):
        return
    instead = "dataset is missing; name the data that it learns from"
    if settings.get("export_dir"):
        instead = "trains nothing, it exports: infimed export CHECKPOINT --to merged"
    elif settings.names("eval_dataset"):
        instead = "trains nothing, it evaluates: see evaluation in a run file"
    elif not settings.flag("do_train"):
        instead = "trains nothing, as a file for chat or inference: infimed ask CHECKPOINT"
    raise InfimedError(f"{file}: {instead}")


def _method(settings: Settings, file: Path) -> tuple[list[str] | None, Lora | None]:
    method = settings.get("finetuning_type")
    free = {
        "vision": not settings.flag("freeze_vision_tower"),
        "projector": not settings.flag("freeze_multi_modal_projector"),
        "language": not settings.flag("freeze_language_model"),
    }
    groups = [group for group, learns in free.items() if learns]
    if method == "full":
        return groups + (["embeddings"] if free["language"] else []), None
    if method != "lora":
        raise InfimedError(f"{file}: finetuning_type: {method} is not offered; full and lora are")
    rank = int(settings.number("lora_rank"))
    alpha = settings.number("lora_alpha") if settings.get("lora_alpha") else 2.0 * rank
    adapted = [group for group in groups if group != "projector"] or ["language"]
    dropout, stabilised = settings.number("lora_dropout"), settings.flag("use_rslora")
    # A new adapter on one that the model comes with: only merging makes one whole model of both.
    on_another = bool(settings.names("adapter_name_or_path")) and settings.flag("create_new_adapter")
    dora, targets = settings.flag("use_dora"), lora_targets(settings, "lora_target")
    kept = not on_another or _is_four_bit(settings)
    return None, Lora(rank, alpha, dropout, stabilised, adapted, dora, targets, kept)


def _is_four_bit(settings: Settings) -> bool:
    method = str(settings.get("quantization_method") or "bnb")
    return str(settings.get("quantization_bit")) == "4" and method in ("bnb", "bitsandbytes")


def _data(settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The sources, and the entries of a mix with weights where the file has them."""
    names, held_out = settings.names("dataset"), settings.names("eval_dataset")
    weights = weights_of("interleave_probs", settings.names("interleave_probs"))
    entries = _described(Path(str(settings.get("dataset_dir"))))
    sources = [_source(settings, entries, name, _tags(name, bool(held_out), bool(weights))) for name in names]
    sources += [_source(settings, entries, name, {"split": "held-out"}) for name in held_out]
    mix = [{"where": {"dataset": name}, "weight": weight} for name, weight in zip(names, weights, strict=False)]
    return sources, mix


def _tags(name: str, split: bool, weighted: bool) -> dict[str, str]:
    return ({"split": "train"} if split else {}) | ({"dataset": name} if weighted else {})


def _source(settings: Settings, entries: dict[str, Any], name: str, tags: dict[str, str]) -> dict[str, Any]:
    entry = entries.get(name) or {}
    limit = settings.number("max_samples") if settings.get("max_samples") else entry.get("num_samples")
    more: dict[str, Any] = {"max_samples": int(limit)} if limit else {}
    # There some are drawn; here the first are read, and the description's own number is passed over.
    more |= {"ignore": ["num_samples"]} if entry.get("num_samples") and settings.get("stage") == "sft" else {}
    more |= {"tags": tags} if tags else {}
    if "hf_hub_url" in entry:
        subset = {"name": entry["subset"]} if entry.get("subset") else {}
        return {"use": "huggingface", "with": {"path": entry["hf_hub_url"], **subset, **more}}
    folder = str(settings.get("dataset_dir"))
    method = settings.get("stage")
    if method in OBJECTIVES:
        # Without the description a data set's name says nothing of its file.
        path = f"{folder}/{entry.get('file_name') or f'{name}.json'}"
        columns = {_USUAL[key]: column for key, column in (entry.get("columns") or {}).items() if key in _USUAL}
        columns = {ours: column for ours, column in columns.items() if ours != column}
        more |= {"columns": columns} if columns else {}
        more |= {"image_root": str(settings.get("media_dir"))} if settings.get("media_dir") else {}
        return source_of(method, path, more)
    media = {"image_root": str(settings.get("media_dir"))} if settings.get("media_dir") else {}
    media |= {"system": str(settings.get("default_system"))} if settings.get("default_system") else {}
    return {"use": "llava", "with": {"path": f"{folder}/dataset_info.json", "dataset": name, **media, **more}}


_USUAL = {
    "prompt": "instruction", "query": "input", "response": "output", "system": "system", "messages": "conversations",
    "images": "images", "chosen": "chosen", "rejected": "rejected", "kto_tag": "kto_tag",
}  # fmt: skip
"""Its names of what columns hold, with the columns that it takes where nothing is said."""


def _described(folder: Path) -> dict[str, Any]:
    """``dataset_info.json`` where it lies; without it every name is taken for a local one."""
    try:
        entries = json.loads(read_named(folder / "dataset_info.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _mix_epoch(strategy: str) -> str:
    return {"interleave_under": "shortest", "interleave_over": "longest"}.get(strategy, "all")


def _precision(settings: Settings) -> str | None:
    if settings.flag("pure_bf16"):
        return "bf16"
    return "bf16-mixed" if settings.flag("bf16") or settings.flag("fp16") else None
