"""Images to vision patches for the Qwen-VL image processor: sizes by arithmetic, pixels by numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError

LARGEST_RATIO = 200
"""Beyond this aspect ratio transformers' processor refuses an image; it is bent into the cap here."""


class Tiled(ABC):
    """An image processor whose images become a grid of square tiles, each of them one visual token."""

    patch: int
    merge: int
    resample: int

    @property
    def tile(self) -> int:
        """Side of the square of pixels that becomes one visual token."""
        return self.patch * self.merge

    @abstractmethod
    def grids(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What the tower sees of images of these sizes, in visual tokens down and across, int64 [n] each."""

    @lru_cache(maxsize=4096)  # noqa: B019  (subclasses are frozen settings; a row asks twice of every image)
    def target(self, height: int, width: int, max_visual_tokens: int | None) -> tuple[int, int]:
        """Pixels down and across after resizing."""
        down, across = self.grids(np.array([height]), np.array([width]), max_visual_tokens)
        return int(down[0]) * self.tile, int(across[0]) * self.tile

    def resized(
        self, image: NDArray[np.uint8], shape: Sequence[int], max_visual_tokens: int | None
    ) -> NDArray[np.uint8]:
        """The image in whole tiles, uint8 [height, width, 3]; ``shape`` (height, width) is that of its header."""
        from PIL import Image

        height, width = self.target(shape[0], shape[1], max_visual_tokens)
        if checked_image(image).shape[:2] == (height, width):
            return image
        return np.asarray(Image.fromarray(image).resize((width, height), resample=Image.Resampling(self.resample)))


@dataclass(frozen=True)
class QwenPixels(Tiled):
    """The settings of a Qwen2VLImageProcessor, as its checkpoint states them."""

    patch: int
    merge: int
    temporal: int
    min_pixels: int
    max_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float
    resample: int

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Read ``preprocessor_config.json``; what it leaves out is the processor's default."""
        size = settings.get("size") or {}
        return cls(
            patch=int(settings.get("patch_size", 14)),
            merge=int(settings.get("merge_size", 2)),
            temporal=int(settings.get("temporal_patch_size", 2)),
            min_pixels=int(settings.get("min_pixels") or size.get("shortest_edge", 56 * 56)),
            max_pixels=int(settings.get("max_pixels") or size.get("longest_edge", 28 * 28 * 1280)),
            mean=tuple(settings.get("image_mean", (0.48145466, 0.4578275, 0.40821073))),
            std=tuple(settings.get("image_std", (0.26862954, 0.26130258, 0.27577711))),
            rescale=float(settings.get("rescale_factor", 1 / 255)),
            resample=int(settings.get("resample", 3)),
        )

    def grids(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Visual tokens down and across of images of these sizes (int64 [n] each), never more than the cap.

        The processor's own ``smart_resize`` with ``longest_edge`` at the cap; where that breaks the cap (it
        rounds tiny images up, and keeps a strip at least one tile thin) the image is made smaller.
        """
        tile = self.tile
        heights, widths = np.asarray(heights, dtype=np.int64), np.asarray(widths, dtype=np.int64)
        largest = self.max_pixels
        if max_visual_tokens is not None:
            largest = min(largest, max_visual_tokens * tile * tile)
        largest = max(largest, tile * tile)
        smallest = min(self.min_pixels, largest)
        area = heights.astype(np.float64) * widths
        down, across = np.rint(heights / tile), np.rint(widths / tile)
        shrink = np.sqrt(area / largest)
        small_down = np.maximum(1, np.floor(heights / shrink / tile))
        small_across = np.maximum(1, np.floor(widths / shrink / tile))
        with np.errstate(divide="ignore"):
            grow = np.sqrt(smallest / area)
        too_large = down * across * tile * tile > largest
        too_small = ~too_large & (down * across * tile * tile < smallest)
        down = np.where(too_large, small_down, np.where(too_small, np.ceil(heights * grow / tile), down))
        across = np.where(too_large, small_across, np.where(too_small, np.ceil(widths * grow / tile), across))
        tokens = largest // (tile * tile)
        broken = down * across > tokens
        down, across = np.where(broken, small_down, down), np.where(broken, small_across, across)
        return (
            np.minimum(down, np.maximum(1, tokens // across)).astype(np.int64),
            np.minimum(across, np.maximum(1, tokens // down)).astype(np.int64),
        )

    def sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Visual tokens and vision patches of each image, int64 [n] each."""
        down, across = self.grids(heights, widths, max_visual_tokens)
        return down * across, down * across * self.merge * self.merge

    def patches(
        self,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Resize, normalise and cut images (uint8 [h, w, 3]); ``shapes`` as in ``arrays``.

        Returns:
            ``pixel_values`` float32 [patches, 3 * temporal * patch * patch] and ``image_grid_thw`` int64 [images, 3].
        """
        merge, patch = self.merge, self.patch
        blocks, grids = [], []
        for image, shape in zip(images, shapes or [image.shape for image in images], strict=True):
            image = self.resized(image, shape, max_visual_tokens)
            h, w = image.shape[0] // self.tile, image.shape[1] // self.tile
            cut = image.reshape(h, merge, patch, w, merge, patch, 3).transpose(0, 3, 1, 4, 6, 2, 5)
            blocks.append(cut.reshape(h * merge * w * merge, 3, patch * patch))
            grids.append((1, h * merge, w * merge))
        table = channel_table(self.mean, self.std, self.rescale)
        cut = np.concatenate(blocks)
        values = np.empty((len(cut), 3, self.temporal, patch * patch), dtype=np.float32)
        for channel in range(3):
            values[:, channel] = table[channel][cut[:, channel]][:, None]
        return values.reshape(len(cut), -1), np.array(grids, dtype=np.int64).reshape(-1, 3)

    def arrays(
        self,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """What the tower takes, and the visual tokens down and across of each image, int64 [images, 2].

        ``shapes`` (height, width) are those of the headers where images were decoded smaller: they decide the grid.
        """
        values, grids = self.patches(images, max_visual_tokens, shapes)
        return {"pixel_values": values, "image_grid_thw": grids}, grids[:, 1:] // self.merge


def checked_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, if it is one.

    Raises:
        DataError: it is not uint8 [height, width, 3] with pixels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        shape = f"{image.dtype} {list(image.shape)}"
        raise DataError("image_shape", f"an image must be uint8 [height, width, 3], got {shape}")
    return image


def channel_table(mean: Sequence[float], std: Sequence[float], rescale: float) -> NDArray[np.float32]:
    """The 256 values a channel can take after rescaling and normalising, in the processors' own arithmetic."""
    levels = (np.arange(256, dtype=np.float64) * rescale).astype(np.float32)
    means, deviations = (np.array(v, dtype=np.float32)[:, None] for v in (mean, std))
    return ((levels[None] - means) / deviations).astype(np.float32)
