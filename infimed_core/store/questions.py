"""The questions of a benchmark as a run asks them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from infimed_core.api.data import Fault, Sample
from infimed_core.api.evaluation import Benchmark
from infimed_core.contracts import wrong
from infimed_core.store.dataset import line_of, store_media
from infimed_core.texts import whole


def read_questions(
    benchmark: Benchmark, media_directory: Path, limit: int | None, only: Collection[str] | None = None
) -> tuple[list[Sample], list[Fault]]:
    """The questions of a benchmark with inline media stored beside the run, and the rows that are none.

    ``only`` keeps the questions with these ids, ``limit`` the first of those.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    for row in benchmark.samples():
        if isinstance(row, Fault):
            faults.append(row)
            continue
        if not isinstance(row, Sample):
            raise wrong(benchmark, "samples", f"yielded a {type(row).__name__}; yield a Sample or a Fault for each")
        if row.id in seen:  # answers are told apart by it
            faults.append(Fault(sample_id=row.id, code="duplicate_id", detail="a question before it has this id"))
            continue
        seen.add(row.id)
        if only is not None and row.id not in only:
            continue
        if limit is not None and len(samples) >= limit:
            break
        row = store_media(row, media_directory)
        try:
            line_of(row)
            samples.append(row)
        except ValueError as error:
            faults.append(Fault(sample_id=whole(row.id), code="bad_text", detail=whole(f"cannot be written: {error}")))
    return samples, faults
