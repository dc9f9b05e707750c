"""What a sweep found: every variant's last model on every benchmark, beside the first variant, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from infimed_core import (
    GradedAnswer,
    InfimedError,
    Metric,
    MetricValue,
    Registry,
    compare_answers,
    counted,
    headline_metric,
    holm,
    load_plugins,
    measure,
)
from infimed_core.records import Run, open_run
from infimed_plugins.reporting.compare.recorded import recorded_metric
from infimed_plugins.reporting.page.tables import first_scorings
from infimed_plugins.reporting.sweep.grid import RunVariant
from infimed_plugins.reporting.sweep.variants import Sweep


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True)


class Difference(_Table):
    """A variant minus the reference on the questions that both have a result for, all seeds together.

    As ``infimed_core.compare_answers`` compares them; answers of several seeds to one question stay in its cluster.
    ``num_pairs`` counts answers; ``p_adjusted`` is Holm's over the sweep; ``by_seed`` shows how much the seed matters.
    """

    difference: float
    low: float
    high: float
    p_value: float | None = None
    p_adjusted: float | None = None
    num_pairs: int
    by_seed: dict[str, float] = {}


class Line(_Table):
    """One variant on one benchmark.

    ``value`` is the metric over the answers of all seeds, as are its counts.
    """

    benchmark: str
    scoring: str
    metric: str = "accuracy"
    variant: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    value: MetricValue
    by_seed: dict[str, float | None]
    against_reference: Difference | None = None


class Cost(_Table):
    """What a variant's training took, averaged over seeds; stages that it shares with another variant included."""

    variant: str
    seconds: float
    tokens: float
    flops: float
    samples: float


class SweepResult(_Table):
    """The whole comparison."""

    source: str
    reference: str
    variants: dict[str, dict[str, Any]]
    lines: tuple[Line, ...]
    costs: tuple[Cost, ...]
    missing: dict[str, str]


class _Answers:
    """What one run's last model answered on one benchmark, by question."""

    def __init__(self, run: Run, benchmark: str, scoring: str) -> None:
        self.rows: dict[str, GradedAnswer] = {}
        self.clusters: dict[str, str] = {}
        cluster_by = run.cluster_by(benchmark)
        for row in run.answers(benchmark, run.last_model):
            if scoring in row.scores:
                self.rows[row.sample.id] = row.under(scoring)
                self.clusters[row.sample.id] = row.sample.tags.get(cluster_by) or row.sample.id


def sweep_result(sweep: Sweep, failures: Mapping[str, str]) -> SweepResult:
    """Read the finished runs of a sweep and compare them; runs that are not finished are in ``missing``."""
    registry = load_plugins()
    runs: dict[str, Run] = {}
    missing = dict(failures)
    for member in sweep.members:
        try:
            run = open_run(sweep.directory / member.name)
        except InfimedError as error:
            missing.setdefault(member.name, str(error))
            continue
        if run.status == "done":
            runs[member.name] = run
        else:
            missing.setdefault(member.name, run.record.error or f"the run is {run.status}")
    scores = {name: _scores(run) for name, run in runs.items()}
    benchmarks = dict.fromkeys(key for found in scores.values() for key in found)
    lines = [
        line
        for benchmark, scoring in benchmarks
        for variant in sweep.variants
        if (line := _line(sweep, variant, benchmark, scoring, scores, runs, registry)) is not None
    ]
    costs = [cost for variant in sweep.variants if (cost := _cost(sweep, variant, runs)) is not None]
    shown = {member.variant: member.shown for member in sweep.members}
    return SweepResult(
        source=str(sweep.source), reference=sweep.variants[0], variants=shown, lines=_adjusted(lines),
        costs=tuple(costs), missing=missing,
    )  # fmt: skip


def _scores(run: Run) -> dict[tuple[str, str], _Answers]:
    return {
        (benchmark, scoring): _Answers(run, benchmark, scoring)
        for benchmark, scoring in first_scorings(run.record).items()
        if run.answers_file(benchmark, run.last_model).is_file()
    }


def _members(sweep: Sweep, variant: str, names: Mapping[str, Any]) -> list[RunVariant]:
    return [member for member in sweep.members if member.variant == variant and member.name in names]


