"""The two commands: ``infimed-run`` does a run file, ``infimed`` has everything else, which are commands of plugins."""

from __future__ import annotations

import errno
import functools
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from infimed_core.api.component import DATA_ROOTS
from infimed_core.errors import ComponentError, InfimedError
from infimed_core.plugin_loading import GROUP, missing_package, told_error
from infimed_core.plugins import Registry, load_plugins
from infimed_core.runfile.loading import load_run_file, parse_changes
from infimed_core.texts import printable, whole

if TYPE_CHECKING:
    from infimed_core.api.reporting import Reporter
    from infimed_core.runfile.plan import Plan


NOT_OURS = (errno.EROFS, errno.EACCES, errno.EPERM)
PLUGIN = typer.Option(help="A plugin that is one Python file; repeat.", metavar="FILE.py")


def _say(text: str, err: bool = False) -> None:
    """A line for people; what data, plugins or servers put into it does not steer the terminal."""
    typer.echo(printable(text), err=err)


def _tell_notes(registry: Registry, said: str = "") -> None:
    """What is wrong with a plugin, a line for each, beside what the command itself has said."""
    for line in registry.new_notes(said):
        _say(line, err=True)


def _screens(registry: Registry, plan: Plan) -> list[Reporter]:
    """The reporters that may write to the terminal: the default one first, then the others of the run file."""
    named = [cast("Reporter", plan.component(f"report.{index}")) for index in range(len(plan.file.report))]
    default = registry.default("reporter")
    if default is None:
        return named
    screen_class = registry.find("reporter", default)
    screen = next((reporter for reporter in named if type(reporter) is screen_class), None)
    screen = screen or cast("Reporter", registry.make("reporter", default))
    return [screen, *(reporter for reporter in named if reporter is not screen)]


def _print_summaries(reporters: list[Reporter], path: Path) -> None:
    """What the reporters have to say in the terminal; one that fails is told of and changes nothing else."""
    from infimed_core.records import open_run

    finished = open_run(path)
    for reporter in reporters:
        try:
            text = reporter.summary(finished)
            if text is not None:
                from rich.console import Console as RichConsole

                RichConsole(width=None if sys.stdout.isatty() else 110).print(text)
        except Exception as error:
            reason = told_error(error, type(reporter).__module__)
            _say(f"no summary by {type(reporter).__name__}: {reason}", err=True)


def _run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A run file (YAML).", metavar="FILE")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one value, as in training.with.seed=1; recorded.", metavar="PATH=VALUE"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions of each benchmark.")] = None,
    samples: Annotated[
        str | None, typer.Option(help="Only these questions: ids with commas, or a file with one a line.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this step of a stage: STEP or STAGE:STEP.")] = None,
    quiet: Annotated[bool, typer.Option(help="No progress.")] = False,
    data_root: Annotated[
        list[str] | None, typer.Option(help="Data that lay below OLD lie below NEW now; repeat.", metavar="OLD=NEW")
    ] = None,
    plugin: Annotated[list[str] | None, PLUGIN] = None,
) -> None:
    """Do everything a run file says; what an earlier run of it finished is not done again."""
    for moved in data_root or ():
        if not all(part.startswith("/") for part in moved.split("=", 1)) or "=" not in moved:
            raise InfimedError(f"--data-root {moved}: write OLD=NEW with two whole paths, as in /data=/mnt/data")
    if data_root:
        os.environ[DATA_ROOTS] = json.dumps([moved.split("=", 1) for moved in data_root])
    changes: dict[str, Any] = parse_changes(set_ or ())
    if limit is not None:
        changes["evaluation.limit"] = limit
    if samples is not None:
        chosen = samples if os.path.exists(samples) else [name.strip() for name in samples.split(",") if name.strip()]
        changes["evaluation.samples"] = chosen
    if until is not None:
        changes["training.with.until"] = until
    registry = context.obj or load_plugins()
    for name in plugin or ():
        registry.add_file(Path(name), always=True)
    run_file(file, registry, changes, quiet)


