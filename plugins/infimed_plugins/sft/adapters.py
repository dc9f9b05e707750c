"""LoRA and DoRA: small matrices beside frozen ones through peft, merged when the stage is over, or kept."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from infimed_core import InfimedError, TrainableModel
from infimed_plugins.sft.stages import TrainingStage

if TYPE_CHECKING:
    import torch

ADAPTER = "default"
"""PEFT's name for the one adapter of a model: what is kept loads under it anywhere."""
_QUANTIZED = ("Linear4bit", "Linear8bitLt")
"""Matrices of bitsandbytes."""


@contextmanager
def adapters(model: TrainableModel, stage: TrainingStage, seed: int) -> Iterator[set[str]]:
    """Put adapters into the stage's groups; yields the names of their parameters (none without ``lora``).

    Where the stage ends well they are merged into the weights beneath, and the module is built as it was before; with
    ``merge: false`` they stay beside them. Where it does not end well, the module is as it was before. Their first
    values depend on ``seed`` alone. Adapters that the model before came with are trained further with ``merge:
    false``, else merged first.

    Raises:
        InfimedError: peft is not installed, a group does not exist or has no linear layer, the model's adapter is of
            other settings, or quantized weights would have to learn.
    """
    module: torch.nn.Module = model.module
    keep = stage.lora is not None and not stage.lora.merge
    if not keep and _is_quantized(module):
        raise InfimedError(
            f"stage '{stage.name}': the model's weights are quantized, so adapters alone can learn, beside them; set "
            "lora: {merge: false}, or leave the model's 'quantize' out"
        )
    goes_on = _has_adapters(module)
    if goes_on and not keep:
        _take_out(module, merge=True)
        goes_on = False
    if stage.lora is None:
        yield set()
        return
    targets = _linear_layers(model, stage)
    names = _same_adapters(module, stage, targets) if goes_on else _inject(module, stage, targets, seed)
    own = dict(module.named_parameters())
    before = {name: own[name].detach().clone() for name in names} if goes_on else {}
    is_done = False
    try:
        yield names
        is_done = True
    finally:
        if goes_on and not is_done:
            for name, tensor in before.items():
                own[name].data.copy_(tensor)
        elif not (keep and is_done):
            _take_out(module, merge=is_done)


def _has_adapters(module: torch.nn.Module) -> bool:
    return hasattr(module, "peft_config")


def _is_quantized(module: torch.nn.Module) -> bool:
    return any(type(part).__name__ in _QUANTIZED for part in module.modules())


def _linear_layers(model: TrainableModel, stage: TrainingStage) -> list[str]:
    """Names of the linear layers in the groups that get adapters, as they are without any."""
    import torch

    assert stage.lora is not None
    groups, wanted = model.parameter_groups(), stage.lora.targets
    modules = dict(model.module.named_modules())
    # Merged into a tied output matrix, an adapter would change the embeddings too.
    uses = Counter(id(parameter) for _, parameter in model.module.named_parameters(remove_duplicate=False))
    found: list[str] = []
    for group in stage.lora.groups:
        if group not in groups:
            known = ", ".join(groups)
            raise InfimedError(f"stage '{stage.name}': the model has no group '{group}' for lora (it has: {known})")
        layers = [name.removesuffix(".weight") for name in groups[group] if name.endswith(".weight")]
        kinds = (torch.nn.Linear.__name__, *_QUANTIZED)
        linear = [n for n in layers if type(modules[n]).__name__ in kinds and uses[id(modules[n].weight)] == 1]
        linear = [name.removesuffix(".base_layer") for name in linear if ".lora_" not in name]
        if not linear:
            raise InfimedError(f"stage '{stage.name}': the group '{group}' has no linear layer of its own for lora")
        found += linear
    if wanted == "all-linear":
        return found
    known_names = sorted({name.rpartition(".")[2] for name in found})
    unknown = [target for target in wanted if not any(_is_named(name, target) for name in found)]
    if unknown or not wanted:
        raise InfimedError(
            f"stage '{stage.name}': no linear layer of {', '.join(stage.lora.groups)} is named "
            f"'{unknown[0] if unknown else ''}' (they have: {', '.join(known_names)})"
        )
    return [name for name in found if any(_is_named(name, target) for target in wanted)]


