"""A comparison of runs as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infimed_core.records import IMAGE_BLIND
from infimed_plugins.reporting.compare.comparison import Difference, RunComparison
from infimed_plugins.reporting.compare.text import as_csv, as_json, as_markdown, footnotes, tables
from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page.assets import asset, digest, environment
from infimed_plugins.reporting.page.figures import p_text

MOST_LINES = 12
"""Differences in one drawing; of more there is a matrix."""


@dataclass(frozen=True)
class Cell:
    """One model less another: points of a hundred, whether that is more than chance, and all of it in words."""

    text: str
    short: str
    kind: str
    title: str


@dataclass(frozen=True)
class PairMatrix:
    """Every model less every other; the best first. ``rows[i][j]`` is model i less model j, ``None`` for no pair."""

    name: str
    models: tuple[str, ...]
    values: tuple[str, ...]
    rows: tuple[tuple[Cell | None, ...], ...]


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
        unread=found.unread,
        matrices=[matrix for rows in (found.means, found.benchmarks) for matrix in matrices(rows)],
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
        own = [row for row in rows if row.of == name]
        lines = [
            (f"{'≠ ' if row.mixed else ''}{short(row.model)} − {short(row.against)}", row.difference, row.low, row.high,
             "model")
            for row in own
        ]  # fmt: skip
        if len(lines) <= MOST_LINES:
            label = f"{name}: differences with their 95% intervals"
            drawn.append((name, charts.intervals(lines, label, domain=(-reach, reach), zero=True)))
    return drawn


def matrices(rows: Sequence[Difference]) -> list[PairMatrix]:
    """A matrix for each benchmark on which more than two models are compared with each other.

    Models without their images stand in the tables alone: they would double every matrix.
    """
    found = []
    rows = [row for row in rows if not any(name.endswith(IMAGE_BLIND) for name in (row.model, row.against))]
    for name in dict.fromkeys(row.of for row in rows):
        own = [row for row in rows if row.of == name]
        values: dict[str, float | None] = {}
        for row in own:
            values.setdefault(row.model, row.value_model)
            values.setdefault(row.against, row.value_against)
        if len(values) < 3 or len(own) < len(values):
            continue  # two models, or all against one: the table shows it
        sign = 1.0 if own[0].higher_is_better else -1.0
        order = sorted(values, key=lambda model: -sign * (values[model] or 0.0))
        cells = {(row.model, row.against): _cell(row, 1.0) for row in own}
        cells |= {(row.against, row.model): _cell(row, -1.0) for row in own}
        shown = tuple(tuple(cells.get((one, other)) for other in order) for one in order)
        texts = tuple("–" if values[model] is None else f"{values[model]:.3f}" for model in order)
        found.append(PairMatrix(name, tuple(order), texts, shown))
    return found


def _cell(row: Difference, sign: float) -> Cell:
    better = sign * row.difference * (1.0 if row.higher_is_better else -1.0) > 0
    p = row.p_adjusted if row.p_adjusted is not None else row.p_value
    kind = ("better" if better else "worse") if p is not None and p < 0.05 else "same"
    models = (row.model, row.against) if sign > 0 else (row.against, row.model)
    bounds = sorted((sign * row.low, sign * row.high))
    title = (
        f"{models[0]} − {models[1]}: {sign * row.difference:+.3f} [{bounds[0]:+.3f}, {bounds[1]:+.3f}], "
        f"corrected p {p_text(p)}, {row.num_pairs:,} pairs"
    )
    points = 100 * sign * row.difference
    if abs(points) < 0.05:
        return Cell("0.0", "0", kind, title)
    return Cell(f"{points:+.1f}", f"{points:+.0f}", kind, title)


FORMATS: dict[str, Callable[[RunComparison], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "html": page,
}
SUFFIXES = {".md": "markdown", ".csv": "csv", ".json": "json", ".html": "html", ".htm": "html"}
