"""The filters of a run: what is kept out of its training data as a whole, and a count of every reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from infimed_core.api.component import with_versions
from infimed_core.api.data import DatasetFilter, Executor, Sample
from infimed_core.api.evaluation import Benchmark
from infimed_core.contracts import checked_filtered
from infimed_core.runfile.sections import benchmark_name
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.questions import read_questions
from infimed_core.store.steps import Outcome, RunState


def filter_dataset(
    state: RunState, dataset: Dataset, inputs_digest: str, executor: Executor
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Put the data before every filter; return the ids to keep out, each with its reasons, and a digest."""
    section = state.plan.file.data
    assert section is not None
    evaluation = state.plan.file.evaluation
    rejected: dict[str, tuple[str, ...]] = {}
    hashes = []
    for index, use in enumerate(section.filters or ()):
        filter_: DatasetFilter = state.plan.component(f"data.filters.{index}")
        limit = evaluation.limit if evaluation else None
        benchmarks: dict[str, Benchmark] = {
            benchmark_name(evaluation.benchmarks, number): state.plan.component(f"evaluation.benchmarks.{number}")
            for number in range(len(evaluation.benchmarks) if evaluation else 0)
            if evaluation
        }
        prints = {name: with_versions(benchmark, benchmark.fingerprint()) for name, benchmark in benchmarks.items()}
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
            found = filter_.check(dataset, questions, state.media, executor)
            filtered = checked_filtered(filter_, found, dataset.ids)
            write_atomically(directory / "rejected.json", json.dumps(filtered.rejected))
            first = Counter(reasons[0] if reasons else "unstated" for reasons in filtered.rejected.values())
            return Outcome(len(dataset), len(dataset) - len(filtered.rejected), dict(first), filtered.details)

        artifact = state.step(name, hashed, work)
        text = (artifact.directory / "rejected.json").read_text(encoding="utf-8")
        for identity, reasons in json.loads(text).items():
            rejected[identity] = (*rejected.get(identity, ()), *reasons)
        hashes.append(hashed)
    return rejected, digest(hashes) if hashes else ""
