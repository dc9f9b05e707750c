"""A run as one HTML file that works offline: everything in it is escaped, and nothing in it can ask the network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from infimed_core import MediaLoader, load_plugins, write_atomically
from infimed_core.records import Run, RunRecord, is_baseline, open_run
from infimed_plugins.reporting.page import data_sections, result_sections, training_sections
from infimed_plugins.reporting.page import tables as tables_of
from infimed_plugins.reporting.page.answers import AnswerTables, read_tables
from infimed_plugins.reporting.page.assets import asset, digest, environment
from infimed_plugins.reporting.page.confidence import referring
from infimed_plugins.reporting.page.curation import with_curation
from infimed_plugins.reporting.page.doubts import (
    from_files,
    judged_models,
    no_better,
    no_model,
    same_answers,
    unread,
    unread_lines,
    weak_forms,
)
from infimed_plugins.reporting.page.figures import printable
from infimed_plugins.reporting.page.leaderboard import leaderboard
from infimed_plugins.reporting.page.live import with_running_curves
from infimed_plugins.reporting.page.movements import movements
from infimed_plugins.reporting.page.names import has_training, own_name
from infimed_plugins.reporting.page.plugin_sections import added_sections
from infimed_plugins.reporting.page.prices import Price, prices_of
from infimed_plugins.reporting.page.robustness import robustness
from infimed_plugins.reporting.page.thumbnails import Thumbnails

ROWS_IN_A_BLOCK = 2_000
"""Rows in one block of data: the browser reads a block at a time, so that the page shows before all is there."""


def write_report(run_directory: Path, media: MediaLoader | None = None, max_thumbnails: int = 600) -> Path:
    """Write ``report.html`` into a run's directory and return its path; see ``write_page``.

    Raises:
        InfimedError: ``run.json`` is missing or no run record.
    """
    return write_page(open_run(run_directory), run_directory / "report.html", media, max_thumbnails)


def write_page(
    run: Run,
    path: Path,
    media: MediaLoader | None = None,
    max_thumbnails: int = 600,
    prices: Mapping[str, Price] | None = None,
) -> Path:
    """Write a run's page, by rename, and return its path.

    ``media`` opens images for the thumbnails (default: what the installed plugins can open). At most ``max_thumbnails``
    images are embedded, the others are linked. A run in progress can be reported: what is not there yet is said so.
    """
    parts = _rendered(run, media, max_thumbnails, None, prices)
    write_atomically(path, (part.encode("utf-8", "replace").decode("utf-8") for part in parts))
    return path


def render(
    run: Run,
    media: MediaLoader | None = None,
    max_thumbnails: int = 600,
    live: str | None = None,
    prices: Mapping[str, Price] | None = None,
) -> str:
    """The page's text. ``live`` is the version that a served page begins with: it asks its server, and nobody else,
    for the next. ``prices`` are added to those of the run file.
    """
    return "".join(_rendered(run, media, max_thumbnails, live, prices))


def _rendered(
    run: Run, media: MediaLoader | None, max_thumbnails: int, live: str | None, prices: Mapping[str, Price] | None
) -> Iterator[str]:
    """The page's text, a part at a time: the answers alone may have tens of megabytes."""
    run = with_curation(run)
    if live:
        run = with_running_curves(run)
    thumbnails = Thumbnails(run.directory, media or load_plugins().media_loader(), max_thumbnails)
    quality = [data_sections.quality(step, thumbnails) for step in run.steps("score")]
    stages = training_sections.stages(run.record, thumbnails)
    for number in range(len(thumbnails)):
        thumbnails.make(number)
    answers = read_tables(run, thumbnails)
    for number in _spread(answers):
        if thumbnails.full:
            break
        thumbnails.make(number)
    return _page(run, quality, stages, answers, thumbnails, live, prices_of(run.record, prices))


def _spread(answers: AnswerTables) -> Iterator[int]:
    """Image numbers, one benchmark after the other in turn, so that each gets its share of the thumbnails."""
    by_benchmark: dict[int, list[int]] = {}
    for question in answers.questions:
        by_benchmark.setdefault(question[0], []).extend(question[6])
    for turn in zip_longest(*by_benchmark.values()):
        yield from (number for number in turn if number is not None)


