"""The data of a run: read, put before the filters, scored and selected."""

from __future__ import annotations

from infimed_core.api.data import Executor
from infimed_core.contracts import CheckedExecutor
from infimed_core.curate.filtering import filter_dataset
from infimed_core.curate.reading import read_sources
from infimed_core.curate.scoring import score_samples
from infimed_core.curate.selecting import select_samples
from infimed_core.curate.synthesizing import synthesize_samples
from infimed_core.errors import NoSampleError
from infimed_core.plugin_loading import is_outside
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Curated
from infimed_core.store.steps import RunState

_REMEDIES = {
    "read": "Mend the data: {run}/artifacts/read-*/faults.jsonl says of every row what is wrong",
    "filter": "Look at data.filters: it keeps out what is in the benchmarks of 'evaluation:' or there twice",
    "select": "See the scores in the report, and loosen quality.select",
}
"""By kind of step, what helps where it took the most samples."""


def curate(state: RunState) -> Curated:
    """Read, filter, score and select where the run file has ``quality:``, and add what ``reasoning:`` makes.

    Raises:
        NoSampleError: the run trains, and no sample is left to train on.
    """
    # what comes from elsewhere, or what an attempt before this one may have died of, must not end this process
    used = [part for place, part in state.plan.components.items() if place.startswith(("data.", "quality."))]
    apart = bool(state.directory.left_by) or any(is_outside(type(part).__module__) for part in used)
    executor = CheckedExecutor(inner=state.plan.component("data.executor"), apart=apart)
    with executor.opened():  # not longer: idle processes hold memory that training may need
        curated = _curate(state, executor)
        if state.plan.file.reasoning is not None:
            curated = synthesize_samples(state, curated, executor)
    if state.plan.file.training is not None and not curated.kept.any():
        raise NoSampleError(_where_all_went(state, len(curated.kept)))
    return curated


def _curate(state: RunState, executor: Executor) -> Curated:
    dataset, hashed = read_sources(state, executor)
    left_out, filters_digest = filter_dataset(state, dataset, hashed, executor)
    quality = state.plan.file.quality
    if quality is not None:
        tables, score_digest = score_samples(state, dataset, hashed, executor, left_out.tobytes().rstrip(b"\0"))
        if quality.select is not None:
            made_of = digest(score_digest, filters_digest) if filters_digest else score_digest
            kept, select_digest = select_samples(state, dataset, tables, left_out, made_of)
            return Curated(dataset, kept, hashed, digest(hashed, select_digest), tables, score_digest)
    else:
        tables, score_digest = {}, ""
    kept_digest = digest(hashed, filters_digest) if filters_digest else hashed
    return Curated(dataset, ~left_out, hashed, kept_digest, tables, score_digest)


def _where_all_went(state: RunState, num_samples: int) -> str:
    """Where all samples of a run went, step by step, and what to do about the step that took the most."""
    steps = [step for step in state.directory.record.steps if step.kind in _REMEDIES and step.dropped]
    losses = [
        f"'{step.name}' left out {', '.join(f'{count:,} {code}' for code, count in step.dropped.items())}"
        for step in steps
    ]
    worst = max(steps, key=lambda step: sum(step.dropped.values()))
    losses_in_order = "; ".join([f"no sample to train on: of {num_samples:,} samples none was kept", *losses])
    return f"{losses_in_order}. {_REMEDIES[worst.kind].format(run=state.path)}"
