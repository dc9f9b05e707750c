"""Floating-point operations: what training on a row takes, by arithmetic, and what a device can do in a second."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from infimed_core import PackedBatch, TrainableModel

PEAK_FLOPS = {
    "GB300": 2.5e15,
    "GB200": 2.5e15,
    "B300": 2.25e15,
    "B200": 2.25e15,
    "GH200": 9.89e14,
    "H200": 9.89e14,
    "H100 PCIe": 7.56e14,
    "H100 NVL": 8.35e14,
    "H100": 9.89e14,
    "H800": 9.89e14,
    "H20": 1.48e14,
    "A100": 3.12e14,
    "A800": 3.12e14,
    "L40S": 3.62e14,
    "L40": 1.81e14,
    "L4": 1.21e14,
    "A40": 1.497e14,
    "A10": 1.25e14,
    "RTX 6000 Ada": 3.64e14,
    "RTX 5090": 2.095e14,
    "RTX 4090": 1.65e14,
    "RTX 3090": 7.1e13,
    "MI300X": 1.307e15,
}
"""Dense bf16 operations per second by words of the device's name (vendors' data sheets); the most exact name first."""


class FlopCounter:
    """Floating-point operations of training on a row, by arithmetic.

    A matrix of N weights costs 2N per token forward, 2N more where gradients pass through it, and 2N more where
    it learns. Attention costs 4 n^2 width per layer and segment of n tokens forward (half of it in the causal
    language model), twice that backward. The output matrix counts at supervised positions alone. Recomputed
    activations do not count. The parameters' ``requires_grad`` says what learns, adapters included.
    """

    def __init__(self, model: TrainableModel, groups: dict[str, dict[str, Any]], learning: set[str]) -> None:
        import torch

        module, head = model.module, model.output_embedding()
        tables = {id(part.weight) for part in module.modules() if isinstance(part, torch.nn.Embedding)}
        tables |= {id(parameter) for parameter in head.parameters()}
        below = {"vision": {"vision"}, "projector": {"vision", "projector"}}
        config = getattr(module, "config", None)
        text = getattr(config, "text_config", None) or config
        # Of a layer's experts a token visits a few.
        active = getattr(text, "num_experts_per_tok", None) or 1
        active /= getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None) or active
        self._per_token: dict[str, float] = {}
        self._passes: dict[str, int] = {}
        for group, members in groups.items():
            backward = bool(learning & below.get(group, set(groups)))
            self._passes[group] = 3 if backward else 1
            self._per_token[group] = sum(
                p.numel() * (active if ".experts." in name else 1) * (2 + 2 * backward + 2 * p.requires_grad)
                for name, p in members.items()
                if p.ndim > 1 and id(p) not in tables
            )
        if "vision" in learning:
            # No gradient is wanted of the pixels themselves.
            first = [
                p.numel()
                for name, p in groups["vision"].items()
                if re.search("patch_(embed|conv)", name) and p.ndim > 1
            ]
            self._per_token["vision"] -= 2 * sum(first)
        self._head = sum(p.numel() for p in head.parameters()) * (
            4 + 2 * any(p.requires_grad for p in head.parameters())
        )
        self._attention = _attention_width(text)
        vision = getattr(config, "vision_config", None)
        self._vision_attention = _attention_width(vision)
        patch = getattr(vision, "patch_size", None) or 0
        self._patch = int(patch[0] if isinstance(patch, list | tuple) else patch)

    def of(self, row: PackedBatch, num_supervised: int) -> float:
        """Operations of one forward and backward pass over ``row``."""
        segments = np.diff(row.cu_seqlens).astype(np.float64)
        patches = _patches(row, self._patch)
        per_token, passes = self._per_token, self._passes
        inner = sum(cost for group, cost in per_token.items() if group not in ("vision", "projector"))
        return float(
            inner * len(row)
            + per_token.get("projector", 0) * sum(row.visual_tokens)
            + per_token.get("vision", 0) * patches.sum()
            + passes.get("language", 3) * 2 * self._attention * (segments**2).sum()
            + passes.get("vision", 3) * 4 * self._vision_attention * (patches**2).sum()
            + self._head * num_supervised
        )


def _attention_width(config: Any) -> int:
    """Layers times the width of attention; 0 where the configuration does not say."""
    if getattr(config, "is_heterogeneous", False):  # Gemma 4: the heads of its global layers are wider
        return sum(int(layer.num_attention_heads * layer.head_dim) for layer in config.per_layer_config)
    layers = getattr(config, "num_hidden_layers", None) or getattr(config, "depth", None) or 0
    heads, size = getattr(config, "num_attention_heads", None), getattr(config, "head_dim", None)
    width = heads * size if heads and size else getattr(config, "hidden_size", None) or 0
    return int(layers * width)


def _patches(row: PackedBatch, patch: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Patches of each image or tile, float64 [n]: by grid, else by pixels [n, 3, height, width], else by tokens."""
    grid, pixels = row.vision.get("image_grid_thw"), row.vision.get("pixel_values")
    if grid is None and patch and pixels is not None and pixels.ndim == 4:
        return np.full(len(pixels), (pixels.shape[2] // patch) * (pixels.shape[3] // patch), dtype=np.float64)
    return np.asarray(row.visual_tokens if grid is None else np.prod(grid, axis=1), dtype=np.float64)


def peak_flops(device: Any) -> float | None:
    """Dense bf16 operations per second of a CUDA device by the table; ``None`` where it is not in it."""
    if device.type != "cuda":
        return None
    import torch

    return peak_by_name(torch.cuda.get_device_name(device))


def peak_by_name(name: str) -> float | None:
    """``PEAK_FLOPS`` of the device with this name. An A4000 is no A40, and a laptop's chip is not the desktop's."""
    words = set(re.findall(r"[A-Za-z0-9]+", name))
    if "Laptop" in words:
        return None
    return next((peak for part, peak in PEAK_FLOPS.items() if set(part.split()) <= words), None)
