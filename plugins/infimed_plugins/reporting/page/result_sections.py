"""What the page shows of results: intervals, before and after, cost, gradings that part, judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infimed_core import cohen_kappa
from infimed_core.records import BASELINE, IMAGE_BLIND, RunRecord, is_baseline
from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page.answers import AnswerTables
from infimed_plugins.reporting.page.figures import mapping
from infimed_plugins.reporting.page.names import own_name
from infimed_plugins.reporting.page.prices import Price
from infimed_plugins.reporting.page.tables import BenchmarkTable, Matrix, benchmark_tables, training_costs, unique


def interval_chart(table: BenchmarkTable) -> str:
    """Every model's value with its interval, and the constant baseline as a line."""
    lines = [
        (line.model, line.value.value, line.value.low, line.value.high,
         "constant" if is_baseline(line.model) else "model")
        for line in table.lines
    ]  # fmt: skip
    label = f"{table.benchmark}, {table.scoring}: {table.metric} of every model with its 95% interval"
    return charts.intervals(lines, label, table.baseline)


def headlines(record: RunRecord) -> list[dict[str, Any]]:
    """For each benchmark under its first scoring: before, after, and the baseline."""
    sections = []
    seen = set()
    for table in benchmark_tables(record):
        models = [line for line in table.lines if not is_baseline(line.model)]
        if table.benchmark in seen or not models:
            continue
        seen.add(table.benchmark)
        before, after = models[0], models[-1]
        baseline = next((line for line in table.lines if line.model == BASELINE), None)
        sections.append(
            {"table": table, "before": before if len(models) > 1 else None, "after": after, "baseline": baseline}
        )
    return sections


def cost_chart(record: RunRecord) -> str:
    """The first benchmark's metric against seconds of training."""
    first = next(iter(headlines(record)), None)
    if first is None:
        return ""
    lines = {line.model: line for line in first["table"].lines}
    # Every stage adds its time, also one after which nothing was asked.
    costs = [("base", 0.0), *((name, spent) for name, _, spent in training_costs(record))]
    total, points = 0.0, []
    for model, spent in costs:
        total += spent
        value = lines[model].value if model in lines else None
        if value is not None and value.value is not None:
            points.append((model, total, value.value, value.low, value.high))
    title = f"{first['table'].benchmark}: {first['table'].metric} against seconds of training"
    return charts.cost_chart(points, "seconds of training so far", title) if len(points) > 1 else ""


def asking(record: RunRecord, prices: Mapping[str, Price]) -> list[tuple[Any, ...]]:
    """What asking cost: (model, benchmark, questions, calls, prompt tokens, answer tokens, seconds, money).

    A model with several benchmarks has a row for all of them; several models have one for everything.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for step in record.steps:
        if step.kind == "evaluate" and step.details.get("calls"):  # answers of a file were not asked for
            model, facts = step.subject.get("model", ""), step.details
            tokens: Any = (facts.get("prompt_tokens"), facts.get("answer_tokens"))
            own = model.removesuffix(IMAGE_BLIND)
            price = prices.get(own) or prices.get(own_name(record, own))
            money = price.of(*tokens) if price is not None else None
            figures = (step.num_out, facts["calls"], *tokens, step.seconds, money)
            rows.setdefault(model, []).append((step.subject.get("benchmark", ""), *figures))
    found: list[tuple[Any, ...]] = []
    for model, own_rows in rows.items():
        name = own_name(record, model)
        found += [(name, *row) for row in own_rows]
        if len(own_rows) > 1:
            found.append((name, "all", *_sums(own_rows)))
    if len(rows) > 1:
        found.append(("all", "all", *_sums([row for own_rows in rows.values() for row in own_rows])))
    return found


def _sums(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The figures of all rows added up; ``None`` where one of them is not known."""
    return [None if None in part else sum(part) for part in zip(*(row[1:] for row in rows), strict=True)]


def last_model(matrices: list[Matrix]) -> int:
    """The matrix to show first: that of the last model on the first benchmark."""
    trained = [i for i, matrix in enumerate(matrices) if not is_baseline(matrix.model)]
    first = [i for i in trained if matrices[i].benchmark == matrices[trained[0]].benchmark]
    return first[-1] if first else 0


def disagreements(answers: AnswerTables) -> list[dict[str, Any]]:
    """For every two gradings of a model's answers: where they part, and Cohen's kappa where both gave a verdict."""
    sections = []
    for (benchmark, model, first, second), pairs in answers.disagreement.items():
        judged = Counter({pair: num for pair, num in pairs.items() if not set(pair) & set("ue")})
        sections.append(
            {
                "benchmark": benchmark,
                "model": model,
                "first": first,
                "second": second,
                "same": sum(num for (a, b), num in pairs.items() if a == b),
                "only_first": sum(num for (a, b), num in pairs.items() if a == "r" != b),
                "only_second": sum(num for (a, b), num in pairs.items() if b == "r" != a),
                "unscored_first": sum(num for (a, b), num in pairs.items() if a in "ue" and b not in "ue"),
                "kappa": cohen_kappa([a for a, _ in judged.elements()], [b for _, b in judged.elements()]),
            }
        )
    return sections


def judges(record: RunRecord) -> list[tuple[str, str, dict[str, Any]]]:
    """What the judges of each evaluation did, and how far two of them agree: (step, judge or pair, facts)."""
    sections = []
    for step in record.steps:
        if step.kind == "evaluate":
            shown = " ".join(step.subject.values())
            sections += [
                (shown, str(judge), mapping(facts)) for judge, facts in mapping(step.details.get("judges")).items()
            ]
    return sections


def keys_of(rows: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Every key of several objects, in order of appearance; nested ones are left out."""
    return unique(key for row in rows for key, value in row.items() if not isinstance(value, dict | list))