def _page(
    run: Run,
    quality: list[dict[str, Any]],
    stages: list[dict[str, Any]],
    answers: AnswerTables,
    thumbnails: Thumbnails,
    live: str | None,
    prices: Mapping[str, Price],
) -> Iterator[str]:
    from markupsafe import Markup

    record = run.record
    made = environment()
    style, script = asset(made, "report.css"), asset(made, "report.js")
    matrices = tables_of.cell_matrices(record, answers.cells)
    costs = tables_of.training_costs(record)
    judges = result_sections.judges(record)
    missing, judged = [*unread_lines(unread(record))], [own_name(record, model) for model in judged_models(record)]
    parts: dict[str, Any] = {
        "benchmarks": [(table, result_sections.interval_chart(table)) for table in tables_of.benchmark_tables(record)],
        "groups": [
            table for table in tables_of.group_tables(record) if table.tag != "form"
        ],  # these are in the results
        "matrices": matrices,
        "forgetting": [
            (matrix, movements(record, answers, matrix))
            for matrix in (tables_of.forgetting(record) if has_training(record) else ())
        ],
        "robustness": robustness(run, answers),
        "referring": referring(answers),
        "disagreements": result_sections.disagreements(answers),
        "judges": judges,
        "answers": answers,
        "funnel": tables_of.funnel(record),
        "filters": data_sections.filters(record),
        "quality": quality,
        "plans": [training_sections.plan(name, step) for name, step in tables_of.steps_of(record, "plan")],
        "stages": stages,
        "record": record,
    }
    added = [one._replace(html=Markup(one.html)) for one in added_sections(run)]  # a plugin's code is trusted
    shown = _shown(parts)
    last = shown.pop("record")
    shown |= {one.anchor: one.title for one in added} | {"record": last}
    rendered: Iterator[str] = made.get_template("report.html.j2").generate(
        **parts,
        shown=shown,
        added=added,
        status=run.status,
        live=live,
        board=leaderboard(record),
        doubts=[
            *(lines for model, lines in missing if model in judged),
            *same_answers(record, answers),
            *no_model(record),
            *no_better(record),
            *weak_forms(record),
            *from_files(record),
        ],
        earlier=[lines for model, lines in missing if model not in judged],
        style=Markup(style),
        script=Markup(script),
        policy=(
            "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
            f"style-src '{digest(style)}'; script-src '{digest(script)}'" + ("; connect-src 'self'" if live else "")
        ),
        funnel_chart=data_sections.funnel_chart(record),
        selections=[(step, data_sections.kills(step)) for step in run.steps("select")],
        costs=costs,
        cost_keys=tables_of.unique(key for _, details, _ in costs for key in details),
        asking=result_sections.asking(record, prices),
        has_prices=bool(prices),
        cost_chart=result_sections.cost_chart(record),
        headlines=result_sections.headlines(record),
        chosen_matrix=result_sections.last_model(matrices),
        judge_keys=result_sections.keys_of(facts for _, _, facts in judges),
        thumbnails=thumbnails,
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
        blocks=((name, Markup(block)) for name, block in _blocks(record, answers, thumbnails)),
        is_baseline=is_baseline,
    )
    return rendered


SECTIONS = (
    ("results", "Results", ("benchmarks",)),
    ("robustness", "Robustness", ("robustness",)),
    ("referring", "Answer or refer", ("referring",)),
    ("parts", "By kind", ("groups",)),
    ("matrix", "Matrix", ("matrices",)),
    ("forgetting", "Gained and lost", ("forgetting",)),
    ("gradings", "Gradings", ("disagreements", "judges")),
    ("browse", "Answers", ("answers",)),
    ("data", "Data", ("funnel",)),
    ("filters", "Filters", ("filters",)),
    ("quality", "Quality", ("quality",)),
    ("packing", "Packing", ("plans",)),
    ("training", "Training", ("stages",)),
)
"""Sections in their order: id, name in the navigation, and the parts of which one must hold something."""


def _shown(parts: dict[str, Any]) -> dict[str, str]:
    """The sections that have something to say, by id, with their names in the navigation."""
    holds = {
        name: bool(_has_answers(part) if name == "answers" else part)
        for name, part in parts.items()
        if name != "record"
    }
    middle = {name: title for name, title, needed in SECTIONS if any(holds[part] for part in needed)}
    cost = {"cost": "Cost"} if parts["record"].steps else {}
    return {"overview": "Overview", **middle, **cost, "record": "Record"}


def _has_answers(answers: AnswerTables) -> bool:
    return bool(answers.answers or answers.num_unreadable)


def safe_json(value: Any) -> str:
    """JSON that can stand inside a script element: no ``<``, so that no text of the data ends the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _blocks(record: RunRecord, answers: AnswerTables, thumbnails: Thumbnails) -> Iterator[tuple[str, str]]:
    judged = judged_models(record)
    head = {
        "first": answers.models.index(judged[0]) if len(judged) == 1 and judged[0] in answers.models else -1,
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
