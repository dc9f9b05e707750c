"""Phases of resolution and packs of samples, and the parts that plan them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core.api.component import Component


class ResolutionScheduler(Component):
    """Says how large images may be at each point of a stage."""

    @abstractmethod
    def plan(self, num_samples: int) -> list[Phase]:
        """Phases that cover samples 0 to ``num_samples`` without gap or overlap."""


class Packer(Component):
    """Groups samples into rows. Sees costs, not samples."""

    row_tokens: int = Field(default=4096, ge=1, description="Most language-model tokens in a row.")
    row_patches: int | None = Field(default=None, ge=1, description="Most vision patches in a row.")
    row_images: int | None = Field(default=None, ge=1, description="Most images in a row.")

    padded: ClassVar[bool] = False
    """Whether rows are padded batches (every segment as long as the longest) instead of packed ones."""

    @property
    def budget(self) -> NDArray[np.int64]:
        """int64 [3]: tokens, patches, images; ``2**62`` where there is no limit."""
        unlimited = 2**62
        return np.array([self.row_tokens, self.row_patches or unlimited, self.row_images or unlimited], dtype=np.int64)

    @property
    def most_in_row(self) -> int | None:
        """Most samples in a row, where the settings alone say it."""
        return None

    @abstractmethod
    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Group indices of ``costs`` (int64 [n, 3]: tokens, patches, images) so that no group exceeds ``budget``.

        Deterministic. The costs come in a seeded random order. An index left out (it fits no row) is a counted drop.
        """


@dataclass(frozen=True)
class Phase:
    """Samples ``start`` to ``stop`` (exclusive) of a stage are seen at no more than ``max_visual_tokens`` an image.

    ``None`` is native resolution.
    """

    start: int
    stop: int
    max_visual_tokens: int | None


@dataclass(frozen=True)
class Packs:
    """Groups of indices as a CSR pair: pack ``i`` is ``members[offsets[i]:offsets[i + 1]]``.

    Attributes:
        members: whole numbers [number of packed indices].
        offsets: int64 [number of packs + 1], from 0, non-decreasing.
    """

    members: NDArray[np.integer[Any]]
    offsets: NDArray[np.int64]

    @classmethod
    def from_lists(cls, groups: Iterable[Sequence[int]]) -> Packs:
        """The same packs from a list of lists."""
        groups = list(groups)
        lengths = np.fromiter((len(group) for group in groups), dtype=np.int64, count=len(groups))
        offsets = np.zeros(len(groups) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        members = np.fromiter((i for group in groups for i in group), dtype=np.int64, count=int(offsets[-1]))
        return cls(members, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.integer[Any]]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.members[self.offsets[index] : self.offsets[index + 1]]

    def take(self, order: NDArray[np.integer[Any]]) -> Packs:
        """The packs with these numbers, in this order."""
        sizes = np.diff(self.offsets)[order]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][order] - offsets[:-1], sizes)
        return Packs(self.members[within], offsets)
