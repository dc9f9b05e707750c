"""Images for a SigLIP tower (LLaVA, Gemma3): one size for all pixels, a pooled grid of tokens that may shrink."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.vlm.pixels import channel_table, checked_image


@dataclass(frozen=True)
class SiglipPixels:
    """The settings of a SiglipImageProcessor or Gemma3ImageProcessor, and of the projector behind the tower.

    Attributes:
        side: pixels down and across of what the tower sees.
        patches_across: the tower's patches along a side.
        pool: visual tokens down and across without a cap.
    """

    side: int
    patches_across: int
    pool: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float
    resample: int
    merge: int = 1

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], config: Mapping[str, Any]) -> SiglipPixels:
        """Read ``preprocessor_config.json`` and ``config.json``; what they leave out is transformers' default."""
        gemma, vision = config["model_type"] == "gemma3", config["vision_config"]
        side = int(vision.get("image_size", 224))
        across = side // int(vision.get("patch_size", 16))
        pool = config.get("projector_pool") or (across, across)
        if gemma:
            kernel = across // int(config.get("mm_tokens_per_image", 256) ** 0.5)
            pool = (across // kernel, across // kernel)
        return cls(
            side=side,
            patches_across=across,
            pool=(int(pool[0]), int(pool[1])),
            mean=tuple(settings.get("image_mean", (0.5, 0.5, 0.5))),
            std=tuple(settings.get("image_std", (0.5, 0.5, 0.5))),
            rescale=float(settings.get("rescale_factor", 1 / 255)),
            resample=int(settings.get("resample", 2 if gemma else 3)),
        )

    def grid(self, max_visual_tokens: int | None) -> tuple[int, int]:
        """Visual tokens down and across of every image under the cap: the pooling grid, shrunk in proportion."""
        return shrunk_grid(self.pool, max_visual_tokens)

    def sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Visual tokens and vision patches of each image, int64 [n] each: the same for every size."""
        down, across = self.grid(max_visual_tokens)
        count = len(heights)
        return np.full(count, down * across, dtype=np.int64), np.full(count, self.patches_across**2, dtype=np.int64)

    def target(self, height: int, width: int, max_visual_tokens: int | None) -> tuple[int, int]:
        """Pixels down and across after resizing."""
        return self.side, self.side

    def arrays(
        self,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """``pixel_values`` float32 [images, 3, side, side], ``image_grid`` int64 [images, 2]; and that grid again."""
        from PIL import Image

        table = channel_table(self.mean, self.std, self.rescale)
        values = np.empty((len(images), 3, self.side, self.side), dtype=np.float32)
        for index, image in enumerate(images):
            picture = Image.fromarray(checked_image(image))
            if picture.size != (self.side, self.side):
                picture = picture.resize((self.side, self.side), resample=Image.Resampling(self.resample))
            levels = np.asarray(picture)
            for channel in range(3):
                values[index, channel] = table[channel][levels[..., channel]]
        grids = np.tile(np.array(self.grid(max_visual_tokens), dtype=np.int64), (len(images), 1))
        return {"pixel_values": values, "image_grid": grids}, grids


def shrunk_grid(pool: tuple[int, int], max_visual_tokens: int | None) -> tuple[int, int]:
    """``pool`` (tokens down and across), made smaller in proportion until it keeps the cap."""
    down, across = pool
    if max_visual_tokens is None or down * across <= max_visual_tokens:
        return down, across
    shrink = math.sqrt(max_visual_tokens / (down * across))
    short = max(1, int(min(down, across) * shrink + 1e-9))
    long = max(1, min(int(max(down, across) * shrink + 1e-9), max_visual_tokens // short))
    return (short, long) if down <= across else (long, short)


def llava_processor(patch_size: int, image_token: str) -> dict[str, Any]:
    """``processor_config.json`` of a LLaVA without pooling, whose images have a token for every patch."""
    return {
        "processor_class": "LlavaProcessor", "image_token": image_token, "patch_size": patch_size,
        "num_additional_image_tokens": 0, "vision_feature_select_strategy": "full",
    }  # fmt: skip


def use_published_names(directory: Path) -> None:
    """Rename a SigLIP tower's weights in a new checkpoint to the names of published ones, which servers look for.

    transformers reads both and writes them as it read them.
    """
    from safetensors.torch import load_file, save_file

    old, new = "vision_tower.", "vision_tower.vision_model."

    def renamed(name: str) -> str:
        return name.replace(old, new, 1) if old in name and new not in name else name

    for file in sorted(directory.glob("*.safetensors")):
        save_file({renamed(name): tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        body = json.loads(index.read_text(encoding="utf-8"))
        body["weight_map"] = {renamed(name): file for name, file in body["weight_map"].items()}
        index.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