def _is_named(layer: str, target: str) -> bool:
    return layer == target or layer.endswith(f".{target}")


def _inject(module: torch.nn.Module, stage: TrainingStage, targets: list[str], seed: int) -> set[str]:
    import torch

    assert stage.lora is not None
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InfimedError(f"stage '{stage.name}': lora needs peft: pip install 'infimed[lora]'") from None
    settings = stage.lora
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha if settings.alpha is not None else 2 * settings.rank,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        use_rslora=settings.rank_stabilised,
        use_dora=settings.dora,
        target_modules=targets,
        bias="none",
    )
    required = {parameter: parameter.requires_grad for parameter in module.parameters()}
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # peft warns of tied tables beside the layers; they are no target.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        inject_adapter_in_model(config, module, adapter_name=ADAPTER)
    for parameter, was in required.items():
        parameter.requires_grad_(was)
    added = {name: parameter for name, parameter in module.named_parameters() if parameter not in required}
    if not settings.merge:  # what is kept is kept in fp32, as PEFT itself does: bf16 would lose small updates
        for parameter in added.values():
            parameter.data = parameter.data.float()
    layers = {layer for layer, _ in _layers(module)}
    if len(layers) != len(set(targets)):
        raise InfimedError(
            f"stage '{stage.name}': lora found {len(layers)} of {len(set(targets))} layers; this is a fault of ours"
        )
    return set(added)


def _same_adapters(module: Any, stage: TrainingStage, targets: list[str]) -> set[str]:
    """Names of the parameters of the adapters that the model has, where they are what the stage wants.

    Raises:
        InfimedError: they are not.
    """
    import torch

    assert stage.lora is not None
    config, wanted = module.peft_config[ADAPTER], stage.lora
    alpha = wanted.alpha if wanted.alpha is not None else 2 * wanted.rank
    has = {name for name, _ in _layers(module)}
    pairs = {
        "rank": (config.r, wanted.rank),
        "alpha": (config.lora_alpha, alpha),
        "rank_stabilised": (bool(config.use_rslora), wanted.rank_stabilised),
        "dora": (bool(config.use_dora), wanted.dora),
        "layers": (len(has), len(set(targets))),
    }
    other = [f"{name} {there}, not {here}" for name, (there, here) in pairs.items() if there != here]
    if other or has != set(targets):
        raise InfimedError(
            f"stage '{stage.name}': the adapter that the model comes with is of other settings "
            f"({'; '.join(other) or 'other layers'}); give the stage the same, or merge: true, which merges it first"
        )
    for _, layer in _layers(module):
        layer.lora_dropout[ADAPTER] = torch.nn.Dropout(wanted.dropout) if wanted.dropout else torch.nn.Identity()
    prefixes = tuple(f"{layer}.lora_" for layer in has)
    return {name for name, _ in module.named_parameters() if name.startswith(prefixes)}


def _layers(module: torch.nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]


@contextmanager
def merged(model: TrainableModel) -> Iterator[None]:
    """Within: adapters, if there are any, are merged and out of sight; after: they and the weights are as before."""
    module = model.module
    if not _has_adapters(module):
        yield
        return
    import torch

    settings, layers = module.peft_config, _layers(module)
    before = [layer.get_base_layer().weight.detach().clone() for _, layer in layers]
    _take_out(module, merge=True)
    try:
        yield
    finally:
        for (name, layer), weight in zip(layers, before, strict=True):
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, layer)
            layer.merged_adapters.clear()
            with torch.no_grad():
                layer.get_base_layer().weight.copy_(weight)
        module.peft_config = settings


def _take_out(module: torch.nn.Module, merge: bool) -> None:
    for name, layer in _layers(module):
        if merge:
            layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, layer.get_base_layer())
    if _has_adapters(module):
        del module.peft_config
