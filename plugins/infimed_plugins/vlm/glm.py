"""Images for GLM's vision models: Qwen-VL's patches with limits of their own, GLM-5-V's filled up to whole tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.vlm.pixels import QwenPixels, checked_image

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


class Glm5Pixels(QwenPixels):
    """The settings of a Glm5NextImageProcessor: an image keeps its shape, and black fills it up to whole tiles."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Read ``preprocessor_config.json``, whose limits are visual tokens and whose ``size`` says nothing."""
        read = super().from_settings({**settings, "size": {}, "min_pixels": None, "max_pixels": None})
        least, most = int(settings.get("min_image_tokens", 16)), int(settings.get("max_image_tokens", 8000))
        return replace(read, min_pixels=least * read.tile**2, max_pixels=most * read.tile**2)

    def grids(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The whole tiles that hold an image; where they are too many, those of its largest fitting height."""
        heights, widths = np.asarray(heights, dtype=np.int64), np.asarray(widths, dtype=np.int64)
        most, tile = self.max_pixels // self.tile**2, self.tile
        most = max(1, most if max_visual_tokens is None else min(most, max_visual_tokens))
        least = min(self.min_pixels // tile**2, most)
        down, across = -(-heights // tile), -(-widths // tile)
        grow = np.sqrt(least * tile**2 / (heights * widths))
        few = down * across < least
        down = np.where(few, -(-np.ceil(heights * grow).astype(np.int64) // tile), down)
        across = np.where(few, -(-np.ceil(widths * grow).astype(np.int64) // tile), across)
        many = down * across > most
        low, high = np.ones_like(heights), np.where(many, heights, 0)
        fit_down, fit_across = np.ones_like(heights), np.ones_like(heights)
        while (open_ := low <= high).any():  # every height is halved towards its own answer at once
            middle = np.where(open_, (low + high) // 2, 1)
            along = np.maximum(1, np.floor(widths * middle / heights).astype(np.int64))
            tiles_down, tiles_across = -(-middle // tile), -(-along // tile)
            fits = open_ & (tiles_down * tiles_across <= most)
            fit_down, fit_across = np.where(fits, tiles_down, fit_down), np.where(fits, tiles_across, fit_across)
            low, high = np.where(fits, middle + 1, low), np.where(open_ & ~fits, middle - 1, high)
        return np.where(many, fit_down, down), np.where(many, fit_across, across)

    def resized(
        self, image: NDArray[np.uint8], shape: Sequence[int], max_visual_tokens: int | None
    ) -> NDArray[np.uint8]:
        """The image at the upper left of whole tiles, smaller only where it must be; ``shape`` is its header's."""
        from PIL import Image

        full = self.target(shape[0], shape[1], max_visual_tokens)
        scale = min(full[0] / shape[0], full[1] / shape[1])
        least = self.min_pixels if max_visual_tokens is None else min(self.min_pixels, max_visual_tokens * self.tile**2)
        if shape[0] * shape[1] >= least:
            scale = min(1.0, scale)
        height, width = (max(1, min(most, math.floor(side * scale))) for side, most in zip(shape, full, strict=False))
        if checked_image(image).shape[:2] != (height, width):
            resampled = Image.fromarray(image).resize((width, height), resample=Image.Resampling(self.resample))
            image = np.asarray(resampled)
        return np.pad(image, ((0, full[0] - height), (0, full[1] - width), (0, 0)))
