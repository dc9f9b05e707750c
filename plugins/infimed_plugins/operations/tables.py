"""The tables of ``infimed runs`` and ``infimed gc``, and the metrics for Prometheus."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from infimed_core import printable
from infimed_plugins.operations.disk import Part, described
from infimed_plugins.operations.status import RunStatus

WIDTH = 160
STATES = ("alive", "waiting", "dead", "done", "failed", "interrupted", "unreadable")


def size(num_bytes: float) -> str:
    """A size for people: ``1.4 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def _print(table: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def runs_table(found: Sequence[RunStatus], root: Path) -> None:
    """Print one line for each run."""
    rows = []
    for run in found:
        progress = f"{run.done:,} of {run.total:,} {run.unit}" if run.done is not None and run.total is not None else ""
        rate = f"{run.rate:,.1f}/s" if run.rate else ""
        where = Path(run.path)
        name = str(where.relative_to(root)) if where != root else run.path
        rows.append([name, run.state, run.step, progress, rate, run.ends or "", size(run.num_bytes), run.owner])
    counts = ", ".join(f"{n} {state}" for state in STATES if (n := sum(run.state == state for run in found)))
    columns = ["run", "state", "step", "progress", "rate", "ends or ended", "size", "owner"]
    _print(_table(f"{root}: {len(found)} runs ({counts})" if found else f"{root}: no runs", columns, rows, ["size"]))
    for run in found:
        if run.problem:
            first = run.problem.partition("\n")[0]
            typer.echo(printable(first if run.state == "unreadable" else f"{run.path}: {first}"))


def parts_table(run: Path, parts: Sequence[Part]) -> None:
    """Print what a run's parts weigh, the largest first, and what may go."""
    ordered = sorted(parts, key=lambda part: -part.num_bytes)
    rows = [
        [
            str(part.path.relative_to(run)),
            size(part.num_bytes),
            f"may go: {part.reason}" if part.reason else described(run, part.path),
        ]
        for part in ordered
    ]
    spare = sum(part.num_bytes for part in parts if part.reason)
    whole = sum(part.num_bytes for part in parts)
    _print(_table(f"{run}: {size(whole)}, of which {size(spare)} may go", ["part", "size", ""], rows, ["size"]))


def as_prometheus(found: Sequence[RunStatus]) -> str:
    """The states, progress and sizes of runs in the text format that the node exporter's textfile collector reads."""
    lines = []
    series: list[tuple[str, str, Any]] = [
        ("infimed_run_state", "1 for the state that the run is in.", None),
        ("infimed_run_bytes", "Size of the run on disk.", lambda run: run.num_bytes),
        ("infimed_run_done", "Units of the current step that are done.", lambda run: run.done),
        ("infimed_run_total", "Units of the current step.", lambda run: run.total),
    ]
    for name, text, value in series:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for run in found:
            labels = f'run="{_label(run.path)}"'
            if value is None:
                lines += [f'{name}{{{labels},state="{state}"}} {int(run.state == state)}' for state in STATES]
            elif value(run) is not None:
                lines.append(f'{name}{{{labels},step="{_label(run.step)}"}} {value(run)}')
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
