"""Noise on the embeddings of what is learned from: NEFTune (arXiv 2310.05914)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from infimed_core import InfimedError, PackedBatch, TrainableModel
from infimed_plugins.sft.stages import TrainingStage


@contextmanager
def noisy_embeddings(model: TrainableModel, stage: TrainingStage) -> Iterator[None]:
    """Within: in training mode every token's embedding gets uniform noise, if the stage wants it; after: as before.

    The noise of a token lies within alpha / sqrt(length * width), with the length of its own sample, so that packing
    changes nothing. It comes from torch's generator, which the loop seeds by the row's place in the plan.
    """
    if stage.neftune_alpha is None:
        yield
        return
    import torch

    alpha, given = stage.neftune_alpha, model.hidden_states
    row: list[PackedBatch] = []

    def hidden_states(batch: PackedBatch) -> Any:
        row[:] = [batch]
        try:
            return given(batch)
        finally:
            row.clear()

    def add_noise(module: Any, inputs: Any, output: Any) -> Any:
        if not row or not module.training:
            return output
        lengths = np.diff(row[0].cu_seqlens)
        width, num_tokens = output.shape[-1], output.shape[:-1].numel()
        most = np.repeat(alpha / np.sqrt(np.maximum(lengths, 1) * width), lengths)
        if len(most) != num_tokens:
            return output  # not the row itself: a look-up of a few tokens
        scale = torch.from_numpy(most.astype(np.float32)).to(output.device).reshape(*output.shape[:-1], 1)
        noise = torch.rand(output.shape, dtype=torch.float32, device=output.device) * 2.0 - 1.0
        return output + (noise * scale).to(output.dtype)

    if not hasattr(model.module, "get_input_embeddings"):
        raise InfimedError(f"stage '{stage.name}': neftune_alpha needs a model that names its embeddings; leave it out")
    hook = model.module.get_input_embeddings().register_forward_hook(add_noise)
    model.hidden_states = hidden_states  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.hidden_states
        hook.remove()
