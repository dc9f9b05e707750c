"""The filters of a run: what is kept out of its training data as a whole, and a count of every reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import cast

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
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Put the data before every filter; return the ids to keep out, each with its reasons, and a digest."""
    section = state.plan.file.data
    assert section is not None
    evaluation = state.plan.file.evaluation
    uses = section.filters
    if uses is None:
        offered = state.registry.names("filter")
        uses = tuple(use for use in DEFAULT_FILTERS if evaluation is not None and use.use in offered)
    rejected: dict[str, tuple[str, ...]] = {}
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
        hashed = digest("filter", 1, inputs_digest, filter_.identity(), prints, limit)
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
            unknown = filtered.rejected.keys() - set(dataset.ids)
            if unknown:
                raise PluginError(f"filter '{type(filter_).__name__}' rejected '{min(unknown)}', which is no sample")
            write_atomically(directory / "rejected.json", json.dumps(filtered.rejected))
            first = Counter(reasons[0] if reasons else "unstated" for reasons in filtered.rejected.values())
            return Outcome(len(dataset), len(dataset) - len(filtered.rejected), dict(first), filtered.details)

        artifact = state.step(name, hashed, work)
        text = (artifact.directory / "rejected.json").read_text(encoding="utf-8")
        for identity, reasons in json.loads(text).items():
            rejected[identity] = (*rejected.get(identity, ()), *reasons)
        hashes.append(hashed)
    return rejected, digest(hashes) if hashes else ""
