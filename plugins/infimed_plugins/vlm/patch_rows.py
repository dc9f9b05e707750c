"""Images at native resolution as patches line by line: what the towers of Mistral 3 (Pixtral) and Gemma 4 take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.vlm.pixels import Tiled, channel_table


@dataclass(frozen=True)
class PatchRows(Tiled):
    """The settings of an image processor; ``merge`` patches down and across become one visual token."""

    patch: int
    merge: int
    largest: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float
    resample: int

    channels_last: ClassVar[bool]
    """Whether a patch is written pixel by pixel (else channel by channel)."""
    marked: ClassVar[int]
    """Tokens that mark the end of each line of visual tokens."""

    def sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens (those that end lines included) and vision patches of each image, int64 [n] each."""
        down, across = self.grids(heights, widths, max_visual_tokens)
        return down * (across + self.marked), down * across * self.merge * self.merge

    def arrays(
        self,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """Patches of all images, and of each image its tokens down and across (the ends of lines included).

        ``pixel_values`` float32 [patches, 3 * patch * patch], ``image_grid_thw`` int64 [images, 3] in patches;
        ``shapes`` (height, width) are those of the headers where images were decoded smaller: they decide the grid.
        """
        side, table = self.patch, channel_table(self.mean, self.std, self.rescale)
        blocks, grids = [], []
        for image, shape in zip(images, shapes or [image.shape for image in images], strict=True):
            image = self.resized(image, shape, max_visual_tokens)
            height, width = image.shape[:2]
            levels = np.stack([table[channel][image[..., channel]] for channel in range(3)])
            cut = levels.reshape(3, height // side, side, width // side, side)
            order = (1, 3, 2, 4, 0) if self.channels_last else (1, 3, 0, 2, 4)
            blocks.append(cut.transpose(order).reshape(-1, 3 * side * side))
            grids.append((1, height // side, width // side))
        each = np.array(grids, dtype=np.int64).reshape(-1, 3)
        values = np.concatenate(blocks)
        return {"pixel_values": values, "image_grid_thw": each}, each[:, 1:] // self.merge + (0, self.marked)


class PixtralPixels(PatchRows):
    """The settings of a PixtralImageProcessor as Mistral 3's processor uses it; ``largest`` is the longest side."""

    channels_last, marked = False, 1

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], config: Mapping[str, Any]) -> PixtralPixels:
        """Read ``preprocessor_config.json`` and ``config.json``; what they leave out is the processor's default."""
        size = settings.get("size") or {}
        return cls(
            patch=int(config["vision_config"].get("patch_size", 14)),
            merge=int(config.get("spatial_merge_size", 2)),
            largest=int(size.get("longest_edge") or max(size.get("height", 0), size.get("width", 0)) or 1024),
            mean=tuple(settings.get("image_mean", (0.48145466, 0.4578275, 0.40821073))),
            std=tuple(settings.get("image_std", (0.26862954, 0.26130258, 0.27577711))),
            rescale=float(settings.get("rescale_factor", 1 / 255)),
            resample=int(settings.get("resample", 3)),
        )

    def grids(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shrunk to the longest side, filled up to whole tiles; under a cap smaller, with the ends of lines counted.

        Every image has a token and the end of its line: a cap of one cannot be kept.
        """
        heights, widths = np.asarray(heights, dtype=np.int64), np.asarray(widths, dtype=np.int64)
        ratio = np.maximum(heights / self.largest, widths / self.largest)
        shrunk = ratio > 1
        divisor = np.where(shrunk, ratio, 1.0)
        heights = np.where(shrunk, np.floor(heights / divisor), heights).astype(np.int64)
        widths = np.where(shrunk, np.floor(widths / divisor), widths).astype(np.int64)
        down = np.maximum(1, (heights - 1) // self.tile + 1)
        across = np.maximum(1, (widths - 1) // self.tile + 1)
        if max_visual_tokens is None:
            return down, across
        cap = max(2, max_visual_tokens)
        # The scale at which scale * down lines of scale * across tokens and an end each come to the cap.
        area = down.astype(np.float64) * across
        scale = (np.sqrt(down.astype(np.float64) ** 2 + 4 * area * cap) - down) / (2 * area)
        broken = down * (across + 1) > cap
        few_down, few_across = np.maximum(1, np.floor(down * scale)), np.maximum(1, np.floor(across * scale))
        down, across = np.where(broken, few_down, down), np.where(broken, few_across, across)
        down = np.minimum(down, np.maximum(1, cap // (across + 1)))
        across = np.minimum(across, np.maximum(1, cap // down - 1))
        return down.astype(np.int64), across.astype(np.int64)


class Gemma4Pixels(PatchRows):
    """The settings of a Gemma4ImageProcessor; ``largest`` is the most visual tokens of an image."""

    channels_last, marked = True, 0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Gemma4Pixels:
        """Read ``preprocessor_config.json`` and ``config.json``; what they leave out is the processor's default."""
        vision, normal = config["vision_config"], bool(settings.get("do_normalize", False))
        patch = int(settings.get("patch_size") or vision.get("patch_size", 16))
        merge = int(settings.get("pooling_kernel_size") or vision.get("pooling_kernel_size", 3))
        if config.get("model_type") == "gemma4_unified":  # no tower that pools: a token is a patch of as many pixels
            patch, merge = patch * merge, 1
        return cls(
            patch=patch,
            merge=merge,
            largest=int(settings.get("max_soft_tokens") or 280),
            mean=tuple(settings.get("image_mean", (0.0,) * 3)) if normal else (0.0,) * 3,
            std=tuple(settings.get("image_std", (1.0,) * 3)) if normal else (1.0,) * 3,
            rescale=float(settings.get("rescale_factor", 1 / 255)),
            resample=int(settings.get("resample", 3)),
        )

    def grids(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The largest grid of the image's shape that keeps the limit: small images are enlarged to it, too."""
        heights, widths = np.asarray(heights, dtype=np.int64), np.asarray(widths, dtype=np.int64)
        most = self.largest if max_visual_tokens is None else min(self.largest, max_visual_tokens)
        factor = np.sqrt(most * self.merge**2 * self.patch**2 / (heights * widths))
        down = np.floor(factor * heights / self.tile).astype(np.int64)
        across = np.floor(factor * widths / self.tile).astype(np.int64)
        flat, upright = (down == 0) & (across > 0), (across == 0) & (down > 0)
        across = np.where(flat, np.minimum(widths // heights, most), np.maximum(1, across))
        down = np.where(upright, np.minimum(heights // widths, most), np.maximum(1, down))
        return np.minimum(down, np.maximum(1, most // across)), across


def tower_inputs(images: str, values: Any, grid: Any, patch: int) -> dict[str, Any]:
    """Patches and grids (torch tensors, as ``arrays`` lays them out) as the forward of a family takes them.

    Args:
        images: "pixtral" or "gemma4".
        values: float [patches, 3 * patch * patch].
        grid: int64 [images, 3] in patches.
        patch: side of a patch in pixels.
    """
    import torch

    counts = grid.prod(dim=1).tolist()
    parts = list(values.split(counts))
    sizes = grid[:, 1:].tolist()
    if images == "pixtral":  # the tower cuts them again: as pictures, filled up to the largest, with their real sizes
        whole = values.new_zeros(len(parts), 3, max(h for h, _ in sizes) * patch, max(w for _, w in sizes) * patch)
        for number, (part, (down, across)) in enumerate(zip(parts, sizes, strict=True)):
            picture = part.view(down, across, 3, patch, patch).permute(2, 0, 3, 1, 4)
            whole[number, :, : down * patch, : across * patch] = picture.reshape(3, down * patch, across * patch)
        return {"pixel_values": whole, "image_sizes": grid[:, 1:] * patch}
    filled = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    positions = torch.full((*filled.shape[:2], 2), -1, dtype=torch.int64, device=values.device)
    for number, (down, across) in enumerate(sizes):
        along, below = torch.arange(across, device=values.device), torch.arange(down, device=values.device)
        positions[number, : down * across] = torch.stack([along.repeat(down), below.repeat_interleave(across)], dim=-1)
    return {"pixel_values": filled, "image_position_ids": positions}


def patches_per_token(config: Any) -> int:
    """Patches down and across that become one visual token, by a configuration of a tower at native resolution."""
    vision = config.vision_config
    if hasattr(vision, "model_patch_size"):  # Gemma 4 without a tower: patches come merged
        return 1
    for holder, name in (
        (vision, "spatial_merge_size"),
        (config, "spatial_merge_size"),
        (vision, "pooling_kernel_size"),
    ):
        if merge := getattr(holder, name, None):
            return int(merge)
    return 1


def patch_features(vision: Any) -> int:
    """Numbers that a patch is made of, by the configuration of a vision tower."""
    channels = getattr(vision, "in_channels", None) or getattr(vision, "in_chans", None) or 3
    side = getattr(vision, "model_patch_size", vision.patch_size)
    return int(channels * getattr(vision, "temporal_patch_size", 1) * side**2)
