"""The two commands: ``infimed-run`` does a run file, ``infimed`` has everything else, plugins' commands included."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import json
import os
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from infimed_core.api.data import Sample
from infimed_core.api.models import Model
from infimed_core.api.reporting import Reporter, RunRecord
from infimed_core.errors import ComponentError, InfimedError
from infimed_core.plugin_loading import place_of_code, told_error
from infimed_core.plugins import KINDS, Registry, load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_core.runfile.plan import Plan
from infimed_core.runfile.sections import run_schema
from infimed_core.texts import printable, whole

_NOT_TYPED: set[Any] = {dict, set, frozenset, object, complex, type}
"""Types that a command line cannot give."""

app = typer.Typer(
    name="infimed", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Train and grade medical multimodal models from one run file.",
)  # fmt: skip

RunFileArgument = Annotated[Path, typer.Argument(help="A run file (YAML).", metavar="FILE")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value, as in training.with.seed=1; recorded.", metavar="PATH=VALUE"),
]


def _load(file: Path, changes: list[str] | None) -> tuple[Plan, Registry]:
    gc.disable()  # nothing made here is garbage, and looking for some costs a tenth of the command
    registry = Registry()
    try:
        registry = load_plugins()
        return load_run_file(file, registry, _overrides(changes)), registry
    finally:
        gc.enable()
        _tell_notes(registry)


def _tell_notes(registry: Registry) -> None:
    """What is wrong with a plugin, a line for each, beside what the command itself says."""
    for line in registry.new_notes():
        _say(line, err=True)


def _overrides(changes: list[str] | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for change in changes or ():
        path, sign, value = change.partition("=")
        if not sign:
            raise InfimedError(f"--set {change}: write PATH=VALUE, as in run.seed=1")
        overrides[path] = yaml.safe_load(value)
    return overrides


def _say(text: str, err: bool = False) -> None:
    """A line for people; what data, plugins or servers put into it does not steer the terminal."""
    typer.echo(printable(text), err=err)


@app.command()
def check(
    file: RunFileArgument,
    set_: SetOption = None,
    connect: Annotated[bool, typer.Option("--connect", help="Ask every server of the file one question.")] = False,
) -> None:
    """Check a run file: every mistake at once, with its line and its remedy."""
    plan, registry = _load(file, set_)
    if plan.file.sweep is not None:
        from infimed_core.runfile.variants import load_variants, variants_of

        load_variants(file, registry, variants_of(plan, {}), _overrides(set_))
    present = {name: getattr(plan.file, name) for name in type(plan.file).model_fields if name != "run"}
    steps = [name for name, section in present.items() if section]
    for place, component in plan.components.items():
        for doubt in component.doubts():
            _say(f"{file}: {place}: {doubt}")
    for text in plan_warnings(plan):
        _say(f"{file}: warning: {text}")
    if connect and _unreachable(plan):
        raise typer.Exit(1)
    _say(f"{file}: ok ({', '.join(steps) or 'no steps'}; {len(plan.components)} components)")


def _unreachable(plan: Plan) -> int:
    """How many servers of a run file do not answer; every one is told of, with what it said."""
    failed = 0
    for place, component in plan.components.items():
        try:
            said = component.try_connection() if isinstance(component, Model) else None
        except InfimedError as error:
            said, failed = str(error), failed + 1
        if said is not None:
            _say(f"{plan.source}: {place}: {said}")
    return failed


def plan_warnings(plan: Plan) -> list[str]:
    """What is known of the mixing of the stages' steps: from the settings, or from the plans of an earlier run."""
    from infimed_core import Packer, Trainer
    from infimed_core.plan.mixing import mixing_warnings
    from infimed_core.store.record import read_record

    trainer = plan.components.get("training")
    made: dict[str, Any] = {}
    with contextlib.suppress(InfimedError):  # no run yet, or one that this version cannot read
        record = read_record(Path(plan.file.run.directory) / plan.file.run.name)
        made = {step.name: step.details.get("mixing", {}) for step in record.steps}
    told = []
    for stage in trainer.stage_list if isinstance(trainer, Trainer) else ():
        packer = plan.components.get(f"stages.{stage.name}.packing") or plan.components.get("packing")
        most = packer.most_in_row if isinstance(packer, Packer) else None
        told += mixing_warnings(stage, made.get(f"plan-{stage.name}", {}), most)
    return told


