"""The figures of a run record arranged as the tables that the report and the terminal summary show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from infimed_core import MetricValue, headline_metric
from infimed_core.records import BASELINE, Comparison, ResultRow, RunRecord, StepRecord, is_baseline

NO_VALUE = MetricValue(value=None)


@dataclass(frozen=True)
class ModelLine:
    """One model on one benchmark under one scoring, over all questions."""

    model: str
    value: MetricValue
    against: tuple[Comparison, ...]


@dataclass(frozen=True)
class BenchmarkTable:
    """A benchmark under one scoring: a line for each model, and the value of the constant baseline if there is one."""

    benchmark: str
    version: str
    scoring: str
    metric: str
    lines: tuple[ModelLine, ...]
    baseline: float | None
    others: tuple[tuple[str, tuple[tuple[str, MetricValue], ...]], ...] = ()
    left_out: str = ""
    """Rows of its data that are no questions, by reason; "" for none."""
    forms: tuple[tuple[str, tuple[tuple[str, MetricValue], ...]], ...] = ()
    """Of a benchmark with questions of several forms (choice, closed, open) every model's value by form."""


@dataclass(frozen=True)
class GroupTable:
    """A benchmark in parts by one tag: rows of (part, one value per model)."""

    benchmark: str
    tag: str
    metric: str
    models: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MetricValue, ...]], ...]


@dataclass(frozen=True)
class Matrix:
    """A grid of values: ``cells[row][column]``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MetricValue, ...]], ...]
    note: str = ""
    benchmark: str = ""
    model: str = ""


@dataclass
class Funnel:
    """Samples that went into and came out of a step, as shares of the most that any step saw."""

    step: str
    num_in: int
    num_out: int
    share: float
    lost: float
    dropped: list[tuple[str, int]] = field(default_factory=list)
    is_plan: bool = False


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Names without repetition, in order of first appearance."""
    return tuple(dict.fromkeys(names))


def models_of(rows: Iterable[ResultRow]) -> tuple[str, ...]:
    """Models in order of appearance, ``base`` first and the baselines last."""
    names = unique(row.model for row in rows)
    return tuple(sorted(names, key=lambda name: (is_baseline(name), name != "base")))


def metric_of(rows: Iterable[ResultRow]) -> str:
    """The metric that counts; "" where there is none."""
    names = unique(name for row in rows for name in row.metrics)
    return headline_metric(names) if names else ""


def steps_of(record: RunRecord, kind: str, key: str = "stage") -> list[tuple[str, StepRecord]]:
    """The steps of a kind, in order: what their subject has under ``key``, and the step."""
    return [(step.subject.get(key, step.name), step) for step in record.steps if step.kind == kind]


def funnel(record: RunRecord) -> list[Funnel]:
    """Every step that takes samples out, in order: what goes into one is what came out of the one before.

    Each stage begins anew from the samples that were selected. A sample counts once, however often a stage draws it;
    training is a row only where samples that were planned could not be trained on.
    """
    rows = []
    planned: dict[str, int] = {}
    for step in record.steps:
        num_in, num_out, dropped = step.num_in, step.num_out, step.dropped
        stage = step.subject.get("stage", "")
        if step.kind == "plan":
            planned[stage] = num_out or 0
        if step.kind == "train":
            num_in, dropped = planned.get(stage), _lost_samples(step, planned.get(stage))
            num_out = (num_in or 0) - sum(dropped.values())
        kinds = ("read", "filter", "select", "reasoning", "plan", *(["train"] if dropped else []))
        if step.kind in kinds and num_in is not None and num_out is not None:
            rows.append((step.name, num_in, num_out, dropped, step.kind == "plan"))
    most = max((num_in for _, num_in, *_ in rows), default=0) or 1
    return [
        Funnel(
            step=name,
            num_in=num_in,
            num_out=num_out,
            share=num_out / most,
            lost=max(num_in - num_out, 0) / most,
            dropped=sorted(dropped.items(), key=lambda item: (-item[1], item[0])),
            is_plan=is_plan,
        )
        for name, num_in, num_out, dropped, is_plan in rows
    ]


