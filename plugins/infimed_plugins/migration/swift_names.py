"""Names that ms-swift's arguments had in its versions 2 and 3, and what they are called now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from infimed_plugins.migration.keys import Key

RENAMED = {
    "train_type": "tuner_type",
    "sft_type": "tuner_type",
    "model_id_or_path": "model",
    "ckpt_dir": "adapters",
    "template_type": "template",
    "quantization_bit": "quant_bits",
    "check_model_is_latest": "check_model",
    "batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "use_flash_attn": "attn_impl",
    "bnb_4bit_comp_dtype": "bnb_4bit_compute_dtype",
    "dtype": "torch_dtype",
    "add_output_dir_suffix": "add_version",
    "lora_target_modules": "target_modules",
    "lora_dropout_p": "lora_dropout",
    "lora_lr_ratio": "lorap_lr_ratio",
    "lora_bias_trainable": "lora_bias",
    "dataset_test_ratio": "split_dataset_ratio",
    "custom_train_dataset_path": "dataset",
    "custom_val_dataset_path": "val_dataset",
    "preprocess_num_proc": "dataset_num_proc",
    "only_save_model": "save_only_model",
    "evaluation_strategy": "eval_strategy",
    "vit_use_gc": "vit_gradient_checkpointing",
    "custom_register_path": "external_plugins",
}
"""Old names of version 2 (and train_type and custom_register_path, of version 3) to those of version 4."""

REMOVED = {
    "do_sample": Key("by hand", "evaluation.benchmarks[].generation.temperature", "0 is greedy, and the default"),
    "train_dataset_sample": Key("by hand", "data.sources[].with.max_samples"),
    "val_dataset_sample": Key("by hand", "data.sources[].with.max_samples"),
    "eval_human": Key("none", note="a person is asked nothing"),
    "dataset_name": Key("by hand", "data.sources", "a file, or a name of Hugging Face's hub"),
    "self_cognition_sample": Key("by hand", "data.sources", "samples of what the model is called, as a source"),
}
"""Arguments of version 2 that later versions do not have."""

_VALUES: dict[str, dict[Any, Any]] = {
    "dtype": {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "AUTO": None},
    "lora_target_modules": {"ALL": "all-linear", "DEFAULT": "all-linear", "AUTO": "all-linear"},
    "use_flash_attn": {True: "flash_attn", "true": "flash_attn", False: "sdpa", "false": "sdpa"},
}
"""Values that were renamed with their argument."""


def old_keys(table: Mapping[str, Key]) -> dict[str, Key]:
    """The table's lines for old names: that of the name now, which the note tells."""
    found = dict(REMOVED)
    for old, new in RENAMED.items():
        key = table[new]
        found[old] = replace(key, note="; ".join(part for part in (f"now {new}", key.note) if part))
    return found


def with_new_names(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments by their names of now, and which were renamed; one given by both names keeps the new one."""
    current = {name: value for name, value in values.items() if name not in RENAMED}
    used: dict[str, str] = {}
    for old, new in RENAMED.items():
        if old in values and new not in current:
            value = values[old]
            known = _VALUES.get(old, {})
            current[new] = [_now(known, v) for v in value] if isinstance(value, list) else _now(known, value)
            used[old] = new
    return current, used


def _now(known: Mapping[Any, Any], value: Any) -> Any:
    return known.get(value, value) if isinstance(value, (str, bool)) else value
