"""FSDP2: each rank holds a share of what the model is made of, for the length of a stage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from infimed_core import InfimedError, TrainableModel
from infimed_plugins.sft.ranks import Ranks, told_plainly


def repeated_blocks(module: Any) -> list[Any]:
    """The layers that are gathered and freed one by one: those the model names as indivisible, else every list's items.

    A block inside a block is not listed.
    """
    import torch

    names = set(getattr(module, "_no_split_modules", None) or ())
    for part in module.modules():
        names |= set(getattr(part, "_no_split_modules", None) or ())
    if names:
        found = [part for part in module.modules() if type(part).__name__ in names]
    else:
        lists = [part for part in module.modules() if isinstance(part, torch.nn.ModuleList) and len(part) > 1]
        found = [item for part in lists for item in part]
    inside = {id(inner) for part in found for inner in part.modules() if inner is not part}
    return [part for part in found if id(part) not in inside]


@contextmanager
def sharded(model: TrainableModel, ranks: Ranks, precision: str) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Shard the module over the ranks; yields what must run a row's forward pass, given as a function.

    See ``whole_weights`` for what needs more than a row's forward pass. Afterwards every rank holds the whole module
    again, of its own classes, with the trained weights. In ``bf16-mixed`` the shares are fp32, what is gathered for a
    row is bf16, and gradients are summed in fp32.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    module = model.module
    if all(part is not model.output_embedding() for part in module.modules()):
        raise InfimedError("parallel: fsdp2 needs the output embedding to be a part of the model's module; use ddp")
    originals = dict(module.named_parameters(remove_duplicate=False))
    own, children = module._parameters.copy(), module._modules.copy()
    # FSDP2 changes modules for good. It gets a second set of them, around the same tensors, for the stage's length.
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*originals.values(), *module.buffers())}
    module._modules.update({name: copy.deepcopy(child, shared) for name, child in children.items()})
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    narrow = torch.bfloat16 if precision == "bf16-mixed" else None
    policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False)
    whole = _whole(module)
    try:
        with told_plainly():
            for block in repeated_blocks(module):
                fully_shard(block, mesh=mesh, mp_policy=policy)
            fully_shard(whole, mesh=mesh, mp_policy=policy)
        for part in whole.modules():
            if isinstance(part, FSDPModule):
                # The loss is a share of the step's: gradients are summed over the ranks, not averaged.
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
                if hasattr(part, "set_reduce_scatter_unused_params"):
                    part.set_reduce_scatter_unused_params(True)

        def fill() -> None:
            shares = dict(module.named_parameters(remove_duplicate=False))
            done: set[int] = set()
            for name, parameter in originals.items():
                if id(parameter) not in done:
                    done.add(id(parameter))
                    parameter.data = gathered(shares[name])

        def empty() -> None:
            for parameter in originals.values():
                parameter.data = parameter.data.new_empty(0)

        @contextmanager
        def unshared() -> Iterator[None]:
            reshard(whole)
            fill()
            shares, copies = module._parameters.copy(), module._modules.copy()
            module._parameters.update(own)
            module._modules.update(children)
            try:
                yield
            finally:
                module._parameters.update(shares)
                module._modules.update(copies)
                empty()

        whole.unshared = unshared
        empty()
        yield whole
        fill()  # not where training ended early: a rank that is gone cannot give its share
    finally:
        module._parameters.update(own)
        module._modules.update(children)


def _whole(module: Any) -> Any:
    import torch

    class Whole(torch.nn.Module):
        """The root: what is in no block is gathered for as long as ``compute`` and its backward pass take."""

        unshared: Callable[[], AbstractContextManager[None]]

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, compute: Callable[[], Any]) -> Any:
            return compute()

    return Whole()


def whole_weights(forward: Any, is_sharded: bool) -> AbstractContextManager[None]:
    """Within this every rank holds the whole module, of its own classes, as it was before ``sharded``: it can answer
    and be written. Every rank must enter it; what a rank does within waits for no other."""
    return forward.unshared() if is_sharded else nullcontext()


def reshard(forward: Any) -> None:
    """Free what a forward pass without a backward pass gathered: each rank holds its shares alone again."""
    from torch.distributed.fsdp import FSDPModule

    for part in forward.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def gathered(tensor: Any) -> Any:
    """The whole of a tensor that may be a share (then every rank must call this), detached."""
    if not hasattr(tensor, "full_tensor"):
        return tensor.detach()
    with told_plainly():
        return tensor.detach().full_tensor()


def gathered_on_first(tensors: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """The whole tensors, on the CPU of the first rank; nothing on the others. One whole tensor exists at a time."""
    found = {}
    for name, tensor in tensors.items():
        whole = gathered(tensor)
        if ranks.is_first:
            found[name] = whole.cpu() if whole is not tensor else whole
    return found


def to_shard(whole: Any, like: Any) -> Any:
    """This rank's share of a whole tensor, laid out like ``like``; the tensor itself where ``like`` is no share."""
    if not hasattr(like, "full_tensor"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
