"""``infimed sweep``: run the variants of a file, write and print how they compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from infimed_core import load_plugins, write_atomically
from infimed_plugins.reporting.console import Console
from infimed_plugins.reporting.sweep.grid import parse_grid
from infimed_plugins.reporting.sweep.page import page
from infimed_plugins.reporting.sweep.results import SweepResult, sweep_result
from infimed_plugins.reporting.sweep.text import as_markdown, table_of
from infimed_plugins.reporting.sweep.variants import plan_sweep, run_sweep


def sweep(file: Path, grid: Sequence[str], out: Path | None, dry: bool) -> bool:
    """Run a sweep and leave ``sweep.json``, ``.md`` and ``.html`` in its directory; whether every run finished.

    Raises:
        InfimedError: nothing varies, or a variant is no good run file.
    """
    registry = load_plugins()
    planned = plan_sweep(file, registry, parse_grid(grid), out)
    if dry:
        for member in planned.members:
            print(member.name)
        return True
    console = Console()

    def tell(text: str) -> None:
        console.close()
        print(text, file=sys.stderr, flush=True)

    try:
        failures = run_sweep(planned, registry, console, tell)
    except KeyboardInterrupt:
        console.close()
        _write(sweep_result(planned, {}), planned.directory)  # what is finished can be compared
        tell(f"stopped; everything finished is kept in {planned.directory}. The same command goes on from there.")
        raise typer.Exit(130) from None
    console.close()
    result = sweep_result(planned, failures)
    _write(result, planned.directory)
    _print(result, planned.directory)
    return not result.missing


def _write(result: SweepResult, directory: Path) -> None:
    write_atomically(directory / "sweep.json", result.model_dump_json(indent=1) + "\n")
    write_atomically(directory / "sweep.md", as_markdown(result))
    write_atomically(directory / "sweep.html", page(result))


def _print(result: SweepResult, directory: Path) -> None:
    from rich import box
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=f"{Path(result.source).name}: variants", title_justify="left")
    columns, rows = table_of(result)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    screen = RichConsole(width=None if sys.stdout.isatty() else 160)
    screen.print(table)
    for name, reason in result.missing.items():
        screen.print(f"not finished: {name}: {reason}", markup=False)
    screen.print(f"also in {directory / 'sweep.html'}, sweep.md and sweep.json", markup=False)
