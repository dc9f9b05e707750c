"""A run as one HTML file that works offline: everything in it is escaped, and nothing in it can ask the network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from infimed_core import report_charts as charts
from infimed_core import report_tables as tables_of
from infimed_core.components import MediaLoader
from infimed_core.plugins import load_plugins
from infimed_core.record import read_record
from infimed_core.report_answers import AnswerTables, cut, read_answers, turn_text
from infimed_core.report_summary import summary_text
from infimed_core.report_thumbnails import Thumbnails
from infimed_core.types import RunRecord, StepRecord

__all__ = ["summary_text", "write_report"]

ROWS_IN_A_BLOCK = 2_000
"""Rows in one block of data: the browser reads a block at a time, so that the page shows before all is there."""


def write_report(run_directory: Path, media: MediaLoader | None = None, max_thumbnails: int = 600) -> Path:
    """Write ``report.html`` into a run directory, by rename, and return its path.

    ``media`` opens images for the thumbnails (default: what the installed plugins can open). At most ``max_thumbnails``
    images are embedded, the others are linked. A run in progress can be reported: what is not there yet is said so.

    Raises:
        InfimedError: ``run.json`` is missing or no run record.
    """
    record = read_record(run_directory)
    thumbnails = Thumbnails(run_directory, media or load_plugins().media_loader(), max_thumbnails)
    quality = [
        _quality(step, thumbnails) for step in record.steps if step.name == "score" or step.name.startswith("score-")
    ]
    for number in range(len(thumbnails)):
        thumbnails.make(number)
    known = dict.fromkeys((row.benchmark, row.model) for row in record.results)
    answers = read_answers(run_directory, known, thumbnails)
    for number in _spread(answers):
        if thumbnails.full:
            break
        thumbnails.make(number)
    return _write(run_directory / "report.html", _page(record, quality, answers, thumbnails))


def _spread(answers: AnswerTables) -> Iterator[int]:
    """Image numbers, one benchmark after the other in turn, so that each gets its share of the thumbnails."""
    by_benchmark: dict[int, list[int]] = {}
    for question in answers.questions:
        by_benchmark.setdefault(question[0], []).extend(question[6])
    for turn in zip_longest(*by_benchmark.values()):
        yield from (number for number in turn if number is not None)


def _quality(step: StepRecord, thumbnails: Thumbnails) -> dict[str, Any]:
    details = step.details
    dimensions = []
    for name, value in (_mapping(details.get("dimensions"))).items():
        value = _mapping(value)
        counts = [float(count) for count in value.get("histogram") or ()]
        mean = value.get("mean")
        label = f"{name}: distribution of {charts.number(sum(counts), 0)} scores"
        dimensions.append(
            {
                "name": name,
                "mean": mean,
                "num_null": int(value.get("num_null") or 0),
                "chart": charts.histogram(counts, label, mean) if counts else "",
            }
        )
    reasons = sorted(_mapping(details.get("reasons")).items(), key=lambda item: (-item[1], item[0]))
    extremes = [
        (title, [_extreme(entry, thumbnails) for entry in details.get(key) or () if isinstance(entry, dict)])  # type: ignore[union-attr]
        for title, key in (("Lowest scores", "worst"), ("Highest scores", "best"))
    ]
    return {"step": step.name, "dimensions": dimensions, "reasons": reasons, "extremes": extremes}


def _extreme(entry: dict[str, Any], thumbnails: Thumbnails) -> dict[str, Any]:
    sample, score = _mapping(entry.get("sample")), _mapping(entry.get("score"))
    return {
        "id": cut(sample.get("id", "")),
        "text": "\n".join(turn_text(turn) for turn in sample.get("turns") or ())[:400],
        "images": [thumbnails.add(media) for media in sample.get("media") or ()],
        "value": score.get("value"),
        "reasons": [cut(reason) for reason in score.get("reasons") or ()],
        "parts": _mapping(score.get("parts")),
        "note": cut(score.get("note") or ""),
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _page(record: RunRecord, quality: list[dict[str, Any]], answers: AnswerTables, thumbnails: Thumbnails) -> str:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("infimed_core"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = charts.number
    environment.filters["plain"] = lambda value: charts.printable(str(value))
    environment.filters["drawing"] = Markup  # Only for what report_charts built through an XML tree.
    environment.filters["figure"] = _figure
    environment.filters["heat"] = _heat
    style, script = _asset(environment, "report.css"), _asset(environment, "report.js")
    matrices = tables_of.cell_matrices(record, answers.cells)
    costs = tables_of.training_costs(record)
    return environment.get_template("report.html.j2").render(
        record=record,
        status=_status(record),
        style=Markup(style),
        script=Markup(script),
        policy=(
            "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
            f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
        ),
        funnel=[
            (row, charts.bar(row.share, f"{row.step}: {row.num_out} of {row.num_in}", row.lost))
            for row in tables_of.funnel(record)
        ],
        selections=[step for step in record.steps if step.name == "select" or step.name.startswith("select-")],
        quality=quality,
        plans=[_plan(name, step) for name, step in tables_of.step_details(record, "plan-")],
        stages=_stages(record),
        costs=costs,
        cost_keys=tables_of.unique(key for _, details, _ in costs for key in details),
        cost_chart=_cost_chart(record),
        benchmarks=[
            (table, [_interval(table, line) for line in table.lines]) for table in tables_of.benchmark_tables(record)
        ],
        headlines=_headlines(record),
        groups=tables_of.group_tables(record),
        matrices=matrices,
        chosen_matrix=_last_model(matrices),
        forgetting=tables_of.forgetting(record),
        answers=answers,
        thumbnails=thumbnails,
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
        blocks=[(name, Markup(text)) for name, text in _blocks(answers, thumbnails)],
        baseline_name=tables_of.BASELINE,
    )


def _status(record: RunRecord) -> str:
    # The page is the run's last step: while it is being written, everything it shows is finished.
    last = record.steps[-1] if record.steps else None
    finished = record.status == "running" and last is not None and (last.name, last.status) == ("report", "running")
    return "done" if finished else record.status


def _asset(environment: Any, name: str) -> str:
    text, _, _ = environment.loader.get_source(environment, name)
    return str(text)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def safe_json(value: Any) -> str:
    """JSON that can stand inside a script element: no ``<``, so that no text of the data ends the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _blocks(answers: AnswerTables, thumbnails: Thumbnails) -> Iterator[tuple[str, str]]:
    head = {
        "benchmarks": answers.benchmarks,
        "models": answers.models,
        "scorings": answers.scorings,
        "numQuestions": len(answers.questions),
        "numAnswers": len(answers.answers),
        "links": thumbnails.links,
        "faults": {str(number): charts.printable(fault) for number, fault in thumbnails.faults.items()},
    }
    yield "head", safe_json(head)
    for name, rows in (
        ("pictures", thumbnails.pictures),
        ("questions", answers.questions),
        ("answers", answers.answers),
    ):
        for start in range(0, len(rows), ROWS_IN_A_BLOCK):
            yield name, safe_json(rows[start : start + ROWS_IN_A_BLOCK])


