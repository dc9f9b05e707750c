"""A vision tower's patch embedding as the matrix product it is: its convolution never overlaps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def use_linear_patch_embedding(module: Any) -> None:
    """Replace the forward of Qwen-VL patch embeddings; weights, names and results stay (convolution in 3D is slow)."""
    import torch

    for layer in module.modules():
        projection = getattr(layer, "proj", None)
        whole = isinstance(projection, torch.nn.Conv3d) and projection.kernel_size == projection.stride
        if whole and type(layer).__name__.endswith(("PatchEmbed", "PatchEmbedding")):
            layer.__class__ = _linear_class(type(layer))  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def _linear_class(original: type) -> type:
    import torch

    class LinearPatchEmbedding(original):  # type: ignore[misc, valid-type]
        """``original`` with a matrix product for its convolution."""

        def forward(self, hidden_states: Any) -> Any:
            """Patches [n, channels * temporal * height * width] to [n, width]."""
            weight = self.proj.weight
            patches = hidden_states.reshape(-1, weight[0].numel()).to(weight.dtype)
            return torch.nn.functional.linear(patches, weight.reshape(len(weight), -1), self.proj.bias)

    LinearPatchEmbedding.__name__ = f"Linear{original.__name__.removeprefix('Linear')}"
    return LinearPatchEmbedding
