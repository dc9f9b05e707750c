"""The filters of a run: what is kept out of its training data as a whole, and a count of every reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import with_versions
from infimed_core.api.data import DatasetFilter, Executor
from infimed_core.api.evaluation import Benchmark
from infimed_core.contracts import checked_filtered, wrong
from infimed_core.runfile.sections import benchmark_name
from infimed_core.store.artifacts import digest, mask_digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.questions import read_questions
from infimed_core.store.steps import Outcome, RunState


def filter_dataset(
    state: RunState, dataset: Dataset, inputs_digest: str, executor: Executor, step: str = "filter"
) -> tuple[NDArray[np.bool_], str]:
    """Put the data before every filter; each sees all of them and counts what the filters before it have kept.

    Returns:
        Which rows are left out, bool [n], and a digest of them ("" where there are none): what follows is made anew
        only where other rows are left out, not where a benchmark asks its questions otherwise.
    """
    section, evaluation = state.plan.file.data, state.plan.file.evaluation
    assert section is not None
    limit, refs = (evaluation.limit, evaluation.benchmarks) if evaluation is not None else (None, [])
    benchmarks: dict[str, Benchmark] = {
        benchmark_name(refs, n): state.plan.component(f"evaluation.benchmarks.{n}") for n in range(len(refs))
    }
    left_out = np.zeros(len(dataset), dtype=bool)
    for number, use in enumerate(section.filters or ()):
        filter_: DatasetFilter = state.plan.component(f"data.filters.{number}")
        prints = {name: with_versions(benchmark, benchmark.fingerprint()) for name, benchmark in benchmarks.items()}
        hashed = digest("filter", 3, inputs_digest, filter_.identity(), prints, limit, mask_digest(left_out))

        def work(directory: Path, filter_: DatasetFilter = filter_, earlier: NDArray[np.bool_] = left_out) -> Outcome:
            questions = {
                name: read_questions(benchmark, state.media_directory, limit)[0]
                for name, benchmark in benchmarks.items()
            }
            filtered = checked_filtered(filter_, filter_.check(dataset, questions, state.media, executor))
            first = Counter[str]()
            mask = np.zeros(len(dataset), dtype=bool)
            for row, identity in enumerate(dataset.ids) if filtered.rejected else ():
                if (reasons := filtered.rejected.get(identity)) is not None:
                    mask[row] = True
                    first[reasons[0] if reasons else "unstated"] += not earlier[row]
            if int(mask.sum()) != len(filtered.rejected):
                unknown = min(filtered.rejected.keys() - set(dataset.ids))
                raise wrong(filter_, "check", f"rejected '{unknown}', which is no sample")
            write_atomically(directory / "rejected.json", json.dumps(filtered.rejected))
            np.save(directory / "left_out.npy", mask, allow_pickle=False)
            num_in, dropped = int((~earlier).sum()), {reason: count for reason, count in first.items() if count}
            return Outcome(num_in, num_in - sum(dropped.values()), dropped, filtered.details)

        title = use.use.rsplit("/", 1)[-1]
        artifact = state.step(f"{step}-{title}", hashed, work, kind="filter", subject={"filter": title})
        mask = np.load(artifact.directory / "left_out.npy", allow_pickle=False)
        left_out = left_out | mask
    return left_out, mask_digest(left_out) if left_out.any() else ""
