"""The data of a run: read, put before the filters, scored and selected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.data import Executor
from infimed_core.curate.filtering import filter_dataset
from infimed_core.curate.reading import executor_of, read_sources
from infimed_core.curate.scoring import score_samples
from infimed_core.curate.selecting import select_samples
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.steps import RunState


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

    def texts(self) -> Iterator[str]:
        """Every text of the samples that are trained on."""
        for row in np.flatnonzero(self.kept).tolist():
            yield from (turn.text for turn in self.dataset[row].turns)


def curate(state: RunState) -> Curated:
    """Read, filter, then score and select where the run file has a ``quality:`` section."""
    executor = executor_of(state)
    with executor.opened():  # not longer: idle processes hold memory that training may need
        return _curate(state, executor)


def _curate(state: RunState, executor: Executor) -> Curated:
    dataset, hashed = read_sources(state, executor)
    left_out, filters_digest = filter_dataset(state, dataset, hashed, executor)
    quality = state.plan.file.quality
    if quality is not None:
        tables, score_digest = score_samples(state, dataset, hashed, executor)
        if quality.select is not None:
            made_of = digest(score_digest, filters_digest) if filters_digest else score_digest
            kept, select_digest = select_samples(state, dataset, tables, left_out, made_of)
            return Curated(dataset, kept, hashed, digest(hashed, select_digest))
    return Curated(dataset, ~left_out, hashed, digest(hashed, filters_digest) if filters_digest else hashed)
