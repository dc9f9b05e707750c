"""What is settled before a model is asked: the chosen questions, the metrics, the solvers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from infimed_core.api.data import Sample
from infimed_core.api.evaluation import Benchmark, Metric, Solver
from infimed_core.errors import InfimedError
from infimed_core.store.steps import RunState


def chosen_samples(samples: str | tuple[str, ...] | None) -> frozenset[str] | None:
    """The ids that ``evaluation.samples`` names, in a list or in a file with one id a line; ``None`` for all.

    Raises:
        InfimedError: the file cannot be read, or no id is named.
    """
    if samples is None:
        return None
    if isinstance(samples, str):
        try:
            lines = Path(samples).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InfimedError(
                f"evaluation.samples: {samples}: cannot be read ({error}); name a file with one id a line, or a list"
            ) from None
        samples = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not samples:
        raise InfimedError("evaluation.samples names no question; write ids as in the answers files, one a line")
    return frozenset(samples)


def check_chosen(state: RunState, only: frozenset[str]) -> None:
    """Every chosen id must be a question of some benchmark, before any is asked."""
    section = state.plan.file.evaluation
    assert section is not None
    missing = set(only)
    for index in range(len(section.benchmarks)):
        benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{index}")
        missing -= {row.id for row in benchmark.samples() if isinstance(row, Sample)}
    if missing:
        named = ", ".join(sorted(missing)[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise InfimedError(
            f"evaluation.samples: no benchmark of this run has {named}; see 'id' in runs/*/answers/*.jsonl"
        )


def named_metrics(state: RunState, names: Sequence[str]) -> dict[str, Metric]:
    """The metrics of these names, in their order; the default one where there is none."""
    names = names or tuple(filter(None, [state.registry.default("metric")]))
    return {name: cast(Metric, state.registry.make("metric", name)) for name in names}


def solver_of(state: RunState, index: int) -> Solver:
    """How a benchmark of the run is asked: as the run file says, else as the benchmark wants."""
    section = state.plan.file.evaluation
    assert section is not None
    benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{index}")
    made = state.plan.components.get(f"evaluation.benchmarks.{index}.solver")
    if made is None:
        use = section.benchmarks[index].solver or benchmark.solver()
        name = use.use if use is not None else state.registry.default("solver") or "no default solver"
        made = state.registry.make("solver", name, use.settings if use is not None else None)
    return cast(Solver, made)
