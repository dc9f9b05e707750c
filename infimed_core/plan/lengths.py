"""What samples cost at any resolution: tokens, patches and modelled compute, by arithmetic on an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.models import Encoder
from infimed_core.plan.index import Index


def sums_of(values: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of consecutive spans; an empty span sums to 0 (``reduceat`` would give its neighbour's value)."""
    total = np.zeros(len(values) + 1, dtype=np.result_type(values, np.int64))
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
    """What samples cost at one cap.

    Attributes:
        tokens, patches, images: int32 [n].
        patches_squared: float64 [n], summed over a sample's images.
    """

    tokens: NDArray[np.int32]
    patches: NDArray[np.int32]
    patches_squared: NDArray[np.float64]
    images: NDArray[np.int32]

    def take(self, which: NDArray[np.integer[Any]]) -> Lengths:
        """The same for some of the samples."""
        return Lengths(*(getattr(self, item.name)[which] for item in fields(self)))

    @staticmethod
    def joined(parts: Sequence[Lengths]) -> Lengths:
        """The lengths of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        return Lengths(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Lengths)))

    def cost(self, model: CostModel) -> NDArray[np.float64]:
        """Modelled compute, float64 [n]; summed in place, for a stage may have millions of samples."""
        cost = self.tokens.astype(np.float64)
        squared = cost**2
        squared *= model.token_squared
        cost *= model.token
        cost += squared
        vision = model.patch * self.patches
        vision += np.multiply(self.patches_squared, model.patch_squared, out=squared)
        cost += vision
        return cost


class Measure:
    """Lengths of samples of an index at any cap."""

    def __init__(self, index: Index, encoder: Encoder) -> None:
        self._index, self._encoder = index, encoder
        sizes, self._size_of = np.unique(index.sizes[:, 0] << 32 | index.sizes[:, 1], return_inverse=True)
        self._heights, self._widths = sizes >> 32, sizes & (2**32 - 1)

    def of(self, rows: NDArray[np.integer[Any]], cap: int | None) -> Lengths:
        """Lengths at a cap of some samples; what each size of image gives is computed once."""
        starts, stops = self._index.image_offsets[rows], self._index.image_offsets[rows + 1]
        images = stops - starts
        offsets = np.concatenate([[0], np.cumsum(images)])
        size_of = self._size_of[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], images)]
        visual, patches = self._heights, self._heights
        if len(visual):
            visual, patches = self._encoder.visual_sizes(self._heights, self._widths, cap)
        return Lengths(
            (self._index.text[rows] + sums_of(visual[size_of], offsets)).astype(np.int32),
            sums_of(patches[size_of], offsets).astype(np.int32),
            sums_of(patches[size_of].astype(np.float64) ** 2, offsets),
            images.astype(np.int32),
        )

    def largest(self, rows: NDArray[np.integer[Any]], cap: int | None) -> int:
        """Upper bound of visual tokens of one image of these samples."""
        return int((self.of(rows, cap).tokens - self._index.text[rows]).max(initial=0))
