"""Images for GLM's vision models: Qwen-VL's patches, with pixel limits over two frames and thin images widened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.vlm.pixels import QwenPixels

_SHORTEST, _LONGEST = 112 * 112, 28 * 28 * 15000


class GlmPixels(QwenPixels):
    """The settings of a Glm4vImageProcessor or Glm46VImageProcessor."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Read ``preprocessor_config.json``; its limits count the pixels of an image once for each frame."""
        size = {"shortest_edge": _SHORTEST, "longest_edge": _LONGEST} | dict(settings.get("size") or {})
        read = super().from_settings({**settings, "size": size, "min_pixels": None, "max_pixels": None})
        return replace(
            read, min_pixels=-(-read.min_pixels // read.temporal), max_pixels=read.max_pixels // read.temporal
        )

    def grids(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As for Qwen-VL, after an image with a side below one tile was enlarged until that side fills it."""
        heights, widths = np.asarray(heights, dtype=np.int64), np.asarray(widths, dtype=np.int64)
        thin = (heights < self.tile) | (widths < self.tile)
        scale = np.where(thin, np.maximum(self.tile / heights, self.tile / widths), 1.0)
        heights, widths = (heights * scale).astype(np.int64), (widths * scale).astype(np.int64)
        return super().grids(heights, widths, max_visual_tokens)