def run_file(file: Path, registry: Registry, changes: dict[str, Any] | None = None, quiet: bool = False) -> None:
    """Run a file as ``infimed-run`` does, with progress and summary in the terminal.

    Raises:
        InfimedError: the file has mistakes.
        typer.Exit: 130 where the run was stopped, 1 where it failed or questions got no answer.
    """
    from infimed_core.distributed.ranks import own_rank
    from infimed_core.run import run as do_run
    from infimed_core.stopping import stop_signal

    # Before torch is loaded: threads that spin while they wait take the core that the slowest of them needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        plan = load_run_file(file, registry, changes)
    except InfimedError as error:
        _tell_notes(registry, str(error))
        raise
    _tell_notes(registry)
    rank = own_rank()
    path = Path(plan.file.run.directory) / plan.file.run.name
    reporters = _screens(registry, plan)
    try:
        with ExitStack() as stack:
            listeners = [stack.enter_context(screen.watch(quiet or rank > 0)) for screen in reporters[:1]]
            record = do_run(plan, registry, listeners[0] if listeners else lambda event: None)
    except KeyboardInterrupt:
        if rank == 0:
            _say(f"stopped; what is finished is kept in {path}. The same command goes on from there.", err=True)
        raise typer.Exit(128 + (stop_signal() or signal.SIGINT)) from None
    except Exception as error:
        if isinstance(error, InfimedError) and not isinstance(error, ComponentError):
            raise
        import traceback

        log = path / (f"error-rank-{rank}.log" if rank else "error.log")
        log.write_text(whole(traceback.format_exc()), encoding="utf-8")
        if isinstance(error, ComponentError):
            _say(f"{error}; the traceback is in {log}", err=True)
        else:
            told = missing_package(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
            _say(f"the run failed: {told}\nthe traceback is in {log}", err=True)
        raise typer.Exit(1) from None
    if rank == 0:
        _print_summaries(reporters, path)
    if record.error:  # it went through, and answers are missing
        _say(f"{record.error}; the same command tries what is missing again", err=True)
        raise typer.Exit(1)


run_typer = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
run_typer.command(name="infimed-run")(_run)


def application(registry: Registry, wanted: str = "") -> typer.Typer:
    """``infimed`` with the command ``wanted`` alone, or with all commands where there is none of that name."""
    app = typer.Typer(
        name="infimed", no_args_is_help=True, pretty_exceptions_enable=False,
        add_completion=not wanted or wanted.startswith("-"),  # --install-completion costs every other command time
        help="Train and grade medical multimodal models from one run file.",
    )  # fmt: skip

    @app.callback()
    def _offer_registry(
        context: typer.Context,
        plugin: Annotated[list[str] | None, PLUGIN] = None,
        version: Annotated[
            bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        context.obj = registry

    commands = registry.commands(taken=("run",))
    if wanted in ("run", *commands):
        commands = {name: offer for name, offer in commands.items() if name == wanted}
    functions = registry.functions(commands)
    headings = {name: registry.default(name, "infimed_headings") or "Other plugins" for name in ("run", *functions)}
    app.command(name="run", rich_help_panel=headings["run"])(_run)
    for name in sorted(functions, key=lambda name: (headings[name], name)):
        plugin, function = commands[name].plugin, functions[name]
        guarded = function if registry.is_own(plugin) else _guarded(plugin, name, function)
        app.command(name=name, rich_help_panel=headings[name])(guarded)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"infimed {metadata.version(GROUP)} (Python {sys.version.split()[0]})")
        raise typer.Exit


def leading_plugins(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The files of the ``--plugin`` options before a command, which may be what offers it, and the command."""
    files: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option, sign, value = rest.pop(0).partition("=")
        if option == "--plugin":
            files += [value] if sign else rest[:1]
            del rest[: not sign]
    return files, rest[0] if rest else ""


def _guarded(plugin: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A plugin's command; where it fails, one line says whose it is."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except (InfimedError, typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            reason = told_error(error, getattr(function, "__module__", "") or "")
            _say(f"plugin '{plugin}': its command '{name}' failed: {reason}", err=True)
            raise typer.Exit(1) from error

    return command


def _guard(command: Callable[[], Any], registry: Registry | None = None) -> None:
    """Run a command; the user's mistakes are lines on standard error and exit code 2, then come notes on plugins."""
    said = ""
    try:
        command()
    except InfimedError as error:
        said = str(error)
        _say(said, err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        _say(f"{error.filename or 'a file'}: cannot be used ({error.strerror})", err=True)
        sys.exit(2)
    finally:
        if registry is not None:
            _tell_notes(registry, said)


def main() -> None:
    """``infimed``."""
    # pydantic would read the entry points of every installed distribution for plugins of its own: another tenth.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()  # nothing made while plugins are loaded is garbage, and looking for some costs a tenth of a command
    registry = load_plugins()
    files, command = leading_plugins(sys.argv[1:])

    def run_command() -> None:
        for file in files:
            registry.add_file(Path(file), always=True)
        if command != "run" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have something to put away
        app = application(registry, command)
        gc.enable()
        app()

    _guard(run_command, registry)


def run_main() -> None:
    """``infimed-run``."""
    _guard(run_typer)
