"""What a sweep found: every variant's last model on every benchmark, beside the first variant, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from infimed_core.api.evaluation import GradedAnswer, Metric
from infimed_core.api.reporting import MetricValue, RunRecord
from infimed_core.errors import InfimedError
from infimed_core.evaluate import statistics
from infimed_core.evaluate.choices import recorded_metric
from infimed_core.evaluate.graded import read_graded
from infimed_core.evaluate.paired_comparison import compare_answers, headline_metric
from infimed_core.evaluate.summary import counted, measure
from infimed_core.plugins import Registry, load_plugins
from infimed_core.store.record import read_record
from infimed_plugins.reporting.page.figures import p_text
from infimed_plugins.reporting.page.tables import first_scorings
from infimed_plugins.reporting.sweep.variants import Member, Sweep


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

    def __init__(self, path: Path, scoring: str, cluster_by: str) -> None:
        self.rows: dict[str, GradedAnswer] = {}
        self.clusters: dict[str, str] = {}
        for row in read_graded(path):
            if scoring in row.scores:
                self.rows[row.sample.id] = row.under(scoring)
                self.clusters[row.sample.id] = row.sample.tags.get(cluster_by) or row.sample.id


def sweep_result(sweep: Sweep, failures: Mapping[str, str]) -> SweepResult:
    """Read the finished runs of a sweep and compare them; runs that are not finished are in ``missing``."""
    registry = load_plugins()
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
        if (line := _line(sweep, variant, benchmark, scoring, scores, records, registry)) is not None
    ]
    costs = [cost for variant in sweep.variants if (cost := _cost(sweep, variant, records)) is not None]
    shown = {
        member.variant: {path: _shown(value) for path, value in member.changes.items()} for member in sweep.members
    }
    return SweepResult(
        source=str(sweep.source), reference=sweep.variants[0], variants=shown, lines=_adjusted(lines),
        costs=tuple(costs), missing=missing,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    from infimed_core.runfile.loading import LEFT_OUT

    return "(left out)" if value is LEFT_OUT else value


def _last_model(record: RunRecord) -> str:
    """The model that the run ends with: its last stage, or the base model where nothing was trained."""
    stages = [step.name.removeprefix("train-") for step in record.steps if step.name.startswith("train-")]
    return stages[-1] if stages else "base"


def _scores(path: Path, record: RunRecord) -> dict[tuple[str, str], _Answers]:
    model = _last_model(record)
    clusters = {step.name: str(step.details.get("cluster_by") or "") for step in record.steps}
    found = {}
    for benchmark, scoring in first_scorings(record).items():
        answers = path / "answers" / f"{benchmark}--{model}.jsonl"
        if answers.is_file():
            cluster_by = clusters.get(f"evaluate-{model}-{benchmark}", "")
            found[benchmark, scoring] = _Answers(answers, scoring, cluster_by)
    return found


def _members(sweep: Sweep, variant: str, names: Mapping[str, Any]) -> list[Member]:
    return [member for member in sweep.members if member.variant == variant and member.name in names]


def _line(
    sweep: Sweep,
    variant: str,
    benchmark: str,
    scoring: str,
    scores: Mapping[str, Mapping[tuple[str, str], _Answers]],
    records: Mapping[str, RunRecord],
    registry: Registry,
) -> Line | None:
    key = (benchmark, scoring)
    members = [member for member in _members(sweep, variant, scores) if key in scores[member.name]]
    if not members:
        return None
    own = {member.seed: scores[member.name][key] for member in members}
    name, metric = _metric(records[members[0].name], benchmark, registry)
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
        models=tuple(dict.fromkeys(_last_model(records[m.name]) for m in _members(sweep, variant, scores))),
        seeds=tuple(own),
        value=measure(metric, rows, units, 0, [True] * len(rows)),
        by_seed={str(seed): _value(metric, list(run.rows.values())) for seed, run in own.items()},
        against_reference=_difference(metric, own, reference) if variant != sweep.variants[0] else None,
    )


def _metric(record: RunRecord, benchmark: str, registry: Registry) -> tuple[str, Metric]:
    """The metric that a run's results on a benchmark are known by."""
    name = headline_metric([name for row in record.results if row.benchmark == benchmark for name in row.metrics])
    step = next((one for one in record.steps if one.name == f"evaluate-{_last_model(record)}-{benchmark}"), None)
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
    adjusted = iter(
        statistics.holm([one.p_value for one in differences if one is not None and one.p_value is not None])
    )
    found = []
    for line, one in zip(lines, differences, strict=True):
        if one is not None and one.p_value is not None:
            line = line.model_copy(update={"against_reference": one.model_copy(update={"p_adjusted": next(adjusted)})})
        found.append(line)
    return tuple(found)


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
        if other and other.p_value is not None:
            shown += f", p {p_text(other.p_value)}"
        if other and other.num_pairs != value.num_scored + value.num_unscored:
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
