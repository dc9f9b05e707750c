"""``infimed new``: a plugin of one component, written from the template of its kind."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from infimed_core import KINDS, InfimedError, Registry
from infimed_plugins.authoring.writing import NewPlugin


def new(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help=f"What it is: {', '.join(KINDS)}.", metavar="KIND")],
    name: Annotated[str, typer.Argument(help="What run files call it, as in my-score.", metavar="NAME")],
    one_file: Annotated[bool, typer.Option("--file", help="Write one file, which a run file can name.")] = False,
    directory: Annotated[Path, typer.Option("--in", help="Where it is written.", metavar="DIRECTORY")] = Path(),
) -> None:
    """Write a plugin with one component: a project that pip installs, or a single file."""
    plugin = checked(context.obj, kind, name)
    if one_file:
        file = directory / f"{plugin.snake}.py"
        write({file: plugin.file()})
        typer.echo(f"{file}: name it in a run file as `plugins: [./{file.name}]`, or write infimed --plugin {file} ...")
        return
    folder = directory / f"infimed-{name}"
    write({folder / file: text for file, text in plugin.project(metadata.version("infimed")).items()})
    typer.echo(f"{folder}: next, `pip install -e {folder}` and `pytest {folder}`")


def checked(registry: Registry, kind: str, name: str) -> NewPlugin:
    """The plugin to write.

    Raises:
        InfimedError: there is no such kind, or the name is none or taken.
    """
    kind = kind.replace("-", " ").replace("_", " ").lower()
    if kind not in KINDS:
        raise InfimedError(f"there is no kind '{kind}'; write one of: {', '.join(KINDS)}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise InfimedError(f"the name '{name}' cannot be used; write small letters, digits and hyphens, as in my-score")
    if taken := registry.names(kind).get(name):
        raise InfimedError(f"the {kind} '{name}' is there already ({taken[0]}); choose another name")
    if name in registry.plugins or name.replace("-", "_") in registry.plugins:
        raise InfimedError(f"a plugin named '{name}' is installed already; choose another name")
    return NewPlugin(kind, name)


def write(files: dict[Path, str]) -> None:
    """Write new files.

    Raises:
        InfimedError: one is there already; nothing is written then.
    """
    for file in files:
        if file.exists():
            raise InfimedError(f"{file} is there already; choose another name, or --in another directory")
    for file, text in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InfimedError(f"{file} cannot be written: {error.strerror}") from None
