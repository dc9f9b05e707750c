"""Answer or refer: how often a model is right on the questions that it is surest of, over how many these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from infimed_core.records import is_baseline
from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page.answers import AnswerTables

FEWEST = 20
"""Answers with a confidence from which a curve says something."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the questions that a model answers itself: the columns of the table."""


@dataclass(frozen=True)
class Referring:
    """A benchmark: a curve for each model, and its accuracy where it answers only so many of the questions."""

    benchmark: str
    drawing: str
    rows: tuple[tuple[str, int, tuple[float, ...]], ...]


def referring(tables: AnswerTables) -> list[Referring]:
    """Every benchmark with answers that carry a confidence, under the scoring that counts."""
    found = []
    for benchmark in tables.benchmarks:
        curves, rows = {}, []
        for model in tables.models:
            pairs = tables.confidences.get((benchmark, model), [])
            if len(pairs) >= FEWEST and not is_baseline(model):
                curve = accuracies(pairs)
                curves[model] = [((number + 1) / len(curve), value) for number, value in enumerate(curve)]
                at = tuple(curve[max(1, round(share * len(curve))) - 1] for share in SHARES)
                rows.append((model, len(curve), at))
        if rows:
            label = f"{benchmark}: accuracy on the questions that a model is surest of, by their share"
            drawing = charts.line_chart(curves, label, smooth=False, over="share that it answers itself")
            found.append(Referring(benchmark, drawing, tuple(rows)))
    return found


def accuracies(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """The mean value of the 1, 2 ... n surest answers; those of one confidence count as their mean does."""
    total, curve = 0.0, list[float]()
    for _, group in groupby(sorted(pairs, key=lambda pair: -pair[0]), key=lambda pair: pair[0]):
        values = [value for _, value in group]
        for _ in values:
            total += sum(values) / len(values)
            curve.append(total / (len(curve) + 1))
    return curve
