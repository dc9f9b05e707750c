"""The data of a run after curation: samples on disk, and which of them are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.data import Sample
from infimed_core.store.dataset import Dataset


@dataclass(frozen=True)
class Curated:
    """The run's samples and which of them are trained on.

    Attributes:
        kept: bool [n], the rows that are trained on.
        dataset_digest: digest of what was read.
        digest: of what was read and kept.
    """

    dataset: Dataset
    kept: NDArray[np.bool_]
    dataset_digest: str
    digest: str

    def samples(self) -> Iterator[Sample]:
        """The samples that are trained on."""
        return (self.dataset[row] for row in np.flatnonzero(self.kept).tolist())

    def texts(self) -> Iterator[str]:
        """Every text of the samples that are trained on."""
        return (turn.text for sample in self.samples() for turn in sample.turns)
