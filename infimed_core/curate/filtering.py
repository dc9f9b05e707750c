"""The gates of a run: what is kept out of its training data as a whole, and a count of every reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import cast

from infimed_core.api.component import Use
from infimed_core.api.data import Executor, Gate, Sample
from infimed_core.api.evaluation import Benchmark
from infimed_core.errors import PluginError
from infimed_core.runfile.sections import benchmark_name
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.questions import read_questions
from infimed_core.store.steps import Outcome, RunState

DEFAULT_GATES = (Use(use="contamination"),)
"""What a run with an evaluation checks unless its ``data.gates`` says otherwise."""


def gate_data(
    state: RunState, dataset: Dataset, made_from: str, executor: Executor
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Put the data before every gate; return the ids to keep out, each with its reasons, and a digest."""
    section = state.plan.file.data
    assert section is not None
    evaluation = state.plan.file.evaluation
    uses = section.gates
    if uses is None:
        offered = state.registry.names("gate")
        uses = tuple(use for use in DEFAULT_GATES if evaluation is not None and use.use in offered)
    rejected: dict[str, tuple[str, ...]] = {}
    hashes = []
    for index, use in enumerate(uses):
        gate = cast(
            Gate,
            state.plan.components.get(f"data.gates.{index}")
            or state.registry.find("gate", use.use).model_validate(use.settings),
        )
        limit = evaluation.limit if evaluation else None
        benchmarks: dict[str, Benchmark] = {
            benchmark_name(evaluation.benchmarks, number): state.plan.component(f"evaluation.benchmarks.{number}")
            for number in range(len(evaluation.benchmarks) if evaluation else 0)
            if evaluation
        }
        prints = {name: benchmark.fingerprint() for name, benchmark in benchmarks.items()}
        hashed = digest("gate", 1, made_from, gate.identity(), prints, limit)
        name = f"gate-{use.use.rsplit('/', 1)[-1]}"

        def work(
            directory: Path,
            gate: Gate = gate,
            benchmarks: dict[str, Benchmark] = benchmarks,
            limit: int | None = limit,
        ) -> Outcome:
            questions: dict[str, list[Sample]] = {
                title: read_questions(benchmark, state.media_directory, limit)[0]
                for title, benchmark in benchmarks.items()
            }
            gated = gate.check(dataset, questions, state.media, executor)
            unknown = gated.rejected.keys() - set(dataset.ids)
            if unknown:
                raise PluginError(f"gate '{type(gate).__name__}' rejected '{min(unknown)}', which is no sample")
            write_atomically(directory / "rejected.json", json.dumps(gated.rejected))
            first = Counter(reasons[0] if reasons else "unstated" for reasons in gated.rejected.values())
            return Outcome(len(dataset), len(dataset) - len(gated.rejected), dict(first), gated.details)

        artifact = state.step(name, hashed, work)
        text = (artifact.directory / "rejected.json").read_text(encoding="utf-8")
        for identity, reasons in json.loads(text).items():
            rejected[identity] = (*rejected.get(identity, ()), *reasons)
        hashes.append(hashed)
    return rejected, digest(hashes) if hashes else ""
