"""A comparison of runs as tables: for the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infimed_core import MetricValue
from infimed_plugins.reporting.compare.comparison import Difference, RunComparison, Value
from infimed_plugins.reporting.page.figures import p_text

NOT_RUN = "published, not run here"
TESTS = {
    "mcnemar": "McNemar, exact",
    "t": "t over clusters",
    "no-spread": "bound over clusters",
    "bootstrap": "bootstrap over clusters",
    "means": "t, Satterthwaite",
}


@dataclass(frozen=True)
class Table:
    """A titled table of plain texts; the first ``num_names`` columns are names, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_names: int = 1
    note: str = ""


def tables(found: RunComparison, cells: bool = True) -> list[Table]:
    """Everything there is to show, in order: values, differences per benchmark, of means, with ``cells`` per cell."""
    made = [_values(found)]
    holm = "p adjusted by Holm over this table; positive: the first model is better"
    for title, rows, note in (
        ("Differences per benchmark", found.benchmarks, holm),
        ("Differences of means over benchmarks", found.means, f"every benchmark counts alike; {holm}"),
        ("Differences per modality and task type", found.cells if cells else (), holm),
    ):
        if rows:
            made.append(_differences(title, rows, note))
    return made


def footnotes(found: RunComparison) -> list[str]:
    """What a reader must know: mixed protocols, sources of published figures, what could not be compared."""
    lines = []
    for row in found.benchmarks:
        if row.mixed:
            lines.append(f"≠ {row.of}, {row.model} and {row.against}: different protocols: {'; '.join(row.mixed)}")
    lower = dict.fromkeys((row.of, row.metric) for row in found.benchmarks if not row.higher_is_better)
    lines += [
        f"{of}: less {metric} is better: there the first model is better by a negative difference"
        for of, metric in lower
    ]
    for name, shown in found.sources.items():
        if any(value.source == name for value in found.published):
            lines.append(f"{name}: {shown}")
    return [*lines, *found.notes]


def _values(found: RunComparison) -> Table:
    benchmarks = list(dict.fromkeys(value.benchmark for value in (*found.values, *found.published)))
    scorings = {value.benchmark: value.scoring for value in found.values}
    heads = [f"{name} ({scorings[name]})" if name in scorings else name for name in benchmarks]
    ran = {(value.model, value.benchmark): value.value for value in found.values}
    rows = [
        (model, "run here", *(_value(ran.get((model, benchmark))) for benchmark in benchmarks))
        for model in found.models
    ]
    printed = {(value.model, value.source, value.note, value.benchmark): value for value in found.published}
    for model, source, note in dict.fromkeys(key[:3] for key in printed):
        cells = [printed.get((model, source, note, benchmark)) for benchmark in benchmarks]
        kind = f"{NOT_RUN} [{source}]" + (f"; {note}" if note else "")
        rows.append((model, kind, *(_figure(cell) for cell in cells)))
    if not printed:
        return Table("Models", ("model", *heads), tuple((row[0], *row[2:]) for row in rows))
    return Table("Models", ("model", "", *heads), tuple(rows), 2)


def _figure(value: Value | None) -> str:
    return "–" if value is None or value.value.value is None else f"{value.value.value:.3f}"


def _value(value: MetricValue | None) -> str:
    if value is None:
        return "–"
    text = "–" if value.value is None else f"{value.value:.3f}"
    if value.low is not None and value.high is not None:
        text += f" [{value.low:.3f}, {value.high:.3f}]"
    return text + f" n {_num_counted(value):,}" + (f", {value.num_unscored:,} unread" if value.num_unscored else "")


