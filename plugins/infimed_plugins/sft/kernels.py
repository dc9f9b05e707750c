"""Which implementation of the output matrix with cross-entropy is used: our chunks, Liger's or cut-cross-entropy's."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from infimed_core import InfimedError

if TYPE_CHECKING:
    import torch

Kernel = Literal["chunked", "liger", "cut-cross-entropy"]
MODULES: dict[str, str] = {"liger": "liger_kernel", "cut-cross-entropy": "cut_cross_entropy"}


def is_installed(module: str) -> bool:
    """Whether ``module`` can be imported, found without importing it."""
    return importlib.util.find_spec(module) is not None


def choose_kernel(
    wanted: str,
    device_type: str,
    head: Any,
    weighting: str,
    installed: Callable[[str], bool] = is_installed,
) -> Kernel:
    """The kernel for a stage. ``auto`` never fails; a kernel asked for by name that cannot be used does.

    Both packages run on a GPU (or in triton's interpreter, ``TRITON_INTERPRET=1``) and take an ordinary Linear as
    head. Liger's sums unweighted losses, so it serves the weighting ``token`` alone.

    Raises:
        InfimedError: ``wanted`` names a kernel that is not installed or does not fit.
    """
    import torch

    if wanted == "chunked":
        return "chunked"
    runs = device_type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    plain = type(head) is torch.nn.Linear
    problems: dict[Kernel, str] = {}
    names: tuple[Kernel, ...] = ("liger", "cut-cross-entropy")
    for name in names:
        if not installed(MODULES[name]):
            problems[name] = f"it is not installed: pip install '{name}{'-kernel' if name == 'liger' else ''}'"
        elif not runs:
            problems[name] = "it needs a CUDA device"
        elif not plain:
            problems[name] = "it needs an output matrix that is an ordinary Linear"
        elif name == "liger" and weighting != "token":
            problems[name] = f"it cannot weigh by '{weighting}'"
        elif name == "cut-cross-entropy" and head.bias is not None:
            problems[name] = "it takes no bias"
    if wanted == "auto":
        return next((name for name in names if name not in problems), "chunked")
    chosen = next(name for name in names if name == wanted)
    if chosen in problems:
        raise InfimedError(f"loss_kernel '{wanted}' cannot be used: {problems[chosen]}; or set it to auto")
    return chosen


def liger_loss(hidden: torch.Tensor, head: Any, labels: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropies of ``head(hidden)``, float32; all logits never exist at once."""
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    found = LigerFusedLinearCrossEntropyFunction.apply(
        hidden, head.weight, labels, head.bias, None, -100, 0.0, 0.0, "sum"
    )
    return (found[0] if isinstance(found, tuple) else found).float()


def cut_losses(hidden: torch.Tensor, head: Any, labels: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each position of ``head(hidden)``, float32 [n]; logits never leave the chip.

    Gradients are not filtered: the package's default leaves out small ones.
    """
    from cut_cross_entropy import linear_cross_entropy

    options: dict[str, Any] = {"filter_eps": None}
    if hidden.device.type != "cuda":  # where no kernel runs: its reference, which gives the same
        options = {"impl": "torch_compile"}
    losses: torch.Tensor = linear_cross_entropy(
        hidden, head.weight.to(hidden.dtype), labels, reduction="none", **options
    )
    return losses.float()
