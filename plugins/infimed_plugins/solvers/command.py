"""``infimed compare-solvers``: ways of asking side by side, what they give and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def compare_solvers_command(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs, such as runs/mdt.", metavar="RUN...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Compare solvers: value, coverage and violations against calls and tokens per question."""
    from infimed_plugins.solvers.comparing import compare_solvers, lines_of

    rows = compare_solvers(runs)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for line in lines_of(rows, markdown):
        typer.echo(line)
