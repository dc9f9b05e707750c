"""LoRA: small matrices beside frozen ones through peft, merged into them when the stage is over."""

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

ADAPTER = "infimed"


@contextmanager
def adapters(model: TrainableModel, stage: TrainingStage, seed: int) -> Iterator[set[str]]:
    """Put LoRA matrices into the stage's groups; yields the names of their parameters (none without ``lora``).

    Where the stage ends well they are merged into the weights beneath, and the module is built as it was before;
    where it does not, they are taken out without a trace. Their first values depend on ``seed`` alone.

    Raises:
        InfimedError: peft is not installed, or a group does not exist or has no linear layer.
    """
    if stage.lora is None:
        yield set()
        return
    targets = _linear_layers(model, stage)
    names = _inject(model.module, stage, targets, seed)
    merge = False
    try:
        yield names
        merge = True
    finally:
        _take_out(model.module, merge)


def _linear_layers(model: TrainableModel, stage: TrainingStage) -> list[str]:
    """Names of the linear layers in the groups that get adapters."""
    import torch

    assert stage.lora is not None
    groups = model.parameter_groups()
    modules = dict(model.module.named_modules())
    # Merged into a tied output matrix, an adapter would change the embeddings too.
    uses = Counter(id(parameter) for _, parameter in model.module.named_parameters(remove_duplicate=False))
    found: list[str] = []
    for group in stage.lora.groups:
        if group not in groups:
            known = ", ".join(groups)
            raise InfimedError(f"stage '{stage.name}': the model has no group '{group}' for lora (it has: {known})")
        layers = [name.removesuffix(".weight") for name in groups[group] if name.endswith(".weight")]
        linear = [n for n in layers if type(modules[n]) is torch.nn.Linear and uses[id(modules[n].weight)] == 1]
        if not linear:
            raise InfimedError(f"stage '{stage.name}': the group '{group}' has no linear layer of its own for lora")
        found += linear
    return found


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
    names = {name for name, parameter in module.named_parameters() if parameter not in required}
    layers = {layer for layer, _ in _layers(module)}
    if len(layers) != len(set(targets)):
        raise InfimedError(
            f"stage '{stage.name}': lora found {len(layers)} of {len(set(targets))} layers; this is a fault of ours"
        )
    return names


def _layers(module: torch.nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]


@contextmanager
def merged(model: TrainableModel) -> Iterator[None]:
    """Within: adapters, if there are any, are merged and out of sight; after: they and the weights are as before."""
    module = model.module
    if not hasattr(module, "peft_config"):
        yield
        return
    import torch

    settings, layers, before = module.peft_config, _layers(module), []
    del module.peft_config
    for name, layer in layers:
        base = layer.get_base_layer()
        before.append(base.weight.detach().clone())
        with torch.no_grad():
            base.weight += layer.get_delta_weight(ADAPTER).to(base.weight.dtype)
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, base)
    try:
        yield
    finally:
        for (name, layer), weight in zip(layers, before, strict=True):
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, layer)
            with torch.no_grad():
                layer.get_base_layer().weight.copy_(weight)
        module.peft_config = settings


def _take_out(module: torch.nn.Module, merge: bool) -> None:
    for name, layer in _layers(module):
        if merge:
            layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(module, "peft_config"):
        del module.peft_config
