"""``infimed leaderboard``: models of many runs in order, on every benchmark that they were asked alike."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from urllib.parse import urlencode

from pydantic import Field

from infimed_core import InfimedError, Registry, Row, counted, holm, interval
from infimed_core.records import BASELINE, is_baseline, open_run
from infimed_plugins.reporting.compare.compared_models import (
    Answers,
    ModelResult,
    answers_of,
    benchmarks_of,
    differences,
)
from infimed_plugins.reporting.compare.comparison import Pair, published_values
from infimed_plugins.reporting.compare.published import Published
from infimed_plugins.reporting.page.names import own_name
from infimed_plugins.reporting.page.ranks import rank

FEWEST_IN_A_PART = 20
"""Questions of a modality or task from which it gets an order of its own."""


class Entry(Row):
    """One model: rank (``2`` or, with ties, ``1–3``; "" for a constant or a published figure), value and doubt."""

    model: str
    run: str
    rank: str
    value: float | None
    low: float | None = None
    high: float | None = None
    num_questions: int = 0
    num_unread: int = 0
    report: str = ""
    """Address of the answers in the run's page, relative to the leaderboard's; "" where there is no page."""
    source: str = ""


class Order(Row):
    """The models on all questions (``part`` is ""), or on those of one modality or task."""

    part: str
    entries: tuple[Entry, ...]


class Board(Row):
    """A benchmark under one protocol; ``differs`` says how another board of the same benchmark was asked."""

    benchmark: str
    scoring: str
    metric: str
    higher_is_better: bool = True
    orders: tuple[Order, ...]
    differs: tuple[str, ...] = ()


class Leaderboard(Row):
    """Everything that ``leaderboard.json`` holds."""

    format: int = 1
    runs: tuple[str, ...]
    boards: tuple[Board, ...]
    sources: dict[str, str] = Field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def runs_in(places: Sequence[str]) -> list[Path]:
    """Directories of runs: those named, and those that lie in a folder that is named.

    Raises:
        InfimedError: there is none.
    """
    found: dict[Path, None] = {}
    for text in places:
        place = Path(text)
        inside = [place] if (place / "run.json").is_file() else sorted(one.parent for one in place.glob("*/run.json"))
        if not inside:
            raise InfimedError(f"{text}: no run, and no folder with runs in it")
        found |= dict.fromkeys(inside)
    return list(found)


def make_board(
    places: Sequence[str], registry: Registry, home: Path, published: Sequence[Published] = ()
) -> Leaderboard:
    """The leaderboard of all graded models of the runs in ``places``; ``home`` is the folder that it is written to.

    Results stand in one board only where benchmark, version, protocol, scoring and questions are the same.
    """
    models, left_out = _models(runs_in(places))
    boards: list[Board] = []
    for benchmark in benchmarks_of(models):
        answers = {one.label: found for one in models if (found := answers_of(one, benchmark, None)) is not None}
        groups = _alike(answers)
        for number, labels in enumerate(groups):
            told = differences(answers[groups[0][0]], answers[labels[0]]) if number else []
            own = {label: answers[label] for label in labels}
            members = [one for one in models if one.label in own]
            beside = published_values(published, members, {(label, benchmark): own[label] for label in own})
            entries = tuple(
                Entry(model=one.model, run="", rank="", value=one.value.value, source=str(one.source)) for one in beside
            )
            boards.append(_board(benchmark, members, own, registry, home, tuple(told), entries))
    shown = {entry.source for board in boards for order in board.orders for entry in order.entries}
    sources = {n: source.shown for table in published for n, source in table.sources.items() if n in shown}
    return Leaderboard(
        runs=tuple(dict.fromkeys(one.run.name for one in models)),
        boards=tuple(boards),
        sources=sources,
        left_out=tuple(left_out),
    )


def _models(paths: Iterable[Path]) -> tuple[list[ModelResult], list[str]]:
    """Every graded model of the runs and the constant baselines; and the runs that cannot be shown, with the reason."""
    found: list[tuple[str, ModelResult]] = []
    left_out = []
    for path in paths:
        try:
            run = open_run(path)
        except InfimedError as error:
            left_out.append(str(error))
            continue
        names = dict.fromkeys(row.model for row in run.record.results)
        kept = [name for name in names if not is_baseline(name) or name == BASELINE]
        if not kept:
            left_out.append(f"{path}: no model has been graded there")
        found += [(own_name(run.record, name), ModelResult("", run, name)) for name in kept]
    own = [name for name, _ in found]
    models: list[ModelResult] = []
    for name, one in found:
        label = name if own.count(name) == 1 else f"{one.run.name}:{name}"
        taken = sum(other.label == label for other in models)
        models.append(ModelResult(label if not taken else f"{one.run.directory}:{name}", one.run, one.model))
    return models, left_out


def _alike(answers: Mapping[str, Answers]) -> list[list[str]]:
    """Labels in groups of which all were asked alike, the largest first."""
    groups: list[list[str]] = []
    for label, own in answers.items():
        group = next((group for group in groups if not differences(answers[group[0]], own)), None)
        if group is None:
            groups.append([label])
        else:
            group.append(label)
    return sorted(groups, key=len, reverse=True)


def _board(
    benchmark: str,
    members: Sequence[ModelResult],
    answers: Mapping[str, Answers],
    registry: Registry,
    home: Path,
    differs: tuple[str, ...],
    published: tuple[Entry, ...],
) -> Board:
    first = next(iter(answers.values()))
    orders = [_order("", members, answers, registry, home, list(first.rows), published)]
    for place, what in ((0, "modality"), (1, "task")):
        parts = dict.fromkeys(cell[place] for cell in first.cells.values())
        for part in parts if len(parts) > 1 else ():
            names = [name for name, cell in first.cells.items() if cell[place] == part]
            if len(names) >= FEWEST_IN_A_PART:
                orders.append(_order(f"{what}: {part}", members, answers, registry, home, names, ()))
    pair = Pair(first, first, registry)
    return Board(
        benchmark=benchmark,
        scoring=first.scoring,
        metric=pair.metric_name,
        higher_is_better=pair.metric.higher_is_better,
        orders=tuple(orders),
        differs=differs,
    )


def _order(
    part: str,
    members: Sequence[ModelResult],
    answers: Mapping[str, Answers],
    registry: Registry,
    home: Path,
    names: Sequence[str],
    published: tuple[Entry, ...],
) -> Order:
    """The models by their values on the questions ``names``; ranks are of paired tests, corrected over all pairs."""
    models = [one for one in members if not is_baseline(one.model)]
    compared = []
    for one, other in combinations([one.label for one in models], 2):
        found = Pair(answers[one], answers[other], registry).compare(one, other, (), names)
        if found is not None and found.p_value is not None:
            compared.append(found)
    adjusted = holm([found.p_value or 0.0 for found in compared])
    better = {
        (found.model, found.against)
        if (found.difference > 0) == found.higher_is_better
        else (found.against, found.model)
        for found, p in zip(compared, adjusted, strict=True)
        if p < 0.05
    }
    entries = [_entry(one, answers[one.label], registry, home, names, "") for one in models]
    labels = [one.label for one, entry in zip(models, entries, strict=True) if entry.value is not None]
    ranks = {label: rank(label, labels, better) for label in labels}  # what answered nothing has none
    entries = [
        entry.model_copy(update={"rank": ranks.get(one.label, "")}) for one, entry in zip(models, entries, strict=True)
    ]
    sign = 1.0 if not compared or compared[0].higher_is_better else -1.0
    entries.sort(key=lambda entry: (entry.value is None, -sign * (entry.value or 0.0)))
    constant = next((one for one in members if one.model == BASELINE), None)
    if constant is not None:
        entries.append(_entry(constant, answers[constant.label], registry, home, names, ""))
    return Order(part=part, entries=(*entries, *published))


def _entry(
    one: ModelResult, answers: Answers, registry: Registry, home: Path, names: Sequence[str], own_rank: str
) -> Entry:
    metric = Pair(answers, answers, registry).metric
    rows = [answers.rows[name] for name in names]
    places = counted(metric, rows)
    kept, units = [rows[place] for place in places], [answers.clusters[names[place]] for place in places]
    values = metric.answer_values(kept) if kept else None
    low, high = interval(values, clusters=units) if values is not None else (None, None)
    if values is None and kept:
        low, high = metric.interval(kept, units) or (None, None)
    page = one.run.directory / "report.html"
    query = urlencode({"benchmark": answers.benchmark, "model": one.model})
    address = f"{os.path.relpath(page, home)}#browse?{query}" if page.is_file() else ""
    return Entry(
        model=BASELINE if one.model == BASELINE else one.label,
        run=one.run.name,
        rank=own_rank,
        value=metric.compute_answers(kept) if kept else None,
        low=low,
        high=high,
        num_questions=len(kept),
        num_unread=sum(row.score.value is None for row in rows),
        report=address,
    )
