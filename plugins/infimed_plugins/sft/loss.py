"""Cross-entropy of supervised positions, weighted, in chunks, without ever holding all logits."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import IGNORED_LABEL, PackedBatch
from infimed_plugins.sft.kernels import Kernel, cut_losses, liger_loss

if TYPE_CHECKING:
    import torch

LOGITS_AT_ONCE = 2**25
"""Most logits held at a time (128 MiB in fp32)."""


def supervised(batch: PackedBatch, weighting: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of a row that carry loss, int64 [n], and the weight of each, float64 [n].

    A sample with k supervised tokens weighs k (``token``), 1 (``sample``) or sqrt(k) (``square-root``) in all.
    """
    positions = np.flatnonzero(batch.labels != IGNORED_LABEL)
    if weighting == "token":
        return positions, np.ones(len(positions))
    segments = np.searchsorted(batch.cu_seqlens, positions, side="right") - 1
    counts = np.bincount(segments, minlength=max(1, len(batch.cu_seqlens) - 1)).astype(np.float64)
    own = counts[segments]
    return positions, 1.0 / own if weighting == "sample" else 1.0 / np.sqrt(own)


def row_loss(
    kernel: Kernel,
    hidden: torch.Tensor,
    head: Any,
    labels: torch.Tensor,
    weights: torch.Tensor,
    parts: torch.Tensor,
    sums: torch.Tensor,
) -> torch.Tensor:
    """``linear_cross_entropy`` by ``kernel``; the unweighted losses of each part are added to ``sums``.

    Args:
        kernel: what computes it; for ``liger`` all weights must be equal.
        hidden: [n, width].
        head: module that gives logits [n, vocabulary].
        labels: int64 [n].
        weights: float32 [n].
        parts: int64 [n], the part (source) that each position belongs to.
        sums: float32 [parts], changed in place.
    """
    if kernel == "liger":
        total = weights.new_zeros(())
        for part in parts.unique().tolist():
            own = (parts == part).nonzero().squeeze(1)
            loss = liger_loss(hidden.index_select(0, own), head, labels[own])
            sums[part] += loss.detach()
            total = total + loss * weights[own[0]]
        return total
    if kernel == "cut-cross-entropy":
        losses = cut_losses(hidden, head, labels)
        sums.index_add_(0, parts, losses.detach())
        return weights @ losses
    each = weights.new_empty(len(weights))
    loss = linear_cross_entropy(hidden, head, labels, weights, losses=each)
    sums.index_add_(0, parts, each)
    return loss


def linear_cross_entropy(
    hidden: torch.Tensor,
    head: Any,
    labels: torch.Tensor,
    weights: torch.Tensor,
    logits_at_once: int = LOGITS_AT_ONCE,
    losses: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weighted sum of the cross-entropies of ``head(hidden)``, a float32 scalar.

    Args:
        hidden: [n, width].
        head: module that gives logits [n, vocabulary].
        labels: int64 [n].
        weights: float32 [n]; divide them by the step's whole weight to get its mean loss.
        logits_at_once: chunks are cut so that no more logits than this exist at a time.
        losses: float32 [n] that is filled with the cross-entropy of each position, where given.
    """
    import torch
    from torch.nn import functional
    from torch.utils.checkpoint import checkpoint

    each = weights.new_empty(len(weights)) if losses is None else losses

    def chunk_loss(span: slice, part: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        found = functional.cross_entropy(head(part).float(), targets, reduction="none")
        each[span] = found.detach()
        return torch.dot(found, weight)

    num_rows = hidden.shape[0]
    size = getattr(head, "out_features", None) or 2**17
    chunk = max(1, logits_at_once // size)
    if num_rows <= chunk:
        return chunk_loss(slice(None), hidden, labels, weights)
    if type(head) is torch.nn.Linear:
        return _linear_function().apply(hidden, head.weight, head.bias, labels, weights, each, chunk)
    total = hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, num_rows, chunk):
        part = slice(start, start + chunk)
        total = total + checkpoint(chunk_loss, part, hidden[part], labels[part], weights[part], use_reentrant=False)
    return total


@functools.cache
def _linear_function() -> Any:
    import torch

    class LinearCrossEntropy(torch.autograd.Function):
        """Makes the gradients chunk by chunk in the forward pass, so that no logits wait for the backward pass."""

        @staticmethod
        def forward(
            ctx: Any,
            hidden: torch.Tensor,
            weight: torch.Tensor,
            bias: torch.Tensor | None,
            labels: torch.Tensor,
            weights: torch.Tensor,
            each: torch.Tensor,
            chunk: int,
        ) -> torch.Tensor:
            needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
            gradient = torch.empty_like(hidden) if needs_hidden else None
            weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
            bias_gradient = None if bias is None or not needs_bias else torch.zeros_like(bias, dtype=torch.float32)
            total = torch.zeros((), dtype=torch.float32, device=hidden.device)
            for start in range(0, hidden.shape[0], chunk):
                part = slice(start, start + chunk)
                logits = torch.nn.functional.linear(hidden[part], weight, bias).float()
                target = labels[part].unsqueeze(1)
                normaliser = torch.logsumexp(logits, dim=1, keepdim=True)
                each[part] = (normaliser - logits.gather(1, target)).squeeze(1)
                total += torch.dot(each[part], weights[part])
                slope = logits.sub_(normaliser).exp_()
                slope.scatter_add_(1, target, torch.full_like(target, -1, dtype=slope.dtype))
                slope.mul_(weights[part].unsqueeze(1))
                narrow = slope.to(hidden.dtype)
                if gradient is not None:
                    gradient[part] = narrow @ weight.to(hidden.dtype)
                if weight_gradient is not None:
                    weight_gradient += narrow.t() @ hidden[part]
                if bias_gradient is not None:
                    bias_gradient += slope.sum(dim=0)
            ctx.save_for_backward(gradient, weight_gradient, bias_gradient)
            ctx.dtypes = (weight.dtype, bias.dtype if bias is not None else None)
            return total

        @staticmethod
        def backward(ctx: Any, *outputs: torch.Tensor) -> Any:
            (scale,) = outputs
            gradient, weight_gradient, bias_gradient = ctx.saved_tensors
            weight_dtype, bias_dtype = ctx.dtypes
            return (
                None if gradient is None else gradient * scale.to(gradient.dtype),
                None if weight_gradient is None else (weight_gradient * scale).to(weight_dtype),
                None if bias_gradient is None else (bias_gradient * scale).to(bias_dtype),
                None,
                None,
                None,
                None,
            )

    return LinearCrossEntropy


def token_log_probabilities(
    hidden: torch.Tensor,
    head: Any,
    labels: torch.Tensor,
    temperature: float = 1.0,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of ``labels`` under ``head(hidden) / temperature``, float32 [n], and the entropies [n].

    Only the first have a gradient; the logits of a chunk are made again in the backward pass.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    entropies = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)

    def of_chunk(span: slice, part: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logs = torch.log_softmax(head(part).float() / temperature, dim=-1)
        with torch.no_grad():
            entropies[span] = -(logs.exp() * logs).sum(dim=-1)
        return logs.gather(1, targets.unsqueeze(1)).squeeze(1)

    chunk = max(1, logits_at_once // (getattr(head, "out_features", None) or 2**17))
    if hidden.shape[0] <= chunk:
        return of_chunk(slice(None), hidden, labels), entropies
    spans = [slice(start, start + chunk) for start in range(0, hidden.shape[0], chunk)]
    found = [checkpoint(of_chunk, span, hidden[span], labels[span], use_reentrant=False) for span in spans]
    return torch.cat(found), entropies
