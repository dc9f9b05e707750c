"""What samples cost at any resolution: tokens, patches and modelled compute, by arithmetic on an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.models import Encoder
from infimed_core.plan.index import Index


def sums_of(values: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of consecutive spans; an empty span sums to 0 (``reduceat`` would give its neighbour's value)."""
    total = np.zeros(len(values) + 1, dtype=values.dtype)
    np.cumsum(values, out=total[1:])
    sums: NDArray[Any] = total[offsets[1:]] - total[offsets[:-1]]
    return sums


@dataclass(frozen=True)
class CostModel:
    """Relative compute of a sample. The defaults are forward FLOPs of an 8B decoder with a 0.6B vision tower:
    linear layers at 2 FLOPs a weight, causal attention per segment, full attention per image."""

    token: float = 1.0
    token_squared: float = 1.8e-5
    patch: float = 0.075
    patch_squared: float = 7.8e-6


@dataclass(frozen=True)
class Lengths:
    """What samples cost at one cap, int64 [n] each; ``patches_squared`` is summed over a sample's images."""

    tokens: NDArray[np.int64]
    patches: NDArray[np.int64]
    patches_squared: NDArray[np.float64]
    images: NDArray[np.int64]

    def take(self, which: NDArray[np.int64]) -> Lengths:
        """The same for some of the samples."""
        return Lengths(self.tokens[which], self.patches[which], self.patches_squared[which], self.images[which])

    def cost(self, model: CostModel) -> NDArray[np.float64]:
        """Modelled compute, float64 [n]."""
        tokens = self.tokens.astype(np.float64)
        vision = model.patch * self.patches + model.patch_squared * self.patches_squared
        return model.token * tokens + model.token_squared * tokens**2 + vision


class Measure:
    """Lengths of every sample of an index at any cap; each size of image is computed once a cap."""

    def __init__(self, index: Index, encoder: Encoder) -> None:
        self._index, self._encoder = index, encoder
        keys, self._which = np.unique(index.sizes[:, 0] << 32 | index.sizes[:, 1], return_inverse=True)
        self._heights, self._widths = keys >> 32, keys & (2**32 - 1)
        self._images = np.diff(index.image_offsets)
        self._done: dict[int | None, Lengths] = {}

    def at(self, cap: int | None) -> Lengths:
        """Lengths at a cap, of all samples."""
        if cap not in self._done:
            visual, patches = self._of_sizes(cap)
            offsets = self._index.image_offsets
            self._done[cap] = Lengths(
                self._index.text + sums_of(visual[self._which], offsets),
                sums_of(patches[self._which], offsets),
                sums_of(patches[self._which].astype(np.float64) ** 2, offsets),
                self._images,
            )
        return self._done[cap]

    def of(self, rows: NDArray[np.int64], cap: int | None) -> Lengths:
        """Lengths at a cap of a few samples, without those of the rest."""
        images = self._images[rows]
        offsets = np.concatenate([[0], np.cumsum(images)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], images)
        kinds, which = np.unique(
            self._which[np.repeat(self._index.image_offsets[rows], images) + within], return_inverse=True
        )
        visual, patches = self._of_sizes(cap, kinds)
        squared = sums_of(patches[which].astype(np.float64) ** 2, offsets)
        return Lengths(
            self._index.text[rows] + sums_of(visual[which], offsets), sums_of(patches[which], offsets), squared, images
        )

    def largest(self, rows: NDArray[np.int64], cap: int | None) -> int:
        """Upper bound of visual tokens of one image of these samples."""
        tokens = self.of(rows, cap).tokens - self._index.text[rows]
        return int(tokens.max(initial=0))

    def _of_sizes(
        self, cap: int | None, kinds: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        heights, widths = (
            (self._heights, self._widths) if kinds is None else (self._heights[kinds], self._widths[kinds])
        )
        if len(heights) == 0:
            return heights, heights
        return self._encoder.visual_sizes(heights, widths, cap)
