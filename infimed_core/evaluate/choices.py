"""What is settled before a model is asked: the chosen questions, the metrics, the solvers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from infimed_core.api.component import JsonObject
from infimed_core.api.data import Sample
from infimed_core.api.evaluation import Benchmark, Metric, Solver
from infimed_core.api.models import Generation
from infimed_core.errors import InfimedError
from infimed_core.named_files import read_named
from infimed_core.plugins import Registry
from infimed_core.runfile.sections import MetricRef, metric_names
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
            lines = read_named(Path(samples)).decode().split("\n")
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


def named_metrics(state: RunState, index: int) -> dict[str, Metric]:
    """The metrics of a benchmark of the run, by name: those that the run file names, else the benchmark's own.

    What a metric is always shown with follows at the end.
    """
    return {name: metric for name, (_, metric) in _metrics(state, index).items()}


def _metrics(state: RunState, index: int) -> dict[str, tuple[str, Metric]]:
    """By name, what ``use:`` calls it and the metric."""
    section = state.plan.file.evaluation
    assert section is not None
    benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{index}")
    named = section.benchmarks[index].metrics
    refs = named or tuple(MetricRef(use=name) for name in _own_metrics(state, benchmark))
    found: dict[str, tuple[str, Metric]] = {}
    for number, (name, ref) in enumerate(zip(metric_names(refs), refs, strict=True)):
        made = state.plan.components.get(f"evaluation.benchmarks.{index}.metrics.{number}") if named else None
        found[name] = ref.use, cast(Metric, made or _made(state.registry, ref.use, ref.settings))
    for use in dict.fromkeys(use for _, metric in tuple(found.values()) for use in metric.shown_with):
        found.setdefault(use.rsplit("/", 1)[-1], (use, _made(state.registry, use, {})))
    return found


def _own_metrics(state: RunState, benchmark: Benchmark) -> tuple[str, ...]:
    """The metrics that a benchmark wants; the default one where it names none."""
    return tuple(benchmark.metrics) or tuple(filter(None, [state.registry.default("metric")]))


def _made(registry: Registry, use: str, settings: Mapping[str, Any]) -> Metric:
    return cast(Metric, registry.make("metric", use, settings))


def described_metrics(state: RunState, index: int) -> JsonObject:
    """What a run records of a benchmark's metrics, so that ``recorded_metric`` can make them again."""
    return {
        name: {
            "use": use,
            "with": metric.model_dump(mode="json"),
            "version": metric.version,
            "higher_is_better": metric.higher_is_better,
        }
        for name, (use, metric) in _metrics(state, index).items()
    }


def generation_of(state: RunState, index: int) -> Generation:
    """How answers are generated: as the benchmark wants, with what the run file sets; sampling by the run's seed."""
    section = state.plan.file.evaluation
    assert section is not None
    benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{index}")
    wanted: Generation = benchmark.generation() or Generation()
    given = section.benchmarks[index].generation
    changes = {name: getattr(given, name) for name in given.model_fields_set} if given is not None else {}
    merged = wanted.model_copy(update=changes)
    if merged.temperature > 0 and "seed" not in {*changes, *wanted.model_fields_set}:
        return merged.model_copy(update={"seed": state.seed})
    return merged


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
