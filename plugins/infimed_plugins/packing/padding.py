"""Packers that make padded batches: the baseline, and what a model gets whose samples cannot share a row."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Packer, Packs


class Padded(Packer):
    """Batches of neighbours, each sample padded to the longest; ``row_tokens`` bounds a batch with its padding."""

    padded: ClassVar[bool] = True
    batch_size: int = Field(default=8, ge=1, description="Most samples in a batch.")

    @property
    def most_in_row(self) -> int | None:
        """The size of a batch."""
        return self.batch_size

    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Batches in the order of the samples."""
        return self._batches(costs, budget, np.arange(len(costs)))

    def _batches(self, costs: NDArray[np.int64], budget: NDArray[np.int64], order: NDArray[np.int64]) -> Packs:
        members = order[(costs[order] <= budget).all(axis=1)]
        most_tokens, most_patches, most_images = budget.tolist()
        offsets = [0]
        size = longest = patches = images = 0
        for place, (new_tokens, new_patches, new_images) in enumerate(costs[members].tolist()):
            longest = max(longest, new_tokens)
            patches, images, size = patches + new_patches, images + new_images, size + 1
            if size > self.batch_size or longest * size > most_tokens or patches > most_patches or images > most_images:
                offsets.append(place)
                size, longest, patches, images = 1, new_tokens, new_patches, new_images
        if len(members):
            offsets.append(len(members))
        return Packs(members, np.array(offsets, dtype=np.int64))


class PaddedSorted(Padded):
    """Padded batches of samples of like length, sorted inside windows."""

    window: int = Field(default=400, ge=1, description="Samples sorted together.")

    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Batches from short to long inside each window."""
        windows = np.arange(len(costs)) // self.window
        return self._batches(costs, budget, np.lexsort((costs[:, 0], windows)))