@app.command()
def plugins(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the installed plugins and every component they offer."""
    registry = load_plugins()
    found = {kind: registry.components(kind) for kind in KINDS}
    registry.media_loader()
    registry.benchmark_groups()
    registry.default("")
    for _ in _plugin_commands(registry):
        pass  # looked at for what is wrong with them
    if as_json:
        body = {
            "plugins": {name: info.model_dump() for name, info in registry.plugins.items()},
            "set_aside": registry.broken,
            "notes": [list(note) for note in registry.notes],
            "components": {kind: sorted(components) for kind, components in found.items()},
        }
        typer.echo(json.dumps(body, indent=1))
        return
    for kind, components in found.items():
        _say(f"{kind}:")
        for qualified, component in components.items():
            summary = (component.__doc__ or "").strip().splitlines()
            _say(f"  {qualified:32} {summary[0] if summary else ''}")
    _say("plugins: " + ", ".join(f"{i.name} ({i.distribution} {i.version})" for i in registry.plugins.values()))
    for line in registry.all_notes():
        _say(line)


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
        schema = model.model_json_schema(mode="serialization")
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        return schema
    kind, sign, name = what.partition(":")
    if not sign or kind not in KINDS:
        raise InfimedError(
            f"no schema of '{what}'; write run, record, sample, or KIND:NAME with KIND one of {', '.join(KINDS)}"
        )
    return load_plugins().find(kind, name).model_json_schema(by_alias=True)


def _print_summaries(registry: Registry, plan: Plan, run: Path) -> None:
    """What the reporters have to say in the terminal; one that fails is told of and changes nothing else."""
    from infimed_core.records import open_run

    named = [plan.components[f"report.{index}"] for index in range(len(plan.file.report))]
    offered = cast(list[type[Reporter]], list(registry.components("reporter").values()))
    unnamed = [kind() for kind in offered if kind.after_every_run and kind not in map(type, named)]
    finished = open_run(run)
    for reporter in [*unnamed, *cast(list[Reporter], named)]:
        try:
            text = reporter.summary(finished)
            if text is not None:
                from rich.console import Console as RichConsole

                RichConsole(width=None if sys.stdout.isatty() else 110).print(text)
        except Exception as error:
            _say(f"no summary by {type(reporter).__name__}: {type(error).__name__}: {error}", err=True)


def run_file(
    file: RunFileArgument,
    set_: SetOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions of each benchmark.")] = None,
    samples: Annotated[
        str | None, typer.Option(help="Only these questions: ids with commas, or a file with one a line.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this step of a stage: STEP or STAGE:STEP.")] = None,
    quiet: Annotated[bool, typer.Option(help="No progress.")] = False,
) -> None:
    """Do everything a run file says; what an earlier run of it finished is not done again."""
    from infimed_core.console import Console
    from infimed_core.distributed.ranks import own_rank
    from infimed_core.run import run as do_run

    # Before torch is loaded: threads that spin while they wait take the core that the slowest of them needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    changes = [*(set_ or ())]
    if limit is not None:
        changes.append(f"evaluation.limit={limit}")
    if samples is not None:
        chosen = samples if Path(samples).is_file() else [name.strip() for name in samples.split(",") if name.strip()]
        changes.append(f"evaluation.samples={json.dumps(chosen)}")
    if until is not None:
        changes.append(f"training.with.until='{until}'")
    plan, registry = _load(file, changes)
    rank = own_rank()
    console = Console(quiet=quiet or rank > 0)
    path = Path(plan.file.run.directory) / plan.file.run.name
    try:
        record = do_run(plan, registry, console)
    except KeyboardInterrupt:
        console.close()
        if rank == 0:
            _say(f"stopped; what is finished is kept in {path}. The same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        console.close()
        if isinstance(error, InfimedError) and not isinstance(error, ComponentError):
            raise
        import traceback

        log = path / (f"error-rank-{rank}.log" if rank else "error.log")
        log.write_text(whole(traceback.format_exc()), encoding="utf-8")
        if isinstance(error, ComponentError):
            _say(f"{error}; the traceback is in {log}", err=True)
        else:
            _say(f"the run failed: {type(error).__name__}: {error}\nthe traceback is in {log}", err=True)
        raise typer.Exit(1) from None
    if rank == 0:
        _print_summaries(registry, plan, path)
    if record.error:  # it went through, and answers are missing
        _say(f"{record.error}; the same command asks for what is missing", err=True)
        raise typer.Exit(1)


run_typer = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
run_typer.command(name="infimed-run")(run_file)
app.command(name="run")(run_file)


def _guard(command: Callable[[], Any]) -> None:
    """Run a command; the user's mistakes are lines on standard error and exit code 2, failed runs exit code 1."""
    try:
        command()
    except InfimedError as error:
        _say(str(error), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)


def main() -> None:
    """``infimed``."""
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    if len(sys.argv) < 2 or sys.argv[1] not in names:  # of a plugin, or help, which lists them all
        _guard(lambda: _add_commands(load_plugins()))
    _guard(app)


def _add_commands(registry: Registry) -> None:
    for name, function in _plugin_commands(registry):
        app.command(name=name)(function)
    _tell_notes(registry)


def _plugin_commands(registry: Registry) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The commands of plugins under the names that they can have: a name that is taken is written PLUGIN/NAME."""
    taken = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for plugin, name, function in registry.commands():
        at = place_of_code(function)
        if wrong := wrong_command(name, function):
            registry.set_aside(plugin, f"infimed_commands offers '{name}' ({at}), which cannot be a command: {wrong}")
            continue
        shown = name
        if name in taken:
            shown = f"{plugin}/{name}"
            registry.note(plugin, f"infimed_commands offers '{name}' ({at}), which is taken; write infimed {shown}")
        taken.add(shown)
        yield shown, function if registry.is_own(plugin) else _guarded(plugin, name, function)


def wrong_command(name: str, function: Callable[..., Any]) -> str:
    """Why a function cannot be a command, "" where it can."""
    try:
        alone = typer.Typer()
        alone.command(name=name)(function)
        typer.main.get_command(alone)
        hints = typing.get_type_hints(function)
    except Exception as error:
        return f"{told_error(error)}; see typer's documentation for the parameters that it takes"
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        kind = hints.get(parameter.name, str if default in (parameter.empty, None) else type(default))
        strange = {typing.get_origin(part) or part for part in (kind, *typing.get_args(kind))} & _NOT_TYPED
        if strange:
            what = strange.pop().__name__
            return (
                f"its parameter '{parameter.name}' is of type {what}, which nobody can type; use text, numbers or paths"
            )
    return ""


def _guarded(plugin: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A plugin's command; where it fails, one line says whose it is."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except (InfimedError, typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            told = told_error(error, getattr(function, "__module__", "") or "")
            _say(f"plugin '{plugin}': its command '{name}' failed: {told}", err=True)
            raise typer.Exit(1) from error

    return command


def run_main() -> None:
    """``infimed-run``."""
    _guard(run_typer)
