"""``infimed plugins`` and ``infimed schema``: what is installed, and the JSON Schemas of what is on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import KINDS, InfimedError, Registry, Sample, load_plugins, printable, run_schema
from infimed_core.records import RunRecord
from infimed_plugins.reporting.plugin_details import details, shown, summary

NAMES = ("run", "record", "sample")
"""The schemas that ``schemas/`` holds."""


def plugins(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A plugin, or a component: its settings and what is wrong.", metavar="NAME")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the installed plugins and what they offer, or show one of them with every setting."""
    registry: Registry = context.obj
    body = everything(registry) if name is None else details(registry, name)
    if as_json:
        typer.echo(json.dumps(body, indent=1, default=str))
        return
    lines = [*(_list(registry) if name is None else shown(body)), *registry.new_notes()]
    for line in lines:
        typer.echo(printable(line))


def everything(registry: Registry) -> dict[str, Any]:
    """Every plugin, what it offers, and what is wrong with any."""
    components = {kind: sorted(registry.components(kind)) for kind in KINDS}
    registry.media_loader()  # this, and what follows, finds what is wrong with the rest of a plugin
    registry.benchmark_groups()
    registry.default("")
    registry.functions(registry.commands(taken=("run",)))
    return {
        "plugins": {name: info.model_dump() for name, info in registry.plugins.items()},
        "set_aside": registry.broken,
        "notes": [list(note) for note in registry.notes],
        "components": components,
    }


def _list(registry: Registry) -> list[str]:
    lines = []
    for kind, names in everything(registry)["components"].items():
        lines += [f"{kind}:", *(f"  {name:32} {summary(registry.find(kind, name))}" for name in names)]
    installed = ", ".join(f"{info.name} ({info.distribution} {info.version})" for info in registry.plugins.values())
    return [*lines, f"plugins: {installed}"]


def schema(
    what: Annotated[str, typer.Argument(help="run, record, sample, or a component as kind:name.")] = "run",
    write: Annotated[
        Path | None, typer.Option(help="Write the schemas of run files, records and samples here.", metavar="DIRECTORY")
    ] = None,
) -> None:
    """Print a JSON Schema, or write those of everything that is on disk."""
    if write is None:
        typer.echo(json.dumps(schema_of(what), indent=1))
    else:
        write_schemas(write)


def schema_of(what: str) -> dict[str, Any]:
    """The JSON Schema of run files, records, samples, or of one component's settings (``scorer:five-dimension``)."""
    if what == "run":
        return run_schema()
    if what in NAMES:
        model = RunRecord if what == "record" else Sample
        body = model.model_json_schema(mode="serialization")
        body["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        return body
    kind, sign, name = what.partition(":")
    if not sign or kind not in KINDS:
        kinds = ", ".join(KINDS)
        raise InfimedError(f"no schema of '{what}'; write run, record, sample, or KIND:NAME with KIND one of {kinds}")
    return load_plugins().find(kind, name).model_json_schema(by_alias=True)


def write_schemas(directory: Path) -> list[Path]:
    """Write every schema to ``directory``; return the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / f"{name}.schema.json" for name in NAMES]
    for name, path in zip(NAMES, files, strict=True):
        path.write_text(json.dumps(schema_of(name), indent=2) + "\n", encoding="utf-8")
    return files
