"""The data of a run: read, put before the filters, scored and selected."""

from __future__ import annotations

from infimed_core.api.data import Executor
from infimed_core.curate.filtering import filter_dataset
from infimed_core.curate.reading import executor_of, read_sources
from infimed_core.curate.scoring import score_samples
from infimed_core.curate.selecting import select_samples
from infimed_core.store.artifacts import digest
from infimed_core.store.curated import Curated
from infimed_core.store.steps import RunState


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
