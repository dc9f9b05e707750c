"""The data of a run: read, put before the gates, scored and selected."""

from __future__ import annotations

from dataclasses import dataclass

from infimed_core.api.data import Executor
from infimed_core.curate.filtering import gate_data
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


def curate(state: RunState) -> Curated:
    """Read, put the data before the gates, then score and select where the run file has a ``quality:`` section."""
    executor = executor_of(state)
    with executor.opened():  # not longer: idle processes hold memory that training may need
        return _curate(state, executor)


def _curate(state: RunState, executor: Executor) -> Curated:
    dataset, hashed = read_sources(state, executor)
    gated, _ = gate_data(state, dataset, hashed, executor)

    def passed() -> Curated:
        kept = frozenset(identity for identity in dataset.ids if identity not in gated)
        return Curated(dataset, kept, hashed, digest(hashed, sorted(gated)) if gated else hashed)

    if state.plan.file.quality is None:
        return passed()
    tables, score_hash = score_samples(state, dataset, hashed, executor)
    if state.plan.file.quality.select is None:
        return passed()
    made_from = digest(score_hash, sorted(gated)) if gated else score_hash
    kept, select_hash = select_samples(state, dataset, tables, gated, made_from)
    return Curated(dataset, kept, hashed, digest(hashed, select_hash))
