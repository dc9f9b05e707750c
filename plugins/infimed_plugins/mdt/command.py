"""``infimed mdt-schema`` and ``infimed mdt-agreement``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def mdt_schema() -> None:
    """Print the JSON Schema of one case of ``mdt-cases`` (one line of a file of cases)."""
    from infimed_plugins.mdt.cases import case_schema

    typer.echo(json.dumps(case_schema(), indent=2))


def mdt_agreement(
    run: Annotated[Path, typer.Argument(help="Directory of a run whose answers judges graded, too.", metavar="RUN")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How far the rules and the judges of a run agree, point by point (share and Cohen's kappa)."""
    from infimed_plugins.mdt.agreement import agreements

    rows = agreements(run)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        one, other = row["graders"]
        share = "–" if row["agree"] is None else f"{row['agree']:.3f}"
        kappa = "–" if row["kappa"] is None else f"{row['kappa']:.3f}"
        typer.echo(f"{row['answers']}: {one} and {other}: {row['points']} points, agree {share}, kappa {kappa}")
