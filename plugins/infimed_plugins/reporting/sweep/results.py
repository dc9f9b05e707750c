"""What a sweep found: every variant's last model on every benchmark, beside the first variant, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from infimed_core import InfimedError, MetricValue, RunVariant, interval, paired_interval
from infimed_core.records import Run, open_run
from infimed_plugins.reporting.page.tables import first_scorings
from infimed_plugins.reporting.sweep.variants import Sweep


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True)


class Difference(_Table):
    """A variant minus the reference, on the questions that both answered with a score, averaged over seeds.

    The interval is over questions (whole clusters); ``by_seed`` shows how much the seed matters.
    """

    difference: float
    low: float
    high: float
    num_pairs: int
    by_seed: dict[str, float] = {}


class Line(_Table):
    """One variant on one benchmark.

    ``value`` is the mean over questions of each question's mean over the seeds in which it has a score; its counts are
    of answers, over all seeds.
    """

    benchmark: str
    scoring: str
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


class _Scores:
    """Scores of one run's last model on one benchmark."""

    def __init__(self, run: Run, benchmark: str, scoring: str) -> None:
        self.values: dict[str, float] = {}
        self.clusters: dict[str, str] = {}
        self.num_unscored = 0
        cluster_by = run.cluster_by(benchmark)
        for row in run.answers(benchmark, run.last_model):
            score = row.scores.get(scoring)
            if score is None or score.value is None:
                self.num_unscored += 1
                continue
            self.values[row.sample.id] = score.value
            self.clusters[row.sample.id] = row.sample.tags.get(cluster_by, row.sample.id)

    @property
    def mean(self) -> float | None:
        return float(np.mean(list(self.values.values()))) if self.values else None


def sweep_result(sweep: Sweep, failures: Mapping[str, str]) -> SweepResult:
    """Read the finished runs of a sweep and compare them; runs that are not finished are in ``missing``."""
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
        if (line := _line(sweep, variant, benchmark, scoring, scores, runs)) is not None
    ]
    costs = [cost for variant in sweep.variants if (cost := _cost(sweep, variant, runs)) is not None]
    shown = {member.variant: member.shown for member in sweep.members}
    return SweepResult(
        source=str(sweep.source), reference=sweep.variants[0], variants=shown, lines=tuple(lines), costs=tuple(costs),
        missing=missing,
    )  # fmt: skip


def _scores(run: Run) -> dict[tuple[str, str], _Scores]:
    return {
        (benchmark, scoring): _Scores(run, benchmark, scoring)
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
    scores: Mapping[str, Mapping[tuple[str, str], _Scores]],
    runs: Mapping[str, Run],
) -> Line | None:
    key = (benchmark, scoring)
    own = {m.seed: scores[m.name][key] for m in _members(sweep, variant, scores) if key in scores[m.name]}
    if not own:
        return None
    values, clusters = _mean_over_seeds(own)
    low, high = interval([values[i] for i in values], clusters=[clusters[i] for i in values])
    reference = {
        m.seed: scores[m.name][key] for m in _members(sweep, sweep.variants[0], scores) if key in scores[m.name]
    }
    return Line(
        benchmark=benchmark,
        scoring=scoring,
        variant=variant,
        models=tuple(dict.fromkeys(runs[m.name].last_model for m in _members(sweep, variant, scores))),
        seeds=tuple(own),
        value=MetricValue(
            value=float(np.mean(list(values.values()))) if values else None,
            low=low,
            high=high,
            num_scored=sum(len(found.values) for found in own.values()),
            num_unscored=sum(found.num_unscored for found in own.values()),
        ),
        by_seed={str(seed): found.mean for seed, found in own.items()},
        against_reference=_difference(own, reference) if variant != sweep.variants[0] else None,
    )


def _mean_over_seeds(runs: Mapping[int, _Scores]) -> tuple[dict[str, float], dict[str, str]]:
    """Each question's mean over the seeds in which it has a score, and its cluster."""
    found: dict[str, list[float]] = {}
    clusters: dict[str, str] = {}
    for run in runs.values():
        clusters |= run.clusters
        for identity, value in run.values.items():
            found.setdefault(identity, []).append(value)
    return {identity: float(np.mean(values)) for identity, values in found.items()}, clusters


def _difference(own: Mapping[int, _Scores], reference: Mapping[int, _Scores]) -> Difference | None:
    """Over the seeds that both have; a pair is a question scored in both, in one seed."""
    seeds = [seed for seed in own if seed in reference]
    pairs: dict[str, list[tuple[float, float]]] = {}
    by_seed: dict[str, float] = {}
    clusters: dict[str, str] = {}
    for seed in seeds:
        ours, theirs = own[seed], reference[seed]
        both = {i: (ours.values[i], theirs.values[i]) for i in ours.values if i in theirs.values}
        for identity, pair in both.items():
            pairs.setdefault(identity, []).append(pair)
        clusters |= ours.clusters
        if both:
            by_seed[str(seed)] = float(np.mean([own - other for own, other in both.values()]))
    if not pairs:
        return None
    means = np.array([np.mean(values, axis=0) for values in pairs.values()])
    units = [clusters[identity] for identity in pairs]
    found = paired_interval(means[:, 0], means[:, 1], units, binary=False)
    if found is None:
        return None
    difference, low, high, _ = found
    return Difference(difference=difference, low=low, high=high, num_pairs=len(pairs), by_seed=by_seed)


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