def _lost_samples(step: StepRecord, num_planned: int | None) -> dict[str, int]:
    """How many samples a stage's training lost, by reason; ``dropped`` counts one each time that it was drawn."""
    lost = step.details.get("lost_samples")
    if isinstance(lost, dict):
        return {code: count for code, count in lost.items() if isinstance(count, int)}
    return step.dropped if step.num_in == num_planned else {}


def benchmark_tables(record: RunRecord) -> list[BenchmarkTable]:
    """One table per benchmark and scoring, in order of the record; the first scoring of a benchmark counts."""
    tables = []
    whole = [row for row in record.results if not row.group]
    for benchmark, scoring in dict.fromkeys((row.benchmark, row.scoring) for row in whole):
        rows = [row for row in whole if row.benchmark == benchmark and row.scoring == scoring]
        metric = metric_of(rows)
        by_model = {row.model: row for row in rows}
        lines = []
        for model in models_of(rows):
            wanted = (benchmark, scoring, metric, model)
            against = tuple(
                row for row in record.comparisons if (row.benchmark, row.scoring, row.metric, row.model) == wanted
            )
            lines.append(ModelLine(model, by_model[model].metrics.get(metric, NO_VALUE), against))
        baseline = by_model[BASELINE].metrics.get(metric, NO_VALUE).value if BASELINE in by_model else None
        others = tuple(
            (name, tuple((model, by_model[model].metrics.get(name, NO_VALUE)) for model in models_of(rows)))
            for name in unique(name for row in rows for name in row.metrics)
            if name != metric
        )
        left_out = _left_out(record, benchmark, rows[0].model)
        by_form = {
            (row.group["form"], row.model): row.metrics.get(metric, NO_VALUE)
            for row in record.results
            if (row.benchmark, row.scoring, set(row.group)) == (benchmark, scoring, {"form"})
        }
        named = unique(form for form, _ in by_form)
        forms = tuple((f, tuple((m, by_form.get((f, m), NO_VALUE)) for m in models_of(rows))) for f in named)
        tables.append(
            BenchmarkTable(
                benchmark,
                rows[0].version,
                scoring,
                metric,
                tuple(lines),
                baseline,
                others,
                left_out,
                forms if len(forms) > 1 else (),
            )
        )
    return tables


def _left_out(record: RunRecord, benchmark: str, model: str) -> str:
    """``2 of 12 rows are no questions: 1 no_answer, 1 no_cluster``; every model is asked the same ones."""
    subject = {"model": model, "benchmark": benchmark}
    step = next((step for step in record.steps if step.kind == "evaluate" and step.subject == subject), None)
    if step is None or not step.dropped:
        return ""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(step.dropped.items()))
    return f"{sum(step.dropped.values()):,} of {step.num_in:,} rows are no questions: {reasons}"


def first_scorings(record: RunRecord) -> dict[str, str]:
    """The scoring that counts, by benchmark."""
    scorings: dict[str, str] = {}
    for row in record.results:
        scorings.setdefault(row.benchmark, row.scoring)
    return scorings


def group_tables(record: RunRecord) -> list[GroupTable]:
    """Results in parts by a single tag (kind, form ...), under the scoring that counts."""
    tables = []
    counted = first_scorings(record)
    parts = [row for row in record.results if len(row.group) == 1 and row.scoring == counted[row.benchmark]]
    for benchmark, tag in dict.fromkeys((row.benchmark, next(iter(row.group))) for row in parts):
        rows = [row for row in parts if row.benchmark == benchmark and tag in row.group]
        metric, models = metric_of(rows), models_of(rows)
        values = {(row.group[tag], row.model): row.metrics.get(metric, NO_VALUE) for row in rows}
        names = unique(row.group[tag] for row in rows)
        lines = tuple((name, tuple(values.get((name, model), NO_VALUE) for model in models)) for name in names)
        if len(names) > 1:  # of one part alone the results say all
            tables.append(GroupTable(benchmark, tag, metric, models, lines))
    return tables


