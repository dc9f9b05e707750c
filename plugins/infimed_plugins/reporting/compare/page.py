"""A comparison of runs as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infimed_plugins.reporting.compare.comparison import Difference, RunComparison
from infimed_plugins.reporting.compare.text import as_csv, as_json, as_markdown, footnotes, tables
from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page.assets import asset, digest, environment

MOST_LINES = 60
"""Differences in one drawing; the table below it holds all."""


def page(found: RunComparison) -> str:
    """The page: no script, no request, everything escaped."""
    from markupsafe import Markup

    made = environment()
    style = asset(made, "report.css")
    drawings = {
        "Differences per benchmark": _drawings(found.benchmarks),
        "Differences of means over benchmarks": _drawings(found.means),
    }
    text: str = made.get_template("comparison.html.j2").render(
        style=Markup(style),
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{digest(style)}'",
        models=found.models,
        tables=[(table, drawings.get(table.title, [])) for table in tables(found)],
        footnotes=footnotes(found),
        mixed=any(row.mixed for row in found.benchmarks),
    )
    return text


def _drawings(rows: Sequence[Difference]) -> list[tuple[str, str]]:
    """One drawing for each benchmark, all on one scale: (name, SVG). Models of one run go without its name."""
    if not rows:
        return []
    reach = min(1.0, max(max(abs(row.low), abs(row.high)) for row in rows) * 1.1 + 0.01)
    runs = {label.split(":")[0] for row in rows for label in (row.model, row.against)}

    def short(label: str) -> str:
        return label.split(":", 1)[-1] if len(runs) == 1 else label

    drawn = []
    for name in dict.fromkeys(row.of for row in rows):
        lines = [
            (f"{'≠ ' if row.mixed else ''}{short(row.model)} − {short(row.against)}", row.difference, row.low, row.high,
             "model")
            for row in rows
            if row.of == name
        ][:MOST_LINES]  # fmt: skip
        label = f"{name}: differences with their 95% intervals"
        drawn.append((name, charts.intervals(lines, label, domain=(-reach, reach), zero=True)))
    return drawn


FORMATS: dict[str, Callable[[RunComparison], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "html": page,
}
SUFFIXES = {".md": "markdown", ".csv": "csv", ".json": "json", ".html": "html", ".htm": "html"}
