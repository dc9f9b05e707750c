"""The projectors of LLaVA, InternVL and Gemma3 after adaptive average pooling: any number of visual tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

PROJECTORS = ("LlavaMultiModalProjector", "InternVLMultiModalProjector", "Gemma3MultiModalProjector")


def use_pooled_projector(module: Any) -> None:
    """Let the projector pool the features of each image (or tile) to its grid; weights and names stay."""
    projector = getattr(getattr(module, "model", None), "multi_modal_projector", None)
    if projector is not None and type(projector).__name__ in PROJECTORS:
        projector.__class__ = _pooled_class(type(projector))  # type: ignore[arg-type]
        projector.grids = None
        pool = getattr(module.config, "projector_pool", None)
        if hasattr(projector, "kernel_size"):
            pool = (projector.patches_per_image // projector.kernel_size,) * 2  # what Gemma3's own pooling leaves
        projector.pool = tuple(pool) if pool else None


def set_grids(module: Any, grids: Any) -> None:
    """State the grids (int64 [images or tiles, 2]) of what the tower will see in the next forward."""
    module.model.multi_modal_projector.grids = [tuple(grid) for grid in grids.tolist()]


@lru_cache(maxsize=8)
def _pooled_class(original: type) -> type:
    import torch

    joined = not original.__name__.startswith("Llava")
    pools = original.__name__.startswith("Gemma3")

    class PooledProjector(original):  # type: ignore[misc, valid-type]
        """``original`` after adaptive average pooling of the square token grid."""

        def forward(self, image_features: Any) -> Any:
            """Features [images, patches, width] to one tensor [tokens, language width] for each image.

            InternVL and Gemma3 take the tokens of all images (or tiles) as one tensor, [1, tokens, language width].
            """
            count, patches, width = image_features.shape
            side = round(patches**0.5)
            grids = self.grids or [self.pool or (side, side)] * count
            if len(grids) != count:
                raise RuntimeError(f"{count} images, but grids for {len(grids)}")
            square = image_features.transpose(1, 2).reshape(count, width, side, side)
            projected: list[Any] = [None] * count
            for grid in dict.fromkeys(grids):
                members = [index for index, other in enumerate(grids) if other == grid]
                part = square if len(members) == count else square[members]
                for index, tokens in zip(members, self._project(part, grid, side), strict=True):
                    projected[index] = tokens
            return torch.cat(projected)[None] if joined else projected

        def _project(self, square: Any, grid: tuple[int, int], side: int) -> Any:
            """Squares [images, width, side, side] pooled to the grid, to [images, tokens, language width]."""
            if pools and grid == self.pool:
                return super().forward(square.flatten(2).transpose(1, 2))
            if grid != (side, side):
                square = torch.nn.functional.adaptive_avg_pool2d(square, grid)
            tokens = square.flatten(2).transpose(1, 2)
            if not pools:
                return super().forward(tokens)
            return (self.mm_soft_emb_norm(tokens) @ self.mm_input_projection_weight).type_as(tokens)

    return PooledProjector