def _differences(title: str, rows: Sequence[Difference], note: str) -> Table:
    parts = any(row.part for row in rows)
    cells = []
    for row in rows:
        names = [row.of, row.part["modality"], row.part["task_type"]] if parts else [row.of]
        names[0] = f"≠ {names[0]}" if row.mixed else names[0]
        cells.append(
            (
                *names,
                f"{row.model} − {row.against}",
                " − ".join("–" if v is None else f"{v:.3f}" for v in (row.value_model, row.value_against)),
                f"{row.difference:+.3f}",
                f"[{row.low:+.3f}, {row.high:+.3f}]",
                p_text(row.p_value),
                p_text(row.p_adjusted),
                TESTS[row.test],
                "–" if row.minimum_detectable is None else f"{row.minimum_detectable:.3f}",
                f"{row.num_pairs:,}" + (f" ({row.num_unpaired:,} unpaired)" if row.num_unpaired else ""),
            )
        )
    heads = ("benchmark", "modality", "task type") if parts else ("benchmark",)
    figures = ("values", "difference", "95% interval", "p", "p adjusted", "test", "detectable", "pairs")
    return Table(title, (*heads, "models", *figures), tuple(cells), len(heads) + 1, note)


def as_terminal(found: RunComparison, cells: bool = False) -> Any:
    """A rich renderable; names are shown as plain text, never read as markup."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[Any] = [Text(f"\n{line}", style="yellow") for line in found.unread]
    for table in tables(found, cells):
        shown = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for index, name in enumerate(table.columns):
            shown.add_column(Text(name), justify="left" if index < table.num_names else "right", overflow="fold")
        for row in table.rows:
            shown.add_row(*(Text(cell) for cell in row))
        parts += [Text(), shown]
        if table.note:
            parts.append(Text(table.note, style="dim"))
    return Group(*parts, *(Text(f"\n{line}") for line in footnotes(found)))


def as_markdown(found: RunComparison) -> str:
    """GitHub's tables; markup in names is shown, not read."""
    lines = ["# Comparison", "", *(f"{_plain(line)}\n" for line in found.unread)]
    for table in tables(found):
        lines += [f"## {table.title}", "", _row(table.columns)]
        lines.append("|" + "|".join("---" if i < table.num_names else "---:" for i in range(len(table.columns))) + "|")
        lines += [_row(row) for row in table.rows]
        lines += ["", *([table.note, ""] if table.note else [])]
    return "\n".join([*lines, *(f"- {_plain(line)}" for line in footnotes(found))]).rstrip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    text = " ".join(text.split()).replace("\\", "\\\\")
    for mark, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, shown)
    for mark in "|`*_[]":
        text = text.replace(mark, "\\" + mark)
    return text


CSV_COLUMNS = (
    "table", "of", "scoring", "metric", "higher_is_better", "modality", "task_type", "model", "against", "value_model",
    "value_against", "difference", "low", "high", "p_value", "p_adjusted", "minimum_detectable", "standard_error",
    "degrees_of_freedom", "test", "num_pairs", "num_unpaired", "num_clusters", "mixed", "source", "note",
)  # fmt: skip


def as_csv(found: RunComparison) -> str:
    """One flat table; ``table`` says what a row is: value, published, benchmark, mean or cell."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for kind, values in (("value", found.values), ("published", found.published)):
        for value in values:
            body = {"table": kind, "of": value.benchmark, "scoring": value.scoring, "model": value.model}
            body |= {"source": value.source or "", "note": value.note}
            figures = {"value_model": value.value.value, "low": value.value.low, "high": value.value.high}
            num = _num_counted(value.value) if kind == "value" else ""
            writer.writerow(safe_cells(body) | figures | {"num_pairs": num})
    for kind, rows in (("benchmark", found.benchmarks), ("mean", found.means), ("cell", found.cells)):
        for row in rows:
            body = row.model_dump(exclude={"part", "mixed", "benchmarks", "benchmark"}) | row.part
            writer.writerow(safe_cells(body | {"table": kind, "mixed": "; ".join(row.mixed)}))
    return stream.getvalue()


def _num_counted(value: MetricValue) -> int:
    return value.num_scored if value.num_counted is None else value.num_counted


def safe_cells(body: dict[str, Any]) -> dict[str, Any]:
    """Texts that a spreadsheet would read as a formula get a quote in front."""
    return {
        key: f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
        for key, value in body.items()
    }


def as_json(found: RunComparison) -> str:
    """Every figure in full."""
    return found.model_dump_json(indent=1) + "\n"
