"""A run as one HTML file that works offline: everything in it is escaped, and nothing in it can ask the network."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from infimed_core.api.data import MediaLoader
from infimed_core.api.reporting import RunRecord
from infimed_core.plugins import load_plugins
from infimed_core.store.record import read_record
from infimed_plugins.reporting.page import sections
from infimed_plugins.reporting.page import tables as tables_of
from infimed_plugins.reporting.page.answers import AnswerTables, read_answers
from infimed_plugins.reporting.page.assets import asset, digest, environment
from infimed_plugins.reporting.page.figures import printable
from infimed_plugins.reporting.page.live import with_running_curves
from infimed_plugins.reporting.page.thumbnails import Thumbnails
from infimed_plugins.reporting.summary import summary_text

__all__ = ["render", "run_status", "summary_text", "write_report"]

ROWS_IN_A_BLOCK = 2_000
"""Rows in one block of data: the browser reads a block at a time, so that the page shows before all is there."""


def write_report(run_directory: Path, media: MediaLoader | None = None, max_thumbnails: int = 600) -> Path:
    """Write ``report.html`` into a run directory, by rename, and return its path.

    ``media`` opens images for the thumbnails (default: what the installed plugins can open). At most ``max_thumbnails``
    images are embedded, the others are linked. A run in progress can be reported: what is not there yet is said so.

    Raises:
        InfimedError: ``run.json`` is missing or no run record.
    """
    return _write(run_directory / "report.html", render(run_directory, media, max_thumbnails))


def render(
    run_directory: Path, media: MediaLoader | None = None, max_thumbnails: int = 600, live: str | None = None
) -> str:
    """The page's text. ``live`` is the version that a served page begins with: it asks its server, and nobody else,
    for the next.
    """
    record = read_record(run_directory)
    if live:
        record = with_running_curves(record, run_directory)
    thumbnails = Thumbnails(run_directory, media or load_plugins().media_loader(), max_thumbnails)
    quality = [
        sections.quality(step, thumbnails)
        for step in record.steps
        if step.name == "score" or step.name.startswith("score-")
    ]
    for number in range(len(thumbnails)):
        thumbnails.make(number)
    known = dict.fromkeys((row.benchmark, row.model) for row in record.results)
    answers = read_answers(run_directory, known, thumbnails)
    for number in _spread(answers):
        if thumbnails.full:
            break
        thumbnails.make(number)
    return _page(record, quality, answers, thumbnails, live)


def _spread(answers: AnswerTables) -> Iterator[int]:
    """Image numbers, one benchmark after the other in turn, so that each gets its share of the thumbnails."""
    by_benchmark: dict[int, list[int]] = {}
    for question in answers.questions:
        by_benchmark.setdefault(question[0], []).extend(question[6])
    for turn in zip_longest(*by_benchmark.values()):
        yield from (number for number in turn if number is not None)


def _page(
    record: RunRecord,
    quality: list[dict[str, Any]],
    answers: AnswerTables,
    thumbnails: Thumbnails,
    live: str | None,
) -> str:
    from markupsafe import Markup

    made = environment()
    made.filters["figure"] = sections.figure
    made.filters["heat"] = sections.heat
    style, script = asset(made, "report.css"), asset(made, "report.js")
    matrices = tables_of.cell_matrices(record, answers.cells)
    costs = tables_of.training_costs(record)
    judges = sections.judges(record)
    text: str = made.get_template("report.html.j2").render(
        record=record,
        status=run_status(record),
        live=live,
        style=Markup(style),
        script=Markup(script),
        policy=(
            "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
            f"style-src '{digest(style)}'; script-src '{digest(script)}'" + ("; connect-src 'self'" if live else "")
        ),
        funnel=tables_of.funnel(record),
        funnel_chart=sections.funnel_chart(record),
        selections=[
            (step, sections.kills(step))
            for step in record.steps
            if step.name == "select" or step.name.startswith("select-")
        ],
        filters=sections.filters(record),
        quality=quality,
        plans=[sections.plan(name, step) for name, step in tables_of.step_details(record, "plan-")],
        stages=sections.stages(record),
        costs=costs,
        cost_keys=tables_of.unique(key for _, details, _ in costs for key in details),
        cost_chart=sections.cost_chart(record),
        benchmarks=[(table, sections.interval_chart(table)) for table in tables_of.benchmark_tables(record)],
        headlines=sections.headlines(record),
        groups=tables_of.group_tables(record),
        matrices=matrices,
        chosen_matrix=sections.last_model(matrices),
        forgetting=tables_of.forgetting(record),
        disagreements=sections.disagreements(answers),
        judges=judges,
        judge_keys=sections.keys_of(facts for _, _, facts in judges),
        answers=answers,
        thumbnails=thumbnails,
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
        blocks=[(name, Markup(block)) for name, block in _blocks(answers, thumbnails)],
        is_baseline=tables_of.is_baseline,
    )
    return text


def run_status(record: RunRecord) -> str:
    """The run's status; ``done`` also while its last step, writing the page, goes on: what it shows is finished."""
    last = record.steps[-1] if record.steps else None
    finished = record.status == "running" and last is not None and (last.name, last.status) == ("report", "running")
    return "done" if finished else record.status


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
        "faults": {str(number): printable(fault) for number, fault in thumbnails.faults.items()},
    }
    yield "head", safe_json(head)
    for name, rows in (
        ("pictures", thumbnails.pictures),
        ("questions", answers.questions),
        ("answers", answers.answers),
    ):
        for start in range(0, len(rows), ROWS_IN_A_BLOCK):
            yield name, safe_json(rows[start : start + ROWS_IN_A_BLOCK])


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