def _line(
    sweep: Sweep,
    variant: str,
    benchmark: str,
    scoring: str,
    scores: Mapping[str, Mapping[tuple[str, str], _Answers]],
    runs: Mapping[str, Run],
    registry: Registry,
) -> Line | None:
    key = (benchmark, scoring)
    members = [member for member in _members(sweep, variant, scores) if key in scores[member.name]]
    if not members:
        return None
    own = {member.seed: scores[member.name][key] for member in members}
    name, metric = _metric(runs[members[0].name], benchmark, registry)
    rows = [row for run in own.values() for row in run.rows.values()]
    units = [run.clusters[identity] for run in own.values() for identity in run.rows]
    reference = {
        m.seed: scores[m.name][key] for m in _members(sweep, sweep.variants[0], scores) if key in scores[m.name]
    }
    return Line(
        benchmark=benchmark,
        scoring=scoring,
        metric=name,
        variant=variant,
        models=tuple(dict.fromkeys(runs[m.name].last_model for m in _members(sweep, variant, scores))),
        seeds=tuple(own),
        value=measure(metric, rows, units, 0, [True] * len(rows)),
        by_seed={str(seed): _value(metric, list(run.rows.values())) for seed, run in own.items()},
        against_reference=_difference(metric, own, reference) if variant != sweep.variants[0] else None,
    )


def _metric(run: Run, benchmark: str, registry: Registry) -> tuple[str, Metric]:
    """The metric that a run's results on a benchmark are known by."""
    name = headline_metric([name for row in run.record.results if row.benchmark == benchmark for name in row.metrics])
    step = run.step("evaluate", benchmark=benchmark, model=run.last_model)
    return name, recorded_metric(step.details if step is not None else {}, name, registry)


def _value(metric: Metric, rows: Sequence[GradedAnswer]) -> float | None:
    kept = [rows[place] for place in counted(metric, rows)]
    return metric.compute_answers(kept) if kept else None


def _difference(metric: Metric, own: Mapping[int, _Answers], reference: Mapping[int, _Answers]) -> Difference | None:
    """Over the seeds that both have; a pair is a question of one seed."""
    ours: list[GradedAnswer] = []
    theirs: list[GradedAnswer] = []
    units: list[str] = []
    by_seed: dict[str, float] = {}
    for seed in (seed for seed in own if seed in reference):
        both = [identity for identity in own[seed].rows if identity in reference[seed].rows]
        pair = [[run.rows[identity] for identity in both] for run in (own[seed], reference[seed])]
        clusters = [own[seed].clusters[identity] for identity in both]
        of_seed = compare_answers(pair[0], pair[1], metric, clusters)
        if of_seed is not None:
            by_seed[str(seed)] = of_seed.difference
        ours, theirs, units = ours + pair[0], theirs + pair[1], units + clusters
    found = compare_answers(ours, theirs, metric, units)
    if found is None:
        return None
    return Difference(
        difference=found.difference, low=found.low, high=found.high, p_value=found.p_value, num_pairs=found.num_pairs,
        by_seed=by_seed,
    )  # fmt: skip


def _adjusted(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The lines with Holm's adjusted p-values over all differences from the reference."""
    differences = [line.against_reference for line in lines]
    adjusted = iter(holm([one.p_value for one in differences if one is not None and one.p_value is not None]))
    found = []
    for line, one in zip(lines, differences, strict=True):
        if one is not None and one.p_value is not None:
            line = line.model_copy(update={"against_reference": one.model_copy(update={"p_adjusted": next(adjusted)})})
        found.append(line)
    return tuple(found)


def _cost(sweep: Sweep, variant: str, runs: Mapping[str, Run]) -> Cost | None:
    totals = []
    for member in _members(sweep, variant, runs):
        steps = runs[member.name].steps("train")
        totals.append([sum(_number(step.details.get(key)) for step in steps) for key in _COSTS])
    if not totals:
        return None
    return Cost(variant=variant, **dict(zip(_COSTS, np.mean(totals, axis=0).tolist(), strict=True)))


_COSTS = ("seconds", "tokens", "flops", "samples")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
