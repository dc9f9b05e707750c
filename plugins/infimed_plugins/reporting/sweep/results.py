"""What a sweep found: every variant's last model on every benchmark, beside the first variant, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from infimed_core.api.reporting import MetricValue, RunRecord
from infimed_core.errors import InfimedError
from infimed_core.evaluate import statistics
from infimed_core.evaluate.comparing import paired_interval
from infimed_core.evaluate.graded import read_graded
from infimed_core.store.record import read_record
from infimed_plugins.reporting.page.tables import first_scorings
from infimed_plugins.reporting.sweep.variants import Member, Sweep


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

    def __init__(self, path: Path, scoring: str, cluster_by: str) -> None:
        self.values: dict[str, float] = {}
        self.clusters: dict[str, str] = {}
        self.num_unscored = 0
        for row in read_graded(path):
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
    records: dict[str, RunRecord] = {}
    missing = dict(failures)
    for member in sweep.members:
        try:
            record = read_record(sweep.directory / member.name)
        except InfimedError as error:
            missing.setdefault(member.name, str(error))
            continue
        if record.status == "done":
            records[member.name] = record
        else:
            missing.setdefault(member.name, record.error or f"the run is {record.status}")
    scores = {
        member.name: _scores(sweep.directory / member.name, records[member.name])
        for member in sweep.members
        if member.name in records
    }
    benchmarks = dict.fromkeys(key for found in scores.values() for key in found)
    lines = [
        line
        for benchmark, scoring in benchmarks
        for variant in sweep.variants
        if (line := _line(sweep, variant, benchmark, scoring, scores, records)) is not None
    ]
    costs = [cost for variant in sweep.variants if (cost := _cost(sweep, variant, records)) is not None]
    shown = {
        member.variant: {path: _shown(value) for path, value in member.changes.items()} for member in sweep.members
    }
    return SweepResult(
        source=str(sweep.source), reference=sweep.variants[0], variants=shown, lines=tuple(lines), costs=tuple(costs),
        missing=missing,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    from infimed_core.runfile.loading import LEFT_OUT

    return "(left out)" if value is LEFT_OUT else value


def _last_model(record: RunRecord) -> str:
    """The model that the run ends with: its last stage, or the base model where nothing was trained."""
    stages = [step.name.removeprefix("train-") for step in record.steps if step.name.startswith("train-")]
    return stages[-1] if stages else "base"


def _scores(path: Path, record: RunRecord) -> dict[tuple[str, str], _Scores]:
    model = _last_model(record)
    clusters = {step.name: str(step.details.get("cluster_by") or "") for step in record.steps}
    found = {}
    for benchmark, scoring in first_scorings(record).items():
        answers = path / "answers" / f"{benchmark}--{model}.jsonl"
        if answers.is_file():
            cluster_by = clusters.get(f"evaluate-{model}-{benchmark}", "")
            found[benchmark, scoring] = _Scores(answers, scoring, cluster_by)
    return found


def _members(sweep: Sweep, variant: str, names: Mapping[str, Any]) -> list[Member]:
    return [member for member in sweep.members if member.variant == variant and member.name in names]


def _line(
    sweep: Sweep,
    variant: str,
    benchmark: str,
    scoring: str,
    scores: Mapping[str, Mapping[tuple[str, str], _Scores]],
    records: Mapping[str, RunRecord],
) -> Line | None:
    key = (benchmark, scoring)
    own = {m.seed: scores[m.name][key] for m in _members(sweep, variant, scores) if key in scores[m.name]}
    if not own:
        return None
    values, clusters = _mean_over_seeds(own)
    low, high = statistics.interval([values[i] for i in values], clusters=[clusters[i] for i in values])
    reference = {
        m.seed: scores[m.name][key] for m in _members(sweep, sweep.variants[0], scores) if key in scores[m.name]
    }
    return Line(
        benchmark=benchmark,
        scoring=scoring,
        variant=variant,
        models=tuple(dict.fromkeys(_last_model(records[m.name]) for m in _members(sweep, variant, scores))),
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


def _cost(sweep: Sweep, variant: str, records: Mapping[str, RunRecord]) -> Cost | None:
    totals = []
    for member in _members(sweep, variant, records):
        steps = [step for step in records[member.name].steps if step.name.startswith("train-")]
        totals.append([sum(_number(step.details.get(key)) for step in steps) for key in _COSTS])
    if not totals:
        return None
    return Cost(variant=variant, **dict(zip(_COSTS, np.mean(totals, axis=0).tolist(), strict=True)))


_COSTS = ("seconds", "tokens", "flops", "samples")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def as_markdown(result: SweepResult) -> str:
    """The comparison as a Markdown document."""
    text = [f"# Sweep of {Path(result.source).name}", ""]
    text += [
        f"Each variant's last model; differences are paired with `{result.reference}` on the same questions. Intervals "
        "are 95% over questions (whole clusters); what the seed changes stands beside them.",
        "",
    ]
    columns, rows = table_of(result)
    text += _markdown(columns, rows)
    if result.costs:
        text += ["", "## Training", ""]
        head = ["variant", "seconds", "samples", "tokens", "operations"]
        numbers = [(cost.samples, cost.tokens) for cost in result.costs]
        rows = [
            [cost.variant, f"{cost.seconds:.1f}", f"{samples:,.0f}", f"{tokens:,.0f}", f"{cost.flops:.3g}"]
            for cost, (samples, tokens) in zip(result.costs, numbers, strict=True)
        ]
        text += _markdown(head, rows)
    text += ["", "## Variants", ""]
    for name, changes in result.variants.items():
        what = "; ".join(f"`{path}` = {value}" for path, value in changes.items()) or "the file as it is"
        text.append(f"- `{name}`: {what}")
    for name, reason in result.missing.items():
        text.append(f"- not finished: `{name}`: {reason}")
    return "\n".join(text) + "\n"


def table_of(result: SweepResult) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the comparison: a line for each benchmark and variant."""
    several = any(len(line.seeds) > 1 for line in result.lines)
    columns = ["benchmark", "variant", "model", "score [95%]", f"minus {result.reference} [95%]"]
    columns += ["by seed"] if several else []
    rows = []
    for line in result.lines:
        value, other = line.value, line.against_reference
        score = "none" if value.value is None else f"{value.value:.3f}"
        if value.low is not None and value.high is not None:
            score += f" [{value.low:.3f}, {value.high:.3f}]"
        if value.num_unscored:
            score += f", {value.num_unscored} of {value.num_scored + value.num_unscored} unscored"
        shown = f"{other.difference:+.3f} [{other.low:+.3f}, {other.high:+.3f}]" if other else ""
        num_answers = value.num_scored + value.num_unscored
        if other and other.num_pairs * len(line.seeds) != num_answers:
            shown += f", {other.num_pairs} pairs"
        row = [line.benchmark, line.variant, ", ".join(line.models), score, shown]
        if several:
            seeds = other.by_seed if other else line.by_seed
            sign = "+" if other else ""
            row.append(", ".join("none" if v is None else f"{v:{sign}.3f}" for v in seeds.values()))
        rows.append(row)
    return columns, rows


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
