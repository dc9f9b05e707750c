"""A sweep as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page.assets import asset, digest, environment
from infimed_plugins.reporting.sweep.results import Line, SweepResult
from infimed_plugins.reporting.sweep.text import table_of


def page(result: SweepResult) -> str:
    """The page: no script, no request, everything escaped."""
    from markupsafe import Markup

    made = environment()
    style = asset(made, "report.css")
    columns, rows = table_of(result)
    text: str = made.get_template("sweep.html.j2").render(
        style=Markup(style),
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{digest(style)}'",
        name=Path(result.source).name,
        reference=result.reference,
        drawings=[
            drawing for benchmark in dict.fromkeys(line.benchmark for line in result.lines)
            for drawing in _drawings(benchmark, [line for line in result.lines if line.benchmark == benchmark], result)
        ],
        columns=columns,
        rows=rows,
        costs=result.costs,
        variants={name: _changes(changes) for name, changes in result.variants.items()},
        missing=result.missing,
    )  # fmt: skip
    return text


def _drawings(benchmark: str, lines: list[Line], result: SweepResult) -> list[tuple[str, str]]:
    """Scores, and differences from the reference: (caption, SVG) each."""
    scores = [(line.variant, line.value.value, line.value.low, line.value.high, "model") for line in lines]
    others = [(line.variant, line.against_reference) for line in lines if line.against_reference is not None]
    label = f"{benchmark}: scores with their 95% intervals"
    found = [(f"{benchmark}: score", charts.intervals(scores, label))]
    if others:
        reach = min(1.0, max(max(abs(one.low), abs(one.high)) for _, one in others) * 1.1 + 0.01)
        differences = [(variant, one.difference, one.low, one.high, "model") for variant, one in others]
        label = f"{benchmark}: differences from {result.reference} with their 95% intervals"
        drawing = charts.intervals(differences, label, domain=(-reach, reach), zero=True)
        found.append((f"{benchmark}: minus {result.reference}", drawing))
    return found


def _changes(changes: dict[str, Any]) -> str:
    return "; ".join(f"{path} = {value}" for path, value in changes.items()) or "the file as it is"
