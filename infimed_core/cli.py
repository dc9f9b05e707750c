"""The two commands: ``infimed-run`` does a run file, ``infimed`` looks at run files, runs and plugins."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from infimed_core.api.data import Sample
from infimed_core.api.reporting import RunRecord
from infimed_core.errors import InfimedError
from infimed_core.plugins import KINDS, Registry, load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_core.runfile.plan import Plan
from infimed_core.runfile.sections import run_schema
from infimed_core.store.record import read_record

app = typer.Typer(
    name="infimed", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Train and grade medical multimodal models from one run file.",
)  # fmt: skip

RunFileArgument = Annotated[Path, typer.Argument(help="A run file (YAML).", metavar="FILE")]
RunArgument = Annotated[Path, typer.Argument(help="A run's directory, such as runs/full.", metavar="RUN")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value, as in training.with.seed=1; recorded.", metavar="PATH=VALUE"),
]


def _load(file: Path, changes: list[str] | None) -> tuple[Plan, Registry]:
    gc.disable()  # nothing made here is garbage, and looking for some costs a tenth of the command
    try:
        registry = load_plugins()
        return load_run_file(file, registry, _overrides(changes)), registry
    finally:
        gc.enable()


def _overrides(changes: list[str] | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for change in changes or ():
        path, sign, value = change.partition("=")
        if not sign:
            raise InfimedError(f"--set {change}: write PATH=VALUE, as in run.seed=1")
        overrides[path] = yaml.safe_load(value)
    return overrides


@app.command()
def check(file: RunFileArgument, set_: SetOption = None) -> None:
    """Check a run file: every mistake at once, with its line and its remedy."""
    plan, registry = _load(file, set_)
    if plan.file.sweep is not None:
        from infimed_plugins.reporting.sweep.variants import plan_sweep

        plan_sweep(file, registry, {}, None, _overrides(set_), check_only=True)
    present = {name: getattr(plan.file, name) for name in type(plan.file).model_fields if name != "run"}
    steps = [name for name, section in present.items() if section not in (None, {})]
    typer.echo(f"{file}: ok ({', '.join(steps) or 'no steps'}; {len(plan.components)} components)")


@app.command()
def plugins(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the installed plugins and every component they offer."""
    registry = load_plugins()
    if as_json:
        body = {
            "plugins": {name: info.model_dump() for name, info in registry.plugins.items()},
            "set_aside": registry.broken,
            "components": {kind: sorted(registry.components(kind)) for kind in KINDS},
        }
        typer.echo(json.dumps(body, indent=1))
        return
    for kind in KINDS:
        typer.echo(f"{kind}:")
        for qualified, component in registry.components(kind).items():
            summary = (component.__doc__ or "").strip().splitlines()
            typer.echo(f"  {qualified:32} {summary[0] if summary else ''}")
    typer.echo("plugins: " + ", ".join(f"{i.name} ({i.distribution} {i.version})" for i in registry.plugins.values()))
    for name, reason in registry.broken.items():
        typer.echo(f"set aside: {name}: {reason}")


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="run, record, sample, or a component as kind:name.")] = "run",
) -> None:
    """Print a JSON Schema."""
    typer.echo(json.dumps(schema_of(what), indent=1))


def schema_of(what: str) -> dict[str, Any]:
    """The JSON Schema of run files, records, samples, or of one component's settings (``scorer:five-dimension``)."""
    if what == "run":
        return run_schema()
    if what in ("record", "sample"):
        model = RunRecord if what == "record" else Sample
        found = model.model_json_schema(mode="serialization")
        found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        return found
    kind, sign, name = what.partition(":")
    if not sign or kind not in KINDS:
        raise InfimedError(
            f"no schema of '{what}'; write run, record, sample, or KIND:NAME with KIND one of {', '.join(KINDS)}"
        )
    return load_plugins().find(kind, name).model_json_schema(by_alias=True)


@app.command()
def show(run: RunArgument) -> None:
    """Print a run's summary: samples, packing, losses, accuracy with intervals."""
    _print_summary(read_record(run), run if run.is_dir() else run.parent)


@app.command()
def report(run: RunArgument) -> None:
    """Write a run's report page anew and print where it is."""
    from infimed_plugins.reporting.page.page import write_report

    read_record(run)
    typer.echo(str(write_report(run if run.is_dir() else run.parent)))


