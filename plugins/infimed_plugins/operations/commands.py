"""``infimed runs``, ``gc``, ``verify`` and ``example``; each imports what it needs when it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from infimed_core import InfimedError

RunsArgument = Annotated[list[Path], typer.Argument(help="Directories of runs, such as runs/full.", metavar="RUN...")]


def runs(
    directory: Annotated[Path, typer.Argument(help="Where the runs lie.", metavar="DIR")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print the text that Prometheus' node exporter collects.")
    ] = False,
) -> None:
    """List the runs below a directory: state, step, rate, end, size and owner."""
    from infimed_plugins.operations.status import find_runs, status_of
    from infimed_plugins.operations.tables import as_prometheus, runs_table

    if not directory.is_dir():
        raise InfimedError(f"{directory}: no such directory; give the one that holds your runs")
    found = [status_of(path) for path in find_runs(directory)]
    if as_json:
        typer.echo(json.dumps([status.as_json() for status in found], indent=1))
    elif prometheus:
        typer.echo(as_prometheus(found), nl=False)
    else:
        runs_table(found, directory)


def gc(
    runs: RunsArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what may go; without it nothing is deleted.")] = False,
    intermediate: Annotated[
        bool, typer.Option("--intermediate", help="Also the models before the last stage: they cannot be graded again.")
    ] = False,
) -> None:
    """Say what the parts of runs weigh and which of them may go; delete those with --yes."""
    from infimed_plugins.operations.disk import parts_of, remove
    from infimed_plugins.operations.tables import parts_table, size

    for run in runs:
        parts = parts_of(run, intermediate)
        spare = [part for part in parts if part.reason]
        parts_table(run, parts)
        if yes and spare:
            typer.echo(f"{run}: deleted {len(spare)} parts, {size(remove(run, spare))}")


def verify(runs: RunsArgument) -> None:
    """Compare the files of runs with the checksums that they were written with; exit code 1 where one differs."""
    from infimed_plugins.operations.checksums import damaged_files

    is_damaged = False
    for run in runs:
        num_files, num_unknown, damages = damaged_files(run)
        for text in damages:
            typer.echo(text)
        told = f", {num_unknown} without a checksum" if num_unknown else ""
        typer.echo(f"{run}: {num_files} files{told}, {len(damages) or 'none'} damaged")
        is_damaged |= bool(damages)
    if is_damaged:
        raise typer.Exit(1)


def example(
    name: Annotated[str | None, typer.Argument(help="Such as full; without it all are listed.", metavar="NAME")] = None,
) -> None:
    """Print a run file that comes with InfiMed: infimed example full > full.yaml."""
    from infimed_plugins.operations.examples import example_text, examples

    if name is None:
        for known, title in examples().items():
            typer.echo(f"{known:34} {title}")
    else:
        typer.echo(example_text(name), nl=False)
