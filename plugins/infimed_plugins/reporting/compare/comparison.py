"""``infimed compare``: models of finished runs against each other, on the questions that both answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Literal

from pydantic import Field

from infimed_core import (
    Comparison,
    InfimedError,
    MetricValue,
    Registry,
    Row,
    adjust,
    compare_answers,
)
from infimed_core.records import is_baseline
from infimed_plugins.reporting.compare.compared_models import (
    Answers,
    ModelResult,
    answers_of,
    benchmarks_of,
    compared_models,
    differences,
)
from infimed_plugins.reporting.compare.means import mean_of_differences
from infimed_plugins.reporting.compare.published import Published, Suite, installed_tables
from infimed_plugins.reporting.compare.recorded import recorded_metric
from infimed_plugins.reporting.page.doubts import unread_of


class Value(Row):
    """One model on one benchmark: its score over all questions. ``source`` is set where the figure is published."""

    benchmark: str
    scoring: str
    metric: str
    model: str
    value: MetricValue
    source: str | None = None
    note: str = ""


class Difference(Comparison):
    """``model`` minus ``against``, as ``infimed_core.compare_answers`` compares them.

    ``part`` is empty for a whole benchmark and names modality and task type for a cell. ``of`` is the benchmark, or the
    mean that several benchmarks make (``test`` is then ``means``). ``p_adjusted`` is Holm's over all differences of the
    same table. ``mixed`` says how the two protocols differ, and is empty where they do not.
    """

    of: str
    part: dict[str, str] = Field(default_factory=dict)
    test: Literal["mcnemar", "t", "no-spread", "bootstrap", "means"]  # type: ignore[assignment]
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
    unread: tuple[str, ...] = ()
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
    estimates: dict[tuple[str, str, str], Difference] = {}
    unshared: list[tuple[str, str, str]] = []
    for benchmark in benchmarks_of(models):
        for first, other in pairs:
            mine, theirs = answers.get((first, benchmark)), answers.get((other, benchmark))
            if mine is None or theirs is None:
                continue
            marks = tuple(mixed.get((benchmark, first, other), ()))
            pair = Pair(mine, theirs, registry)
            compared = pair.compare(first, other, marks)
            if compared is None:
                unshared.append((benchmark, first, other))
                continue
            estimates[benchmark, first, other] = compared
            wholes.append(compared)
            cells += _cells(pair, first, other, marks)
    notes = _unshared(unshared)
    if not wholes:
        under = f" graded as '{scoring}'" if scoring else ""
        labels = ", ".join(model.label for model in models)
        raise InfimedError("; ".join(notes) or f"no benchmark{under} that two of {labels} share")
    suites = installed_tables(registry)
    return RunComparison(
        models=tuple(one.label for one in models),
        values=tuple(_values(models, answers)),
        benchmarks=_adjusted(wholes),
        cells=_adjusted(cells),
        means=_adjusted(_means(pairs, estimates, [suite for table in suites.values() for suite in table.suites])),
        published=tuple(published_values(published, models, answers)),
        sources={name: source.shown for table in published for name, source in table.sources.items()},
        unread=tuple(_unread(models, answers)),
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


class Pair:
    """The answers of two models to the questions of one benchmark, and the metric that both are shown by."""

    def __init__(self, mine: Answers, theirs: Answers, registry: Registry) -> None:
        self.mine, self.theirs = mine, theirs
        self.metric_name = _headline(mine)
        self.metric = recorded_metric(mine.details, self.metric_name, registry)
        # Records from before unread answers counted have their values over the others; so is the difference then.
        self.only_read = "metrics" not in mine.details or "metrics" not in theirs.details

    def compare(
        self, first: str, other: str, marks: tuple[str, ...], names: Sequence[str] | None = None
    ) -> Difference | None:
        """The difference on the questions ``names``, by default all that either was asked."""
        mine, theirs = self.mine, self.theirs
        num_questions = len(names) if names is not None else len({*mine.rows, *theirs.rows})
        kept = [name for name in (mine.rows if names is None else names) if name in theirs.rows]
        if self.only_read:
            kept = [name for name in kept if all(one.rows[name].score.value is not None for one in (mine, theirs))]
        found = compare_answers(
            [mine.rows[name] for name in kept],
            [theirs.rows[name] for name in kept],
            self.metric,
            [mine.clusters[name] for name in kept],
            benchmark=mine.benchmark,
            scoring=mine.scoring if mine.scoring == theirs.scoring else f"{mine.scoring}, {theirs.scoring}",
            metric_name=self.metric_name,
            model=first,
            against=other,
        )
        if found is None:
            return None
        facts = found.model_dump() | {"num_unpaired": num_questions - found.num_pairs}
        return Difference(of=mine.benchmark, mixed=marks, **facts)


def _headline(answers: Answers) -> str:
    return str(answers.protocol["metric"])


def _unshared(pairs: Sequence[tuple[str, str, str]]) -> list[str]:
    """(benchmark, model, other) of pairs without a question in common; a model with several such is told once."""
    count = Counter((benchmark, model) for benchmark, *both in pairs for model in both)
    silent = {key for key, number in count.items() if number > 2}
    found: dict[str, list[str]] = {}
    for benchmark, model in sorted(silent):
        found.setdefault(model, []).append(benchmark)
    told = [f"{', '.join(on)}: no question that {model} and others have a result for" for model, on in found.items()]
    return told + [
        f"{benchmark}: no question that both {first} and {other} have a result for"
        for benchmark, first, other in pairs
        if not {(benchmark, first), (benchmark, other)} & silent
    ]


def _unread(models: Sequence[ModelResult], answers: dict[tuple[str, str], Answers]) -> Iterator[str]:
    """A sentence on every result of which more than a few answers could not be read."""
    for one in models:
        for (label, benchmark), got in answers.items():
            if label == one.label and got.result is not None and not is_baseline(one.model):
                metric = _headline(got)
                found = unread_of(got.details, benchmark, label, metric, got.result.metrics[metric])
                if found is not None:
                    yield found.line


def _cells(pair: Pair, first: str, other: str, marks: tuple[str, ...]) -> list[Difference]:
    members: dict[tuple[str, str], list[str]] = {}
    for name, cell in pair.mine.cells.items():
        members.setdefault(cell, []).append(name)
    found = []
    for (modality, task), names in sorted(members.items(), key=lambda item: ("unlabelled" in item[0], item[0])):
        compared = pair.compare(first, other, marks, names)
        if compared is not None:
            found.append(compared.model_copy(update={"part": {"modality": modality, "task_type": task}}))
    return found


def _means(
    pairs: Iterable[tuple[str, str]],
    estimates: dict[tuple[str, str, str], Difference],
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


def _mean(name: str, first: str, other: str, rows: Sequence[Difference]) -> Difference:
    mean = mean_of_differences(rows)
    values = [[row.value_model for row in rows], [row.value_against for row in rows]]
    known = [[value for value in side if value is not None] for side in values]
    return Difference(
        of=name,
        benchmark="",
        scoring=", ".join(dict.fromkeys(row.scoring for row in rows)),
        metric=", ".join(dict.fromkeys(row.metric for row in rows)),
        model=first,
        against=other,
        value_model=sum(known[0]) / len(rows),
        value_against=sum(known[1]) / len(rows),
        difference=mean.difference,
        low=mean.low,
        high=mean.high,
        p_value=mean.p_value,
        minimum_detectable=mean.minimum_detectable,
        standard_error=mean.standard_error,
        degrees_of_freedom=mean.degrees_of_freedom,
        test="means",
        num_pairs=mean.num_pairs,
        num_unpaired=sum(row.num_unpaired for row in rows),
        num_clusters=mean.num_clusters,
        benchmarks=tuple(row.of for row in rows),
        mixed=tuple(dict.fromkeys(f"{row.of}: {mark}" for row in rows for mark in row.mixed)),
    )


def _adjusted(rows: Sequence[Difference]) -> tuple[Difference, ...]:
    return tuple(adjust(rows))


def _values(models: Sequence[ModelResult], answers: dict[tuple[str, str], Answers]) -> list[Value]:
    found = []
    for benchmark in benchmarks_of(models):
        for one in models:
            got = answers.get((one.label, benchmark))
            if got is not None and got.result is not None:
                metrics = got.result.metrics
                metric = _headline(got)
                found.append(
                    Value(
                        benchmark=benchmark, scoring=got.scoring, metric=metric, model=one.label, value=metrics[metric]
                    )
                )
    return found


def published_values(
    tables: Sequence[Published], models: Sequence[ModelResult], answers: dict[tuple[str, str], Answers]
) -> list[Value]:
    """The published figures of the benchmarks that were asked as published: by their own component, not one that a run
    only calls so; whole, with its own settings, and with as many options."""
    found = []
    for benchmark in benchmarks_of(models):
        asked = [(one, answers[one.label, benchmark]) for one in models if (one.label, benchmark) in answers]
        for table in tables:
            uses = {_use(one, benchmark) for one, _ in asked}
            name = uses.pop() if len(uses) == 1 else None
            if name is None or any(not _as_published(got, table.options.get(name)) for _, got in asked):
                continue
            found += [
                Value(
                    benchmark=benchmark,
                    scoring="as published",
                    metric="accuracy",
                    model=row.model,
                    value=MetricValue(value=row.values[name]),
                    source=row.source,
                    note=row.note,
                )
                for row in table.rows
                if name in row.values
            ]
    return found


def _use(one: ModelResult, benchmark: str) -> str | None:
    """The component that a run asked under this name; ``None`` where its settings make it another set."""
    ref = one.run.benchmark_refs.get(benchmark)
    default = {"revision": None, "reasoning": False, "language": "all", "judged": "open"}
    if ref is None or any(default.get(key, value) != value for key, value in ref.settings.items()):
        return None
    return ref.use.rsplit("/", 1)[-1]


def _as_published(answers: Answers, num_options: int | None) -> bool:
    """Whether all questions were asked, each with the number of options that the figures are of."""
    if answers.protocol.get("limit") is not None or "samples" in answers.protocol:
        return False
    return num_options is None or all(len(row.sample.options) == num_options for row in answers.rows.values())
