"""The parts of the report page: what each section shows, with its charts drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from infimed_core.api.reporting import RunRecord, StepRecord
from infimed_core.evaluate import statistics
from infimed_core.runfile.sections import BASELINE
from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page import tables as tables_of
from infimed_plugins.reporting.page.answers import AnswerTables, cut, turn_text
from infimed_plugins.reporting.page.figures import number
from infimed_plugins.reporting.page.thumbnails import Thumbnails

MOST_ROWS = 12
"""Rows of the table that stands for a curve."""


def mapping(value: Any) -> dict[str, Any]:
    """``value`` where it is a JSON object, else an empty one: details of foreign plugins may be anything."""
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def count(value: Any) -> float:
    """``value`` where it is a number, else 0."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def funnel_chart(record: RunRecord) -> str:
    """Samples kept and dropped, step by step."""
    rows = tables_of.funnel(record)
    return charts.funnel([(row.step, row.num_in, row.num_out) for row in rows], "samples, step by step") if rows else ""


# ---- quality -----------------------------------------------------------------------------------------------------


def quality(step: StepRecord, thumbnails: Thumbnails) -> dict[str, Any]:
    """A scoring step: distributions, reasons, correlations, and the samples at both ends."""
    details = step.details
    dimensions = []
    for name, value in mapping(details.get("dimensions")).items():
        value = mapping(value)
        counts = [count(one) for one in value.get("histogram") or ()]
        mean = value.get("mean")
        label = f"{name}: distribution of {number(sum(counts), 0)} scores"
        bins = [(f"{i / len(counts):.2f}–{(i + 1) / len(counts):.2f}", int(one)) for i, one in enumerate(counts)]
        dimensions.append(
            {
                "name": name,
                "mean": mean,
                "num_null": int(count(value.get("num_null"))),
                "chart": charts.histogram(counts, label, mean) if counts else "",
                "bins": bins,
            }
        )
    reasons = sorted(mapping(details.get("reasons")).items(), key=lambda item: (-count(item[1]), item[0]))
    extremes = [
        (title, [_extreme(entry, thumbnails) for entry in _listed(details.get(key)) if isinstance(entry, dict)])
        for title, key in (("Lowest scores", "worst"), ("Highest scores", "best"))
    ]
    return {
        "step": step.name,
        "dimensions": dimensions,
        "reasons": reasons,
        "extremes": extremes,
        "correlations": _correlations(details.get("correlations")),
    }


def _extreme(entry: dict[str, Any], thumbnails: Thumbnails) -> dict[str, Any]:
    sample, score = mapping(entry.get("sample")), mapping(entry.get("score"))
    return {
        "id": cut(sample.get("id", "")),
        "text": "\n".join(turn_text(turn) for turn in sample.get("turns") or ())[:400],
        "images": [thumbnails.add(media) for media in sample.get("media") or ()],
        "value": score.get("value"),
        "reasons": [cut(reason) for reason in score.get("reasons") or ()],
        "parts": mapping(score.get("parts")),
        "note": cut(score.get("note") or ""),
    }


def _correlations(value: Any) -> dict[str, Any] | None:
    """Spearman's correlations as a square: names and rows; ``None`` where there are none or the shape is odd."""
    names, matrix = _listed(mapping(value).get("dimensions")), _listed(mapping(value).get("matrix"))
    rows = [[one if isinstance(one, int | float) else None for one in _listed(row)] for row in matrix]
    if len(names) < 2 or len(rows) != len(names) or any(len(row) != len(names) for row in rows):
        return None
    return {"names": names, "rows": list(zip(names, rows, strict=True)), "num": mapping(value).get("num_samples")}


def kills(step: StepRecord) -> list[tuple[str, int, int]]:
    """Of a selection: for each dimension the rejects that were low in it, and those low in it alone."""
    found = mapping(step.details.get("kills"))
    return [(name, int(count(mapping(v).get("num"))), int(count(mapping(v).get("alone")))) for name, v in found.items()]


def filters(record: RunRecord) -> list[dict[str, Any]]:
    """Every filter: how many samples went in and out, why, and its facts as plain values and tables."""
    found = []
    for name, step in tables_of.step_details(record, "filter-"):
        facts: dict[str, Any] = {}
        nested: list[tuple[str, tuple[str, ...], list[Any]]] = []
        for key, value in step.details.items():
            rows = mapping(value)
            if rows and all(isinstance(one, dict) for one in rows.values()):
                columns = tables_of.unique(inner for one in rows.values() for inner in one)
                nested.append((key, columns, [(row, [one.get(c) for c in columns]) for row, one in rows.items()]))
            elif rows:
                facts |= {f"{key}: {inner}": one for inner, one in rows.items() if not isinstance(one, dict | list)}
            elif not isinstance(value, dict | list):
                facts[key] = value
        found.append({"name": name, "step": step, "facts": facts, "tables": nested})
    return found


