"""A comparison of runs as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infimed_core import report_charts as charts
from infimed_core.comparison_text import as_csv, as_json, as_markdown, footnotes, tables
from infimed_core.report_assets import asset, digest, environment
from infimed_core.run_comparison import Difference, RunComparison

MOST_LINES = 60
"""Differences in one drawing; the table below it holds all."""


def page(found: RunComparison) -> str:
    """The page: no script, no request, everything escaped."""
    from markupsafe import Markup

    made = environment()
    style = asset(made, "report.css")
    drawings = {
        "Differences per benchmark": _drawing(found.benchmarks, "differences per benchmark with their 95% intervals"),
        "Differences of means over benchmarks": _drawing(found.means, "differences of means over benchmarks"),
    }
    text: str = made.get_template("comparison.html.j2").render(
        style=Markup(style),
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{digest(style)}'",
        models=found.models,
        tables=[(table, drawings.get(table.title, "")) for table in tables(found)],
        footnotes=footnotes(found),
        mixed=any(row.mixed for row in found.benchmarks),
    )
    return text


def _drawing(rows: Sequence[Difference], label: str) -> str:
    shown = rows[:MOST_LINES]
    if not shown:
        return ""
    reach = min(1.0, max(max(abs(row.low), abs(row.high)) for row in shown) * 1.1 + 0.01)
    several = len({(row.model, row.against) for row in shown}) > 1
    lines = []
    for row in shown:
        name = f"{row.of}: {row.model} − {row.against}" if several else row.of
        lines.append((("≠ " if row.mixed else "") + name, row.difference, row.low, row.high, "model"))
    return charts.intervals(lines, label, domain=(-reach, reach), zero=True)


FORMATS: dict[str, Callable[[RunComparison], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "html": page,
}
SUFFIXES = {".md": "markdown", ".csv": "csv", ".json": "json", ".html": "html", ".htm": "html"}