@app.command()
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
    out: Annotated[Path | None, typer.Option(help="Write here instead of to the terminal.", metavar="FILE")] = None,
) -> None:
    """Compare models of finished runs: paired differences with intervals and corrected p-values."""
    from infimed_core.store.files import write_atomically
    from infimed_plugins.reporting.compare.comparison import compare_runs
    from infimed_plugins.reporting.compare.page import FORMATS, SUFFIXES
    from infimed_plugins.reporting.compare.published import chosen_tables
    from infimed_plugins.reporting.compare.text import as_terminal

    chosen = format_ or (SUFFIXES.get(out.suffix.lower(), "") if out else "terminal")
    if chosen not in (*FORMATS, "terminal") or (out and chosen == "terminal"):
        what = f"--format {format_}" if format_ else f"--out {out}"
        raise InfimedError(f"{what}: write --format with one of {', '.join(FORMATS)}" + ("" if out else ", terminal"))
    registry = load_plugins()
    tables = chosen_tables(published or (), registry)
    found = compare_runs(runs, registry, allow_mixed, scoring, against, tables)
    if chosen == "terminal":
        from rich.console import Console as RichConsole

        RichConsole(width=None if sys.stdout.isatty() else 160).print(as_terminal(found))
    elif out is None:
        typer.echo(FORMATS[chosen](found), nl=False)
    else:
        write_atomically(out, FORMATS[chosen](found))
        typer.echo(str(out))


@app.command()
def serve(
    run: RunArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
) -> None:
    """Show a run's report page on this machine alone, kept fresh while the run goes on; stop with Ctrl-C."""
    from infimed_plugins.reporting.serving import serve as do_serve

    read_record(run)
    do_serve(run if run.is_dir() else run.parent, port, typer.echo)


@app.command()
def sweep(
    file: RunFileArgument,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", help="Values of one place, as in run.seed=0,1,2; repeat for more.", metavar="PATH=V,V"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the runs lie (default: runs/NAME-sweep).")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only list the runs.")] = False,
) -> None:
    """Run variants of one file, then compare them with intervals; what is finished is not done again."""
    from infimed_plugins.reporting.sweep.command import sweep as do_sweep

    if not do_sweep(file, grid or (), out, dry):
        raise typer.Exit(1)


def _print_summary(record: RunRecord, directory: Path) -> None:
    from rich.console import Console as RichConsole

    from infimed_plugins.reporting.summary import summary_text

    RichConsole(width=None if sys.stdout.isatty() else 110).print(summary_text(record, directory))


def _run(
    file: RunFileArgument,
    set_: SetOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions of each benchmark.")] = None,
    samples: Annotated[
        str | None, typer.Option(help="Only these questions: ids with commas, or a file with one a line.")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="No progress.")] = False,
) -> None:
    """Do everything a run file says; what an earlier run of it finished is not done again."""
    from infimed_core.console import Console
    from infimed_core.distributed.ranks import own_rank
    from infimed_core.run import run as do_run

    changes = [*(set_ or ())]
    if limit is not None:
        changes.append(f"evaluation.limit={limit}")
    if samples is not None:
        chosen = samples if Path(samples).is_file() else [name.strip() for name in samples.split(",") if name.strip()]
        changes.append(f"evaluation.samples={json.dumps(chosen)}")
    plan, registry = _load(file, changes)
    rank = own_rank()
    console = Console(quiet=quiet or rank > 0)
    path = Path(plan.file.run.directory) / plan.file.run.name
    try:
        record = do_run(plan, registry, console)
    except KeyboardInterrupt:
        console.close()
        if rank == 0:
            typer.echo(f"stopped; what is finished is kept in {path}. The same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    except InfimedError:
        raise
    except Exception as error:
        console.close()
        import traceback

        log = path / (f"error-rank-{rank}.log" if rank else "error.log")
        log.write_text(traceback.format_exc(), encoding="utf-8")
        typer.echo(f"the run failed: {type(error).__name__}: {error}\nthe traceback is in {log}", err=True)
        raise typer.Exit(1) from None
    if rank == 0:
        _print_summary(record, path)


run_typer = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
run_typer.command(name="infimed-run")(_run)
app.command(name="run")(_run)


def _guard(command: Callable[[], Any]) -> None:
    """Run a command; the user's mistakes are lines on standard error and exit code 2."""
    try:
        command()
    except InfimedError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)


def main() -> None:
    """``infimed``."""
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
        if sys.argv[1] not in names:
            _guard(lambda: _add_commands(load_plugins()))
    elif len(sys.argv) > 1:
        _guard(lambda: _add_commands(load_plugins()))
    _guard(app)


def _add_commands(registry: Registry) -> None:
    for name, function in sorted(registry.commands().items()):
        app.command(name=name)(function)


def run_main() -> None:
    """``infimed-run``."""
    _guard(run_typer)
