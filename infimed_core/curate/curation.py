"""The data of a run: read, put before the filters, scored and selected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    """The run's samples and which of them are trained on."""

    dataset: Dataset
    kept: frozenset[str]
    dataset_digest: str
    digest: str

    def texts(self) -> Iterator[str]:
        """Every text of the samples that are trained on."""
        for row in range(len(self.dataset)):
            sample = self.dataset[row]
            if sample.id in self.kept:
                yield from (turn.text for turn in sample.turns)


def curate(state: RunState) -> Curated:
    """Read, put the data before the filters, then score and select where the run file has a ``quality:`` section."""
    executor = executor_of(state)
    with executor.opened():  # not longer: idle processes hold memory that training may need
        return _curate(state, executor)


def _curate(state: RunState, executor: Executor) -> Curated:
    dataset, hashed = read_sources(state, executor)
    filtered, _ = filter_dataset(state, dataset, hashed, executor)

    def passed() -> Curated:
        kept = frozenset(identity for identity in dataset.ids if identity not in filtered)
        return Curated(dataset, kept, hashed, digest(hashed, sorted(filtered)) if filtered else hashed)

    if state.plan.file.quality is None:
        return passed()
    tables, score_hash = score_samples(state, dataset, hashed, executor)
    if state.plan.file.quality.select is None:
        return passed()
    inputs_digest = digest(score_hash, sorted(filtered)) if filtered else score_hash
    kept, select_hash = select_samples(state, dataset, tables, filtered, inputs_digest)
    return Curated(dataset, kept, hashed, digest(hashed, select_hash))