def _count(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _last_model(matrices: list[tables_of.Matrix]) -> int:
    """The matrix to show first: that of the last model on the first benchmark."""
    trained = [i for i, one in enumerate(matrices) if one.model != tables_of.BASELINE]
    first = [i for i in trained if matrices[i].benchmark == matrices[trained[0]].benchmark]
    return first[-1] if first else 0


def _plan(name: str, step: StepRecord) -> dict[str, Any]:
    listed = step.details.get("phases")
    phases = [phase for phase in listed if isinstance(phase, dict)] if isinstance(listed, list) else []
    shape: list[tuple[float, Any]] = [
        (_count(phase.get("num_samples")), phase.get("max_visual_tokens")) for phase in phases
    ]
    label = f"{name}: visual tokens allowed an image over the stage"
    facts = {key: value for key, value in step.details.items() if not isinstance(value, dict | list)}
    chart = charts.phase_chart(shape, label) if shape else ""
    return {"name": name, "phases": phases, "facts": facts, "dropped": step.dropped, "chart": chart}


def _stages(record: RunRecord) -> list[dict[str, Any]]:
    steps = tables_of.step_details(record, "train-")
    losses = {name: charts.thinned(tables_of.curve_points(step, "loss")) for name, step in steps}
    stages = []
    for name, step in steps:
        rate = charts.line_chart(
            tables_of.curve_points(step, "learning_rate"), f"{name}: learning rate", small=True, smooth=False
        )
        norm = charts.line_chart(tables_of.curve_points(step, "gradient_norm"), f"{name}: gradient norm", small=True)
        loss = charts.line_chart(losses[name], f"{name}: loss over steps")
        ends = [step.details.get(key) for key in ("loss_first", "loss_last")]
        if ends == [None, None] and losses[name]:
            ends = [losses[name][0][1], losses[name][-1][1]]
        stages.append({"name": name, "status": step.status, "loss": loss, "rate": rate, "norm": norm, "ends": ends})
    return stages


def _interval(table: tables_of.BenchmarkTable, line: tables_of.ModelLine) -> str:
    value = line.value
    shown = [charts.number(one) for one in (value.value, value.low, value.high)]
    label = f"{line.model}: {shown[0]}, interval {shown[1]} to {shown[2]}"
    kind = "constant" if line.model == tables_of.BASELINE else "model"
    return charts.interval(value.value, value.low, value.high, table.baseline, label, kind)


def _headlines(record: RunRecord) -> list[dict[str, Any]]:
    """For each benchmark under its first scoring: before, after, and the baseline."""
    headlines = []
    seen = set()
    for table in tables_of.benchmark_tables(record):
        models = [line for line in table.lines if line.model != tables_of.BASELINE]
        if table.benchmark in seen or not models:
            continue
        seen.add(table.benchmark)
        before, after = models[0], models[-1]
        baseline = next((line for line in table.lines if line.model == tables_of.BASELINE), None)
        headlines.append(
            {"table": table, "before": before if len(models) > 1 else None, "after": after, "baseline": baseline}
        )
    return headlines


def _cost_chart(record: RunRecord) -> str:
    first = next(iter(_headlines(record)), None)
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


def _figure(value: Any) -> str:
    """A fact of unknown type for a table cell."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str | list | dict):
        return "yes" if value is True else "no" if value is False else "–"
    if isinstance(value, int | float):
        return charts.number(float(value)) if isinstance(value, float) or abs(value) >= 10**9 else f"{value:,}"
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _heat(value: float | None) -> str:
    """The class of a heat-map cell: 0 to 10, or ``none``."""
    return "heat-none" if value is None else f"heat-{round(min(max(value, 0.0), 1.0) * 10)}"


def _write(path: Path, text: str) -> Path:
    handle, temporary = tempfile.mkstemp(prefix=".report-", suffix=".html", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