# ---- packing and training ----------------------------------------------------------------------------------------


def plan(name: str, step: StepRecord) -> dict[str, Any]:
    """A stage's plan: its phases, and what it counted."""
    phases = [phase for phase in _listed(step.details.get("phases")) if isinstance(phase, dict)]
    shape: list[tuple[float, Any]] = [
        (count(phase.get("num_samples")), phase.get("max_visual_tokens")) for phase in phases
    ]
    label = f"{name}: visual tokens allowed an image over the stage"
    facts = {key: value for key, value in step.details.items() if not isinstance(value, dict | list)}
    chart = charts.phase_chart(shape, label) if shape else ""
    return {"name": name, "phases": phases, "facts": facts, "dropped": step.dropped, "chart": chart}


def stages(record: RunRecord) -> list[dict[str, Any]]:
    """Every training stage: its curves, and its losses by source where it told them."""
    found = []
    for name, step in tables_of.step_details(record, "train-"):
        loss = charts.thinned(tables_of.curve_points(step, "loss"))
        rate = {"learning rate": tables_of.curve_points(step, "learning_rate")}
        norm = {"gradient norm": tables_of.curve_points(step, "gradient_norm")}
        ends = [step.details.get(key) for key in ("loss_first", "loss_last")]
        if ends == [None, None] and loss:
            ends = [loss[0][1], loss[-1][1]]
        by_source = _by_source(step)
        held_out, asked = _measured(step)
        curves = {"loss": loss, "held out": held_out} if held_out else {"loss": loss}
        found.append(
            {
                "name": name,
                "status": step.status,
                "loss": charts.line_chart(curves, f"{name}: loss over steps" + (", held out too" if held_out else "")),
                "asked": charts.line_chart(
                    {key: [(at, value) for at, value, *_ in points] for key, points in asked.items()},
                    f"{name}: benchmarks within the stage",
                    small=True,
                    smooth=False,
                ),
                "measured": [
                    (int(at), dict(held_out).get(at), {key: found.get(at) for key, found in _by_step(asked).items()})
                    for at in sorted({at for at, _ in held_out} | {at for p in asked.values() for at, *_ in p})
                ],
                "measured_keys": list(asked),
                "rate": charts.line_chart(rate, f"{name}: learning rate", small=True, smooth=False),
                "norm": charts.line_chart(norm, f"{name}: gradient norm", small=True),
                "by_source": charts.line_chart(by_source, f"{name}: loss by source") if len(by_source) > 1 else "",
                "sources": [(source, mapping(facts)) for source, facts in mapping(step.details.get("sources")).items()],
                "ends": ends,
                "points": loss[:: max(1, len(loss) // MOST_ROWS)],
            }
        )
    return found


Measured = dict[str, list[tuple[float, float, float | None, float | None]]]
"""(step, value, low, high) by ``benchmark metric``."""


def _measured(step: StepRecord) -> tuple[list[tuple[float, float]], Measured]:
    """What was measured within the stage: the loss held out, and every metric of every benchmark."""
    held_out: list[tuple[float, float]] = []
    asked: Measured = {}
    for entry in map(mapping, _listed(step.details.get("evaluations"))):
        at, loss = entry.get("step"), entry.get("held_out_loss")
        if not isinstance(at, int | float):
            continue
        if isinstance(loss, int | float):
            held_out.append((float(at), float(loss)))
        for benchmark, facts in mapping(entry.get("benchmarks")).items():
            for metric, value in mapping(facts).items():
                found = mapping(value)
                if isinstance(found.get("value"), int | float):
                    point = (float(at), float(found["value"]), found.get("low"), found.get("high"))
                    asked.setdefault(f"{benchmark} {metric}", []).append(point)
    return held_out, asked


def _by_step(asked: Measured) -> dict[str, dict[float, tuple[float, float | None, float | None]]]:
    return {key: {at: (value, low, high) for at, value, low, high in points} for key, points in asked.items()}


def _by_source(step: StepRecord) -> dict[str, list[tuple[float, float]]]:
    """The curve of each source, at most six: the most supervised ones, by the steps in which they came."""
    found: dict[str, list[tuple[float, float]]] = {}
    for entry in _listed(step.details.get("curve")):
        at = mapping(entry).get("step")
        for name, value in mapping(mapping(entry).get("loss_by_source")).items():
            if isinstance(at, int | float) and isinstance(value, int | float):
                found.setdefault(str(name), []).append((float(at), float(value)))
    return dict(sorted(found.items(), key=lambda item: -len(item[1]))[:6])


# ---- results -----------------------------------------------------------------------------------------------------


def interval_chart(table: tables_of.BenchmarkTable) -> str:
    """Every model's value with its interval, and the constant baseline as a line."""
    lines = [
        (line.model, line.value.value, line.value.low, line.value.high,
         "constant" if tables_of.is_baseline(line.model) else "model")
        for line in table.lines
    ]  # fmt: skip
    label = f"{table.benchmark}, {table.scoring}: {table.metric} of every model with its 95% interval"
    return charts.intervals(lines, label, table.baseline)


def headlines(record: RunRecord) -> list[dict[str, Any]]:
    """For each benchmark under its first scoring: before, after, and the baseline."""
    found = []
    seen = set()
    for table in tables_of.benchmark_tables(record):
        models = [line for line in table.lines if not tables_of.is_baseline(line.model)]
        if table.benchmark in seen or not models:
            continue
        seen.add(table.benchmark)
        before, after = models[0], models[-1]
        baseline = next((line for line in table.lines if line.model == BASELINE), None)
        found.append(
            {"table": table, "before": before if len(models) > 1 else None, "after": after, "baseline": baseline}
        )
    return found


def cost_chart(record: RunRecord) -> str:
    """The first benchmark's metric against seconds of training."""
    first = next(iter(headlines(record)), None)
    if first is None:
        return ""
    lines = {line.model: line for line in first["table"].lines}
    # Every stage adds its time, also one after which nothing was asked.
    costs = [("base", 0.0), *((name, spent) for name, _, spent in tables_of.training_costs(record))]
    total, points = 0.0, []
    for model, spent in costs:
        total += spent
        value = lines[model].value if model in lines else None
        if value is not None and value.value is not None:
            points.append((model, total, value.value, value.low, value.high))
    title = f"{first['table'].benchmark}: {first['table'].metric} against seconds of training"
    return charts.cost_chart(points, "seconds of training so far", title) if len(points) > 1 else ""


def last_model(matrices: list[tables_of.Matrix]) -> int:
    """The matrix to show first: that of the last model on the first benchmark."""
    trained = [i for i, one in enumerate(matrices) if not tables_of.is_baseline(one.model)]
    first = [i for i in trained if matrices[i].benchmark == matrices[trained[0]].benchmark]
    return first[-1] if first else 0


def disagreements(answers: AnswerTables) -> list[dict[str, Any]]:
    """For every two gradings of a model's answers: where they part, and Cohen's kappa where both gave a verdict."""
    found = []
    for (benchmark, model, first, second), pairs in answers.disagreement.items():
        judged = Counter({pair: num for pair, num in pairs.items() if not set(pair) & set("ue")})
        found.append(
            {
                "benchmark": benchmark,
                "model": model,
                "first": first,
                "second": second,
                "same": sum(num for (a, b), num in pairs.items() if a == b),
                "only_first": sum(num for (a, b), num in pairs.items() if a == "r" != b),
                "only_second": sum(num for (a, b), num in pairs.items() if b == "r" != a),
                "unscored_first": sum(num for (a, b), num in pairs.items() if a in "ue" and b not in "ue"),
                "kappa": statistics.cohen_kappa([a for a, _ in judged.elements()], [b for _, b in judged.elements()]),
            }
        )
    return found


def judges(record: RunRecord) -> list[tuple[str, str, dict[str, Any]]]:
    """What the judges of each evaluation did, and how far two of them agree: (step, judge or pair, facts)."""
    found = []
    for name, step in tables_of.step_details(record, "evaluate-"):
        for judge, facts in mapping(step.details.get("judges")).items():
            found.append((name, str(judge), mapping(facts)))
    return found


def keys_of(rows: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Every key of several objects, in order of appearance; nested ones are left out."""
    return tables_of.unique(key for row in rows for key, value in row.items() if not isinstance(value, dict | list))


# ---- filters of the template ---------------------------------------------------------------------------------------


def figure(value: Any) -> str:
    """A fact of unknown type for a table cell."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str | list | dict):
        return "yes" if value is True else "no" if value is False else "–"
    if isinstance(value, int | float):
        return number(float(value)) if isinstance(value, float) or abs(value) >= 10**9 else f"{value:,}"
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def heat(value: float | None) -> str:
    """The class of a heat-map cell: 0 to 10, or ``none``."""
    return "heat-none" if value is None else f"heat-{round(min(max(value, 0.0), 1.0) * 10)}"
