"""``infimed show``, ``report``, ``compare``, ``export``, ``serve``, ``sweep``; each imports what it needs when used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import InfimedError, load_plugins

RunArgument = Annotated[Path, typer.Argument(help="A run's directory, such as runs/full.", metavar="RUN")]


def screen(width: int = 160) -> Any:
    """A rich console for standard output; ``width`` where that is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)


def show(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record as JSON.")] = False,
) -> None:
    """Print a run's summary: samples, packing, losses, accuracy with intervals."""
    from infimed_core.records import open_run
    from infimed_plugins.reporting.page.live import with_running_curves
    from infimed_plugins.reporting.summary import summary_text

    opened = open_run(run)
    if as_json:
        typer.echo(opened.record.model_dump_json(indent=1))
    else:
        screen(110).print(summary_text(with_running_curves(opened)))


def report(
    run: RunArgument,
    price: Annotated[
        list[str] | None,
        typer.Option(help="Money for a million tokens, prompt/answer; repeat for more.", metavar="MODEL=1.25/10"),
    ] = None,
) -> None:
    """Write a run's report page anew and print where it is."""
    from infimed_core.records import open_run
    from infimed_plugins.reporting.page.page import write_page
    from infimed_plugins.reporting.page.prices import read_prices

    opened = open_run(run)
    typer.echo(str(write_page(opened, opened.directory / "report.html", prices=read_prices(price or ()))))


def compare(
    runs: Annotated[list[str], typer.Argument(help="Runs, or RUN:MODEL for one model of a run.", metavar="RUN...")],
    allow_mixed: Annotated[bool, typer.Option("--allow-mixed", help="Also compare under different protocols.")] = False,
    scoring: Annotated[str | None, typer.Option(help="A grading (default: each benchmark's first).")] = None,
    against: Annotated[str | None, typer.Option(help="Compare with this model alone.", metavar="MODEL")] = None,
    published: Annotated[
        list[str] | None, typer.Option(help="A plugin or YAML file whose published figures stand beside.")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="terminal, markdown, csv, json or html (default: by --out's name).")
    ] = None,
    cells: Annotated[
        bool, typer.Option("--cells", help="Print differences per modality and task type too; files always hold them.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--to", "--out", help="Write here instead of to the terminal.", metavar="FILE")
    ] = None,
) -> None:
    """Compare models of finished runs: paired differences with intervals and corrected p-values."""
    from infimed_core import write_atomically
    from infimed_plugins.reporting.compare.comparison import compare_runs
    from infimed_plugins.reporting.compare.page import FORMATS, SUFFIXES
    from infimed_plugins.reporting.compare.published import chosen_tables
    from infimed_plugins.reporting.compare.text import as_terminal

    chosen = format_ or (SUFFIXES.get(out.suffix.lower(), "") if out else "terminal")
    if chosen not in (*FORMATS, "terminal") or (out and chosen == "terminal"):
        what = f"--format {format_}" if format_ else f"--to {out}"
        raise InfimedError(f"{what}: write --format with one of {', '.join(FORMATS)}" + ("" if out else ", terminal"))
    registry = load_plugins()
    tables = chosen_tables(published or (), registry)
    comparison = compare_runs(runs, registry, allow_mixed, scoring, against, tables)
    if chosen == "terminal":
        screen().print(as_terminal(comparison, cells))
    elif out is None:
        typer.echo(FORMATS[chosen](comparison), nl=False)
    else:
        write_atomically(out, FORMATS[chosen](comparison))
        typer.echo(str(out))


def export(
    run: RunArgument,
    out: Annotated[
        Path, typer.Option("--to", "--out", help="The file to write: NAME.csv or NAME.jsonl.", metavar="FILE")
    ],
    benchmark: Annotated[str | None, typer.Option(help="Only this benchmark.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
) -> None:
    """Write every question of a run with every model's answer and scores, one row each."""
    from infimed_core.records import open_run
    from infimed_plugins.reporting.export import export_answers

    number = export_answers(open_run(run), out, benchmark, model)
    typer.echo(f"{out}: {number:,} rows")


def serve(
    run: RunArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
) -> None:
    """Show a run's report page on this machine alone, kept fresh while the run goes on; stop with Ctrl-C."""
    from infimed_plugins.reporting.serving import serve as serve_run

    serve_run(run, port, typer.echo)


def sweep(
    file: Annotated[Path, typer.Argument(help="A run file (YAML).", metavar="FILE")],
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", help="Values of one place, as in run.seed=0,1,2; repeat for more.", metavar="PATH=V,V"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--to", "--out", help="Where the runs lie (default: runs/NAME-sweep).")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only list the runs.")] = False,
) -> None:
    """Run variants of one file, then compare them with intervals; what is finished is not done again."""
    from infimed_plugins.reporting.sweep.command import sweep as run_variants

    if not run_variants(file, grid or (), out, dry):
        raise typer.Exit(1)