def cell_matrices(record: RunRecord, computed: dict[tuple[str, str, str, str], list[float]]) -> list[Matrix]:
    """Modality x task type for each model, over the record's rows; computed from the answers where it has none."""
    counted = first_scorings(record)
    rows = [
        row
        for row in record.results
        if set(row.group) == {"modality", "task_type"} and row.scoring == counted[row.benchmark]
    ]
    values: dict[tuple[str, str], dict[tuple[str, str], MetricValue]] = {}
    note = ""
    if rows:
        metric = metric_of(rows)
        for row in rows:
            cell = (row.group["modality"], row.group["task_type"])
            values.setdefault((row.benchmark, row.model), {})[cell] = row.metrics.get(metric, NO_VALUE)
    else:
        note = "Means computed from the answers; the run recorded no intervals for these cells."
        for (benchmark, model, modality, task), (scored, total, unscored) in computed.items():
            value = MetricValue(
                value=total / scored if scored else None, num_scored=int(scored), num_unscored=int(unscored)
            )
            values.setdefault((benchmark, model), {})[modality, task] = value
    matrices = []
    for (benchmark, model), cells in values.items():
        modalities = sorted({modality for modality, _ in cells}, key=lambda name: (name == "unlabelled", name))
        tasks = sorted({task for _, task in cells}, key=lambda name: (name == "unlabelled", name))
        lines = tuple((row, tuple(cells.get((row, task), NO_VALUE) for task in tasks)) for row in modalities)
        matrices.append(Matrix(f"{benchmark} · {model}", tuple(tasks), lines, note, benchmark, model))
    return matrices


def forgetting(record: RunRecord) -> list[Matrix]:
    """Models in order of training against benchmarks and their parts: what each stage gained and lost."""
    counted = first_scorings(record)
    rows = [row for row in record.results if not is_baseline(row.model) and row.scoring == counted[row.benchmark]]
    models = models_of(rows)
    if len(models) < 2:
        return []
    matrices = []
    for title, size in (("Benchmarks", 0), ("Kinds of question", 1)):
        shown = [row for row in rows if len(row.group) == size]
        metric = metric_of(shown)
        names = unique(column_of(row) for row in shown)
        values = {(row.model, column_of(row)): row.metrics.get(metric, NO_VALUE) for row in shown}
        if names:
            # Parts down, models across: there are more kinds than models, and a phone is narrow.
            lines = tuple((name, tuple(values.get((model, name), NO_VALUE) for model in models)) for name in names)
            matrices.append(Matrix(title, models, lines))
    return matrices


def column_of(row: ResultRow) -> str:
    """What a result over a whole benchmark, or over a part of it, is called in the matrix of models."""
    part = ", ".join(f"{tag}: {value}" for tag, value in row.group.items())
    return f"{row.benchmark} · {part}" if part else row.benchmark


def training_costs(record: RunRecord) -> list[tuple[str, dict[str, Any], float]]:
    """Stage, its trainer's plain figures, and seconds."""
    return [
        (name, {key: value for key, value in step.details.items() if not isinstance(value, dict | list)}, step.seconds)
        for name, step in steps_of(record, "train")
    ]


def curve_points(step: StepRecord, key: str) -> list[tuple[float, float]]:
    """(step, value) of a training step's curve; entries without the key are left out."""
    curve = step.details.get("curve")
    points = []
    for entry in curve if isinstance(curve, list) else ():
        if isinstance(entry, dict):
            x, y = entry.get("step"), entry.get(key)
            if isinstance(x, int | float) and isinstance(y, int | float):
                points.append((float(x), float(y)))
    return points
