"""A PEFT adapter on its base: opened from a directory, and written so that stock PEFT and vLLM load it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from infimed_core import DataError
from infimed_plugins.checkpoint_files import check_files, one_line
from infimed_plugins.vlm.finding import ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE_NOTE, base_name

ADAPTER = "default"
"""PEFT's own name for the one adapter of a model."""
_PREFIX = "base_model.model."


def has_adapter(module: Any) -> bool:
    """Whether adapters stand beside the weights of a module."""
    return hasattr(module, "peft_config")


def put_adapter(module: Any, directory: Path) -> None:
    """Put the adapter of a directory beside the weights of its base, through stock PEFT.

    Raises:
        DataError: PEFT is not installed, the adapter is of another kind than LoRA, holds no safetensors, or does not
            fit the base.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError:
        raise DataError("not_installed", f"{directory}: an adapter needs peft: pip install 'infimed[lora]'") from None
    if not (directory / ADAPTER_WEIGHTS).is_file():
        text = f"{directory}: holds no {ADAPTER_WEIGHTS}; adapters in other formats are not opened, they could run code"
        raise DataError("no_adapter", text)
    longest = check_files(directory).longest
    required = {parameter: parameter.requires_grad for parameter in module.parameters()}
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            config = PeftConfig.from_pretrained(str(directory), trust_remote_code=False)
            if str(getattr(config.peft_type, "value", config.peft_type)) != "LORA" or config.modules_to_save:
                kind = "modules_to_save" if config.modules_to_save else config.peft_type
                raise DataError(
                    "no_adapter", f"{directory}: an adapter with {kind} is not supported; merge it with PEFT"
                )
            if getattr(config, "megatron_config", None) is not None:
                raise DataError("no_adapter", f"{directory}: an adapter that names a module to import is not opened")
            if max(config.r, *(getattr(config, "rank_pattern", None) or {}).values(), 0) > longest:
                raise DataError("no_adapter", f"{directory}: the rank {config.r} is larger than its tensors")
            PeftModel.from_pretrained(module, str(directory), adapter_name=ADAPTER, trust_remote_code=False)
    except DataError:
        raise
    except Exception as error:  # PEFT and safetensors have errors of their own
        raise DataError("no_adapter", f"{directory}: this adapter does not fit its base: {one_line(error)}") from error
    unfit = [str(warning.message) for warning in told if "missing adapter keys" in str(warning.message)]
    if unfit or len(adapter_tensors(module)) != _num_tensors(directory / ADAPTER_WEIGHTS):
        text = f"{directory}: this adapter does not fit its base: not every tensor of {ADAPTER_WEIGHTS} has its layer"
        raise DataError("no_adapter", text)
    for parameter in module.parameters():
        parameter.requires_grad_(required.get(parameter, True))


def adapter_tensors(module: Any) -> dict[str, Any]:
    """The adapter's tensors under the names that PEFT's files have."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(module, adapter_name=ADAPTER, save_embedding_layers=False)
    return {_PREFIX + name.removeprefix(_PREFIX): tensor for name, tensor in found.items()}


def save_adapter(module: Any, directory: Path, base: Path) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` of a module on top of ``base``."""
    import copy

    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter_tensors(module).items()}
    save_file(tensors, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    name, note = base_name(base, directory)
    config = copy.copy(module.peft_config[ADAPTER])
    config.base_model_name_or_path, config.inference_mode, config.task_type = name, True, "CAUSAL_LM"
    config.save_pretrained(str(directory))
    (directory / BASE_NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def merge_adapter(module: Any) -> None:
    """Merge the adapter into the weights beneath, after which the module is built as its base is."""
    from peft.tuners.lora import LoraLayer

    for name, layer in [pair for pair in module.named_modules() if isinstance(pair[1], LoraLayer)]:
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, layer.get_base_layer())
    del module.peft_config


def describe_adapter(module: Any) -> dict[str, Any]:
    """Rank, scale, targets and size of the adapter, for the record."""
    config = module.peft_config[ADAPTER]
    return {
        "rank": config.r,
        "alpha": config.lora_alpha,
        "dora": bool(config.use_dora),
        "layers": len({name.rsplit(".lora_", 1)[0] for name in adapter_tensors(module)}),
        "parameters": sum(tensor.numel() for tensor in adapter_tensors(module).values()),
    }


def _num_tensors(file: Path) -> int:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as stream:
        return len(stream.keys())


__all__ = [
    "ADAPTER_CONFIG", "adapter_tensors", "describe_adapter", "has_adapter", "merge_adapter", "put_adapter",
    "save_adapter",
]  # fmt: skip
