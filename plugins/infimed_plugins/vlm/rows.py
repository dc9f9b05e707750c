"""How a row of samples goes through a model: packed with its borders, or apart where a family's layers would leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import PackedBatch
from infimed_plugins.vlm.families import Family, family_of
from infimed_plugins.vlm.patch_rows import patch_features, patches_per_token, tower_inputs
from infimed_plugins.vlm.projector import set_grids


def row_hidden_states(module: Any, batch: PackedBatch, family: Family | None) -> Any:
    """Final hidden states [L, width] of a row, on the module's device; no sample sees another."""
    import torch

    if not len(batch):  # every sample of the row failed: nothing to compute, yet the row keeps its place
        return module.get_input_embeddings().weight[:0]
    if family is None:
        return _one_by_one(module, batch)
    if family.packs:
        return _packed(module, batch, family)
    lengths = np.diff(batch.cu_seqlens)
    if (lengths == lengths[0]).all():  # the padded layout: what is filled up comes after all that is real
        return _stacked(module, batch, family)
    return torch.cat([_stacked(module, part, family) for part in segments(batch)])


def _packed(module: Any, batch: PackedBatch, family: Family) -> Any:
    """One row whose attention layers are told where samples end."""
    boundaries = _tensor(module, batch.cu_seqlens.astype(np.int32))
    longest = int(np.diff(batch.cu_seqlens).max())
    positions = _tensor(module, batch.positions)
    inputs = {
        "input_ids": _tensor(module, batch.input_ids)[None],
        "position_ids": positions[:, None] if family.rope_rows == 4 else positions[:1],
        "cu_seq_lens_q": boundaries,
        "cu_seq_lens_k": boundaries,
        "max_length_q": longest,
        "max_length_k": longest,
    }
    return _forward(module, batch, family, inputs, (1, len(batch)))


def _stacked(module: Any, batch: PackedBatch, family: Family) -> Any:
    """Samples of one length below each other, each a row of its own: the model's own forward keeps them apart."""
    shape = len(batch.cu_seqlens) - 1, int(batch.cu_seqlens[1])
    positions = _tensor(module, batch.positions).reshape(-1, *shape)
    inputs = {
        "input_ids": _tensor(module, batch.input_ids).reshape(shape),
        "position_ids": positions if family.rope_rows == 4 else positions[0],
    }
    return _forward(module, batch, family, inputs, shape)


def _forward(module: Any, batch: PackedBatch, family: Family, inputs: dict[str, Any], shape: tuple[int, int]) -> Any:
    """Final hidden states [L, width] of rows of that ``shape``, with the row's images."""
    inputs = {**inputs, "attention_mask": None, "use_cache": False}
    if family.takes_images and batch.vision:
        inputs |= vision_inputs(module, family, batch.vision, batch.token_types.reshape(shape))
    nothing = None
    if family.takes_images and not batch.vision and _shares_gradients():
        # Before the language model, as with images: ranks that shard the weights gather them layer by layer, in order.
        nothing = _untouched_tower(module)
    hidden = module.model(**inputs).last_hidden_state.flatten(0, 1)
    return hidden if nothing is None else hidden + nothing


def _tensor(module: Any, array: Any) -> Any:
    """The array on the module's device."""
    import torch

    device = module.get_input_embeddings().weight.device
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


def vision_inputs(module: Any, family: Family, arrays: Mapping[str, Any], token_types: Any) -> dict[str, Any]:
    """Forward arguments for images: their arrays, and the token types [rows, L] where the family asks for them."""
    inputs = {name: _tensor(module, array) for name, array in arrays.items()}
    if family.images in ("pixtral", "gemma4"):
        patch = module.config.vision_config.patch_size
        inputs = tower_inputs(family.images, inputs["pixel_values"], inputs["image_grid_thw"], patch)
    if "image_grid" in inputs:
        set_grids(module, inputs.pop("image_grid"))
    if family.types_argument:
        inputs[family.types_argument] = _tensor(module, token_types)
    return inputs


def segments(batch: PackedBatch) -> list[PackedBatch]:
    """A row's samples as rows of their own, each with its images (one tower picture, or its patches, for each)."""
    parts, image = [], 0
    grids = batch.vision.get("image_grid_thw")
    ends: NDArray[np.int64] = np.cumsum([0, *(grids.prod(axis=1) if grids is not None else ())])
    for start, stop in zip(batch.cu_seqlens[:-1].tolist(), batch.cu_seqlens[1:].tolist(), strict=True):
        types = batch.token_types[start:stop]
        first, left = image, int(types.sum())
        while left > 0:
            left -= batch.visual_tokens[image]
            image += 1
        vision = {name: array[first:image] for name, array in batch.vision.items()}
        if grids is not None:
            vision["pixel_values"] = batch.vision["pixel_values"][ends[first] : ends[image]]
        parts.append(
            replace(
                batch,
                input_ids=batch.input_ids[start:stop],
                labels=batch.labels[start:stop],
                positions=batch.positions[:, start:stop],
                token_types=types,
                cu_seqlens=np.array([0, stop - start], dtype=np.int32),
                visual_tokens=batch.visual_tokens[first:image],
                vision=vision if image > first else {},
            )
        )
    return parts


def _shares_gradients() -> bool:
    """Whether other processes wait for the gradient of every parameter."""
    import torch

    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _untouched_tower(module: Any) -> Any:
    """Zero, computed through the vision tower: a row of text alone must not leave other ranks waiting for it."""

    family = family_of(module.config)
    assert family is not None
    vision = module.config.vision_config
    if family.images in ("siglip", "internvl"):
        side = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
        nothing = {"pixel_values": np.zeros((1, 3, side, side), np.float32), "image_grid": np.ones((1, 2), np.int64)}
    else:
        merge, features = patches_per_token(module.config), patch_features(vision)
        grid = np.array([[1, merge, merge]], dtype=np.int64)
        nothing = {"pixel_values": np.zeros((merge * merge, features), np.float32), "image_grid_thw": grid}
    inputs = vision_inputs(module, family, nothing, np.zeros((1, 0), np.int64))
    inputs.pop(family.types_argument, None)
    output = module.model.get_image_features(**inputs, return_dict=True)
    parts = [*output.pooler_output, *(p for level in getattr(output, "deepstack_features", None) or [] for p in level)]
    return sum(part.sum() for part in parts) * 0.0


def _one_by_one(module: Any, batch: PackedBatch) -> Any:
    """A family we do not know: every segment runs alone, so that nothing can leak."""
    import torch

    if batch.vision:
        raise NotImplementedError(f"training '{module.config.model_type}' on images is not supported")
    device = module.get_input_embeddings().weight.device
    parts = []
    for start, stop in zip(batch.cu_seqlens[:-1].tolist(), batch.cu_seqlens[1:].tolist(), strict=True):
        ids = torch.from_numpy(batch.input_ids[start:stop]).to(device)[None]
        parts.append(module.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0])
    return torch.cat(parts)
