"""The projectors of LLaVA and InternVL with adaptive average pooling before them: any number of visual tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

PROJECTORS = ("LlavaMultiModalProjector", "InternVLMultiModalProjector")


def use_pooled_projector(module: Any) -> None:
    """Let the projector pool the features of each image (or tile) to its grid; weights and names stay."""
    projector = getattr(getattr(module, "model", None), "multi_modal_projector", None)
    if projector is not None and type(projector).__name__ in PROJECTORS:
        projector.__class__ = _pooled_class(type(projector))
        projector.grids = None
        pool = getattr(module.config, "projector_pool", None)
        projector.pool = tuple(pool) if pool else None


def set_grids(module: Any, grids: Any) -> None:
    """State the grids (int64 [images or tiles, 2]) of what the tower will see in the next forward."""
    module.model.multi_modal_projector.grids = [tuple(grid) for grid in grids.tolist()]


@lru_cache(maxsize=8)
def _pooled_class(original: type) -> type:
    import torch

    joined = original.__name__.startswith("InternVL")

    class PooledProjector(original):  # type: ignore[misc, valid-type]
        """``original`` after adaptive average pooling of the square token grid."""

        def forward(self, image_features: Any) -> Any:
            """Features [images, patches, width] to one tensor [tokens, language width] for each image.

            InternVL takes the tokens of all tiles as one tensor, [1, tokens, language width].
            """
            count, patches, width = image_features.shape
            side = round(patches**0.5)
            grids = self.grids or [self.pool or (side, side)] * count
            if len(grids) != count:
                raise RuntimeError(f"{count} images, but grids for {len(grids)}")
            square = image_features.transpose(1, 2).reshape(count, width, side, side)
            pooled: list[Any] = [None] * count
            for grid in dict.fromkeys(grids):
                members = [index for index, other in enumerate(grids) if other == grid]
                part = square if len(members) == count else square[members]
                if grid != (side, side):
                    part = torch.nn.functional.adaptive_avg_pool2d(part, grid)
                projected = super().forward(part.flatten(2).transpose(1, 2))
                for index, tokens in zip(members, projected, strict=True):
                    pooled[index] = tokens
            return torch.cat(pooled)[None] if joined else pooled

    return PooledProjector
