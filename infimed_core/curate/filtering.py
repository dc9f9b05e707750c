"""The filters of a run: what is kept out of its training data as a whole, and a count of every reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import ComponentRef
from infimed_core.api.data import DatasetFilter, Executor, Sample
from infimed_core.api.evaluation import Benchmark
from infimed_core.errors import PluginError
from infimed_core.runfile.sections import benchmark_name
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.questions import read_questions
from infimed_core.store.steps import Outcome, RunState

DEFAULT_FILTERS = (ComponentRef(use="contamination"),)
"""What a run with an evaluation checks unless its ``data.filters`` says otherwise."""


def filter_dataset(
    state: RunState, dataset: Dataset, inputs_digest: str, executor: Executor
) -> tuple[NDArray[np.bool_], str]:
    """Put the data before every filter.

    Returns:
        Which rows are left out, bool [n], and a digest of the filters that left rows out ("" where none did).
    """
    section = state.plan.file.data
    assert section is not None
    evaluation = state.plan.file.evaluation
    uses = section.filters
    if uses is None:
        offered = state.registry.names("filter")
        uses = tuple(use for use in DEFAULT_FILTERS if evaluation is not None and use.use in offered)
    left_out = np.zeros(len(dataset), dtype=bool)
    hashes = []
    for index, use in enumerate(uses):
        filter_ = cast(
            DatasetFilter,
            state.plan.components.get(f"data.filters.{index}")
            or state.registry.find("filter", use.use).model_validate(use.settings),
        )
        limit = evaluation.limit if evaluation else None
        benchmarks: dict[str, Benchmark] = {
            benchmark_name(evaluation.benchmarks, number): state.plan.component(f"evaluation.benchmarks.{number}")
            for number in range(len(evaluation.benchmarks) if evaluation else 0)
            if evaluation
        }
        prints = {name: benchmark.fingerprint() for name, benchmark in benchmarks.items()}
        hashed = digest("filter", 2, inputs_digest, filter_.identity(), prints, limit)
        name = f"filter-{use.use.rsplit('/', 1)[-1]}"

        def work(
            directory: Path,
            filter_: DatasetFilter = filter_,
            benchmarks: dict[str, Benchmark] = benchmarks,
            limit: int | None = limit,
        ) -> Outcome:
            questions: dict[str, list[Sample]] = {
                title: read_questions(benchmark, state.media_directory, limit)[0]
                for title, benchmark in benchmarks.items()
            }
            filtered = filter_.check(dataset, questions, state.media, executor)
            mask = dataset.mask_of(filtered.rejected.keys())
            if int(mask.sum()) != len(filtered.rejected):
                unknown = filtered.rejected.keys() - set(dataset.ids)
                raise PluginError(f"filter '{type(filter_).__name__}' rejected '{min(unknown)}', which is no sample")
            write_atomically(directory / "rejected.json", json.dumps(filtered.rejected))
            np.save(directory / "left_out.npy", mask, allow_pickle=False)
            first = Counter(reasons[0] if reasons else "unstated" for reasons in filtered.rejected.values())
            return Outcome(len(dataset), len(dataset) - len(filtered.rejected), dict(first), filtered.details)

        artifact = state.step(name, hashed, work)
        mask = np.load(artifact.directory / "left_out.npy", allow_pickle=False)
        left_out |= mask
        if mask.any():
            hashes.append(hashed)
    return left_out, digest(hashes) if hashes else ""
