"""``infimed compare``: models of finished runs against each other, on the questions that both answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from pydantic import Field

from infimed_core import (
    Estimate,
    InfimedError,
    MetricValue,
    PairedTest,
    Registry,
    Row,
    holm,
    mean_estimate,
    paired_estimate,
)
from infimed_plugins.reporting.compare.compared_models import (
    Answers,
    ModelResult,
    answers_of,
    benchmarks_of,
    compared_models,
    differences,
)
from infimed_plugins.reporting.compare.published import Published, Suite, installed_tables


class Value(Row):
    """One model on one benchmark: its score over all questions. ``source`` is set where the figure is published."""

    benchmark: str
    scoring: str
    metric: str
    model: str
    value: MetricValue
    source: str | None = None
    note: str = ""


class Difference(Row):
    """``model`` minus ``against``, over the questions that both have a score for.

    ``part`` is empty for a whole benchmark and names modality and task type for a cell. ``of`` is the benchmark, or the
    mean that several benchmarks make. ``test`` says where ``p_value`` comes from; ``p_adjusted`` is Holm's over all
    differences of the same table. ``mixed`` says how the two protocols differ, and is empty where they do not.
    """

    of: str
    scoring: str
    part: dict[str, str] = Field(default_factory=dict)
    model: str
    against: str
    value_model: float
    value_against: float
    difference: float
    low: float
    high: float
    p_value: float | None
    p_adjusted: float | None = None
    test: PairedTest
    num_pairs: int
    num_unpaired: int = 0
    num_clusters: int = 0
    benchmarks: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()


class RunComparison(Row):
    """Everything that ``infimed compare`` shows."""

    format: Literal[1] = 1
    models: tuple[str, ...]
    values: tuple[Value, ...]
    benchmarks: tuple[Difference, ...]
    cells: tuple[Difference, ...]
    means: tuple[Difference, ...]
    published: tuple[Value, ...] = ()
    sources: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def compare_runs(
    runs: Sequence[str],
    registry: Registry,
    allow_mixed: bool = False,
    scoring: str | None = None,
    against: str | None = None,
    published: Sequence[Published] = (),
) -> RunComparison:
    """Compare the models that ``runs`` name (``compared_models``) on every benchmark that two of them answered.

    ``scoring`` picks a grading (default: each benchmark's first); ``against`` compares with that model alone.

    Raises:
        InfimedError: two results of different protocols and not ``allow_mixed`` (every difference is named); nothing
            that two models share; a name that is not there.
    """
    models = compared_models(runs)
    pairs = _pairs(models, against)
    answers: dict[tuple[str, str], Answers] = {}
    for benchmark in benchmarks_of(models):
        for one in models:
            found = answers_of(one, benchmark, scoring)
            if found is not None:
                answers[one.label, benchmark] = found
    mixed = _mixed(pairs, answers)
    if mixed and not allow_mixed:
        raise InfimedError(_refusal(mixed))
    wholes: list[Difference] = []
    cells: list[Difference] = []
    estimates: dict[tuple[str, str, str], tuple[Estimate, Difference]] = {}
    notes: list[str] = []
    for benchmark in benchmarks_of(models):
        for first, other in pairs:
            mine, theirs = answers.get((first, benchmark)), answers.get((other, benchmark))
            if mine is None or theirs is None:
                continue
            marks = tuple(mixed.get((benchmark, first, other), ()))
            compared = _compare(mine, theirs, first, other, marks)
            if compared is None:
                notes.append(f"{benchmark}: no question that both {first} and {other} have a score for")
                continue
            estimates[benchmark, first, other] = compared
            wholes.append(compared[1])
            cells += _cells(mine, theirs, first, other, marks)
    if not wholes:
        raise InfimedError("; ".join(notes) or f"no benchmark that two of {', '.join(e.label for e in models)} share")
    suites = installed_tables(registry)
    return RunComparison(
        models=tuple(one.label for one in models),
        values=tuple(_values(models, answers)),
        benchmarks=_adjusted(wholes),
        cells=_adjusted(cells),
        means=_adjusted(_means(pairs, estimates, [suite for table in suites.values() for suite in table.suites])),
        published=tuple(_published(published, {benchmark for _, benchmark in answers})),
        sources={name: source.shown for table in published for name, source in table.sources.items()},
        notes=tuple(notes),
    )


def _pairs(models: Sequence[ModelResult], against: str | None) -> list[tuple[str, str]]:
    """(model, against): the later against the earlier, so that progress is positive."""
    labels = [one.label for one in models]
    if against is None:
        return [(later, earlier) for earlier, later in combinations(labels, 2)]
    named = [one.label for one in models if against in (one.label, one.model)]
    if len(named) != 1:
        raise InfimedError(
            f"--against {against}: {'more than one' if named else 'no'} such model; there is {', '.join(labels)}"
        )
    return [(label, named[0]) for label in labels if label != named[0]]


def _mixed(
    pairs: Iterable[tuple[str, str]], answers: dict[tuple[str, str], Answers]
) -> dict[tuple[str, str, str], list[str]]:
    found = {}
    for first, other in pairs:
        for benchmark in dict.fromkeys(name for label, name in answers if label == first):
            theirs = answers.get((other, benchmark))
            if theirs is not None:
                told = differences(answers[first, benchmark], theirs)
                if told:
                    found[benchmark, first, other] = told
    return found


def _refusal(mixed: dict[tuple[str, str, str], list[str]]) -> str:
    lines = [
        f"{benchmark}: {first} and {other} were asked under different protocols: {'; '.join(told)}"
        for (benchmark, first, other), told in mixed.items()
    ]
    return "\n".join([*lines, "run them alike, or give --allow-mixed to see them in one table, marked"])


def _compare(
    mine: Answers, theirs: Answers, first: str, other: str, marks: tuple[str, ...], names: Sequence[str] | None = None
) -> tuple[Estimate, Difference] | None:
    everything = len(names) if names is not None else len({*mine.values, *theirs.values})
    names = list(mine.values) if names is None else names
    kept = [name for name in names if mine.values[name] is not None and theirs.values.get(name) is not None]
    if not kept:
        return None
    ours = np.array([mine.values[name] for name in kept], dtype=np.float64)
    others = np.array([theirs.values[name] for name in kept], dtype=np.float64)
    binary = bool(np.isin(ours, (0.0, 1.0)).all() and np.isin(others, (0.0, 1.0)).all())
    found = paired_estimate(ours - others, [mine.clusters[name] for name in kept], binary)
    return found, Difference(
        of=mine.benchmark,
        scoring=mine.scoring if mine.scoring == theirs.scoring else f"{mine.scoring}, {theirs.scoring}",
        model=first,
        against=other,
        value_model=float(ours.mean()),
        value_against=float(others.mean()),
        difference=found.difference,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        test=found.test,
        num_pairs=len(kept),
        num_unpaired=everything - len(kept),
        num_clusters=found.num_clusters,
        mixed=marks,
    )


def _cells(mine: Answers, theirs: Answers, first: str, other: str, marks: tuple[str, ...]) -> list[Difference]:
    members: dict[tuple[str, str], list[str]] = {}
    for name, cell in mine.cells.items():
        members.setdefault(cell, []).append(name)
    found = []
    for (modality, task), names in sorted(members.items(), key=lambda item: ("unlabelled" in item[0], item[0])):
        compared = _compare(mine, theirs, first, other, marks, names)
        if compared is not None:
            found.append(compared[1].model_copy(update={"part": {"modality": modality, "task_type": task}}))
    return found


def _means(
    pairs: Iterable[tuple[str, str]],
    estimates: dict[tuple[str, str, str], tuple[Estimate, Difference]],
    suites: Sequence[Suite],
) -> list[Difference]:
    """The unweighted mean over benchmarks: of each suite that two models answered in full, and of all they share."""
    found = []
    for first, other in pairs:
        shared = [benchmark for benchmark, *pair in estimates if pair == [first, other]]
        groups = [(suite.name, list(suite.benchmarks)) for suite in suites if set(suite.benchmarks) <= set(shared)]
        if len(shared) > 1 and all(set(members) != set(shared) for _, members in groups):
            groups.append((f"mean of {len(shared)} benchmarks", shared))
        for name, members in groups:
            found.append(_mean(name, first, other, [estimates[benchmark, first, other] for benchmark in members]))
    return found


def _mean(name: str, first: str, other: str, parts: Sequence[tuple[Estimate, Difference]]) -> Difference:
    size = len(parts)
    mean = mean_estimate([one for one, _ in parts])
    rows = [row for _, row in parts]
    return Difference(
        of=name,
        scoring=", ".join(dict.fromkeys(row.scoring for row in rows)),
        model=first,
        against=other,
        value_model=sum(row.value_model for row in rows) / size,
        value_against=sum(row.value_against for row in rows) / size,
        difference=mean.difference,
        low=mean.low,
        high=mean.high,
        p_value=mean.p_value,
        test=mean.test,
        num_pairs=sum(row.num_pairs for row in rows),
        num_unpaired=sum(row.num_unpaired for row in rows),
        num_clusters=sum(row.num_clusters for row in rows),
        benchmarks=tuple(row.of for row in rows),
        mixed=tuple(dict.fromkeys(f"{row.of}: {mark}" for row in rows for mark in row.mixed)),
    )


def _adjusted(rows: Sequence[Difference]) -> tuple[Difference, ...]:
    known = [(place, row.p_value) for place, row in enumerate(rows) if row.p_value is not None]
    adjusted = dict(zip((place for place, _ in known), holm([p for _, p in known]), strict=True))
    return tuple(row.model_copy(update={"p_adjusted": adjusted.get(place)}) for place, row in enumerate(rows))


def _values(models: Sequence[ModelResult], answers: dict[tuple[str, str], Answers]) -> list[Value]:
    found = []
    for benchmark in benchmarks_of(models):
        for one in models:
            got = answers.get((one.label, benchmark))
            if got is not None and got.result is not None:
                metrics = got.result.metrics
                metric = "accuracy" if "accuracy" in metrics else next(iter(metrics))
                found.append(
                    Value(
                        benchmark=benchmark, scoring=got.scoring, metric=metric, model=one.label, value=metrics[metric]
                    )
                )
    return found


def _published(tables: Sequence[Published], benchmarks: set[str]) -> list[Value]:
    return [
        Value(
            benchmark=benchmark,
            scoring="as published",
            metric="accuracy",
            model=row.model,
            value=MetricValue(value=value),
            source=row.source,
            note=row.note,
        )
        for table in tables
        for row in table.rows
        for benchmark, value in row.values.items()
        if benchmark in benchmarks
    ]
