"""Images for InternVL: cut into tiles that fit the image's shape, and pooled where the cap is below one tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.vlm.pixels import channel_table, checked_image
from infimed_plugins.vlm.siglip import shrunk_grid


@dataclass(frozen=True)
class InternPixels:
    """The settings of a GotOcr2ImageProcessor, as InternVL's processor uses it, and of the projector.

    Attributes:
        side: pixels down and across of a tile.
        patches_across: the tower's patches along a tile's side.
        pool: visual tokens down and across of a tile.
        min_tiles, max_tiles: bounds of the tiles that an image is cut into, its thumbnail not counted.
    """

    side: int
    patches_across: int
    pool: tuple[int, int]
    min_tiles: int
    max_tiles: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float
    resample: int

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], config: Mapping[str, Any]) -> InternPixels:
        """Read ``preprocessor_config.json`` and ``config.json``; what they leave out is the processor's default."""
        vision, size = config["vision_config"], settings.get("size") or {}
        side = int(size.get("height", _first(vision.get("image_size", 448))))
        across = side // _first(vision.get("patch_size", 14))
        tokens = round(across * float(config.get("downsample_ratio", 0.5)))
        # InternVL's own processor turns the cutting on whatever the file of the image processor says.
        return cls(
            side=side,
            patches_across=across,
            pool=(tokens, tokens),
            min_tiles=int(settings.get("min_patches", 1)),
            max_tiles=int(settings.get("max_patches", 12)),
            mean=tuple(settings.get("image_mean", (0.48145466, 0.4578275, 0.40821073))),
            std=tuple(settings.get("image_std", (0.26862954, 0.26130258, 0.27577711))),
            rescale=float(settings.get("rescale_factor", 1 / 255)),
            resample=int(settings.get("resample", 3)),
        )

    def grid(self, max_visual_tokens: int | None) -> tuple[int, int]:
        """Visual tokens down and across of a tile: all of them, unless the cap is below one tile."""
        return shrunk_grid(self.pool, max_visual_tokens)

    def _most_tiles(self, max_visual_tokens: int | None) -> int:
        """Most tiles of an image under the cap; more than one bring a thumbnail along, which counts too."""
        if max_visual_tokens is None:
            return self.max_tiles
        tiles = max_visual_tokens // (self.pool[0] * self.pool[1])
        return max(1, min(self.max_tiles, tiles - 1))

    def arrangements(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tiles down and across of each image, int64 [n] each: the nearest aspect ratio, as the processor chooses."""
        most = self._most_tiles(max_visual_tokens)
        heights, widths = np.asarray(heights, dtype=np.int64), np.asarray(widths, dtype=np.int64)
        down, across = np.ones(len(heights), dtype=np.int64), np.ones(len(heights), dtype=np.int64)
        ratio, area = widths / heights, (widths * heights).astype(np.float64)
        nearest = np.full(len(heights), np.inf)
        for columns, rows in _arrangements(min(self.min_tiles, most), most) if most > 1 else ():
            distance = np.abs(ratio - columns / rows)
            # Of equally near ones the larger, while it is not more than twice the image's own area.
            better = (distance < nearest) | (
                (distance == nearest) & (area > 0.5 * self.side * self.side * columns * rows)
            )
            nearest = np.minimum(nearest, distance)
            down, across = np.where(better, rows, down), np.where(better, columns, across)
        return down, across

    def sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Visual tokens and vision patches of each image, int64 [n] each."""
        tiles = _with_thumbnail(*self.arrangements(heights, widths, max_visual_tokens))
        down, across = self.grid(max_visual_tokens)
        return tiles * down * across, tiles * self.patches_across**2

    def target(self, height: int, width: int, max_visual_tokens: int | None) -> tuple[int, int]:
        """Pixels down and across after resizing."""
        down, across = self.arrangements(np.array([height]), np.array([width]), max_visual_tokens)
        return int(down[0]) * self.side, int(across[0]) * self.side

    def arrays(
        self,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """``pixel_values`` float32 [tiles, 3, side, side], ``image_grid`` int64 [tiles, 2]; and for each image a grid.

        The grid of an image, int64 [images, 2], is that of its tiles one below the other.
        """
        from PIL import Image

        down, across = self.grid(max_visual_tokens)
        table, resample = channel_table(self.mean, self.std, self.rescale), Image.Resampling(self.resample)
        tiles, grids = [], []
        for image, shape in zip(images, shapes or [image.shape for image in images], strict=True):
            picture = Image.fromarray(checked_image(image))
            height, width = self.target(shape[0], shape[1], max_visual_tokens)
            whole = np.asarray(picture.resize((width, height), resample=resample))
            rows, columns = height // self.side, width // self.side
            cut = whole.reshape(rows, self.side, columns, self.side, 3).transpose(0, 2, 1, 3, 4)
            tiles += list(cut.reshape(rows * columns, self.side, self.side, 3))
            if rows * columns > 1:
                tiles.append(np.asarray(picture.resize((self.side, self.side), resample=resample)))
            grids.append((int(_with_thumbnail(np.array(rows), np.array(columns))) * down, across))
        values = np.empty((len(tiles), 3, self.side, self.side), dtype=np.float32)
        for number, levels in enumerate(tiles):
            for channel in range(3):
                values[number, channel] = table[channel][levels[..., channel]]
        each = np.tile(np.array((down, across), dtype=np.int64), (len(tiles), 1))
        return {"pixel_values": values, "image_grid": each}, np.array(grids, dtype=np.int64).reshape(-1, 2)


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)


def _with_thumbnail(down: NDArray[np.int64], across: NDArray[np.int64]) -> NDArray[np.int64]:
    tiles = down * across
    return np.where(tiles > 1, tiles + 1, tiles)


@lru_cache(maxsize=64)
def _arrangements(fewest: int, most: int) -> tuple[tuple[int, int], ...]:
    """Columns and rows with a product in the bounds, by product; among equals in the processor's order."""
    pairs = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if fewest <= c * r <= most]
    return tuple(sorted(pairs, key=lambda pair: pair[0] * pair[1]))
