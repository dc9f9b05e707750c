"""Which parameters learn in a stage, at which rate, and the optimizer over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from infimed_core import ComponentError, InfimedError, Optimizer, TrainableModel
from infimed_plugins.sft.named import optimizer_of
from infimed_plugins.sft.stages import TrainingStage

if TYPE_CHECKING:
    import torch


def grouped_parameters(model: TrainableModel) -> dict[str, dict[str, Any]]:
    """Parameters of the model by group and name; a tied tensor appears once, in the first group that names it.

    Raises:
        InfimedError: a parameter is in no group, or a group names one that does not exist.
    """
    named = dict(model.module.named_parameters(remove_duplicate=False))
    groups: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()
    for group, names in model.parameter_groups().items():
        groups[group] = {}
        for name in names:
            if name not in named:
                raise InfimedError(f"the model's group '{group}' names a parameter that does not exist: {name}")
            if id(named[name]) not in seen:
                seen.add(id(named[name]))
                groups[group][name] = named[name]
    orphans = [name for name, parameter in named.items() if id(parameter) not in seen]
    if orphans:
        raise InfimedError(f"the model puts {len(orphans)} parameter(s) in no group, the first is {orphans[0]}")
    return groups


def trainable_parameters(
    model: TrainableModel,
    stage: TrainingStage,
    adapters: set[str] = frozenset(),  # type: ignore[assignment]
) -> dict[str, dict[str, Any]]:
    """The part of ``grouped_parameters`` that learns in this stage; ``adapters`` are the names of LoRA's parameters.

    A tensor that a frozen group shares (tied embeddings) stays frozen: a frozen group never moves.

    Raises:
        InfimedError: ``trainable`` names an unknown group, a group has no rate, or nothing is left to train.
    """
    groups = grouped_parameters(model)
    everything = () if stage.lora else tuple(group for group, members in groups.items() if members)
    wanted = stage.trainable or everything
    unknown = [group for group in wanted if group not in groups]
    if unknown:
        known = ", ".join(groups)
        raise InfimedError(f"stage '{stage.name}': the model has no parameter group '{unknown[0]}' (it has: {known})")
    named = dict(model.module.named_parameters(remove_duplicate=False))
    frozen = {
        id(named[name]) for group, names in model.parameter_groups().items() if group not in wanted for name in names
    }
    chosen = {
        group: {
            name: parameter
            for name, parameter in groups[group].items()
            if name in adapters or (group in wanted and id(parameter) not in frozen)
        }
        for group in groups
        if group in (*wanted, *(stage.lora.groups if stage.lora else ()))
    }
    for group in chosen:
        if chosen[group] and stage.rate_of(group) is None:
            raise InfimedError(f"stage '{stage.name}': learning_rate names no rate for the group '{group}'")
    if not any(chosen.values()):
        raise InfimedError(f"stage '{stage.name}': no parameter is left to train in {', '.join(wanted)}")
    return chosen


@contextmanager
def only_trainable(model: TrainableModel, chosen: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Freeze everything that is not chosen; afterwards every parameter is as it was and no gradient is left."""
    learning = {id(parameter) for members in chosen.values() for parameter in members.values()}
    before = {parameter: parameter.requires_grad for parameter in model.module.parameters()}
    for parameter in before:
        parameter.requires_grad_(id(parameter) in learning)
    try:
        yield
    finally:
        for parameter, required in before.items():
            parameter.requires_grad_(required)
            parameter.grad = None


@contextmanager
def in_precision(model: TrainableModel, precision: str) -> Iterator[None]:
    """Hold the weights in the type that ``precision`` wants; afterwards each has the type it had.

    In ``bf16-mixed`` what learns is held in fp32 and what is frozen stays as it is. Frozen weights come back
    bit-equal.
    """
    import torch

    wanted = torch.bfloat16 if precision == "bf16" else torch.float32
    before = {}
    for parameter in model.module.parameters():
        if not parameter.is_floating_point():
            continue  # quantized: its numbers are codes
        if parameter.dtype != wanted and (parameter.requires_grad or precision != "bf16-mixed"):
            before[parameter] = parameter.dtype if parameter.requires_grad else parameter.data
            parameter.data = parameter.data.to(wanted)
    try:
        yield
    finally:
        for parameter, original in before.items():
            parameter.data = original if isinstance(original, torch.Tensor) else parameter.data.to(original)


def make_optimizer(chosen: dict[str, dict[str, Any]], stage: TrainingStage) -> torch.optim.Optimizer:
    """The stage's optimizer, one group of parameters per rate and decay; each keeps its ``peak`` rate and ``name``.

    Tensors with one dimension (biases, norms) do not decay.
    """
    import torch

    groups = []
    for group, members in chosen.items():
        peak = stage.rate_of(group)
        for decays in (True, False):
            parameters = [parameter for parameter in members.values() if (parameter.ndim > 1) is decays]
            if parameters:
                decay = stage.weight_decay if decays else 0.0
                groups.append({"params": parameters, "lr": peak, "weight_decay": decay, "peak": peak, "name": group})
    if (component := optimizer_of(stage)) is not None:
        return _checked_optimizer(component, groups)
    if stage.optimizer == "adafactor":
        return torch.optim.Adafactor(groups)
    if stage.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=stage.betas[0])
    return torch.optim.AdamW(groups, betas=stage.betas, eps=stage.epsilon, fused=True)


def _checked_optimizer(component: Optimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """What a component builds, if every parameter is in it once, with its ``peak`` and its ``name``."""
    built: Any = component.build([dict(group) for group in groups])
    given = [parameter for group in groups for parameter in group["params"]]
    held = getattr(built, "param_groups", [])
    kept = sorted(id(parameter) for group in held for parameter in group["params"])
    if kept != sorted(map(id, given)) or any("peak" not in group or "name" not in group for group in held):
        raise ComponentError(
            f"{type(component).__name__}.build: must give a torch.optim.Optimizer that has every parameter once, in "
            f"groups with all the keys that they were given; it has {len(kept)} of {len(given)} parameters"
        )
    return cast("torch.optim.Optimizer", built)
