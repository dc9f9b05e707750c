"""``infimed convert``: the run file of a recipe that was written for another tool, and an account of every key."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import InfimedError, read_named
from infimed_plugins.migration import llama_factory, swift
from infimed_plugins.migration.keys import Account, account_of
from infimed_plugins.migration.recipe import Recipe
from infimed_plugins.migration.script import LLAMA_FACTORY, SWIFT, read_command

WORDS = {
    "same": "the same",
    "differs": "differs",
    "by hand": "set it yourself",
    "always": "not needed",
    "none": "NOT taken over",
}


class Tool(StrEnum):
    """Tools whose files are converted."""

    llama_factory = "llama-factory"
    ms_swift = "ms-swift"


def convert_command(
    tool: Annotated[Tool, typer.Argument(help="Whose file it is.")],
    file: Annotated[Path, typer.Argument(help="Its YAML or JSON, or a script with its command.", metavar="FILE")],
    to: Annotated[Path, typer.Option(help="The run file that is written.", metavar="FILE")] = Path("run.yaml"),
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs that it was started on; as a script says, else 1, by default.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Write over a run file that is there.")] = False,
) -> None:
    """Write the run file of a LLaMA-Factory or ms-swift recipe, and say key by key what became of it."""
    if to.exists() and not force:
        raise InfimedError(f"{to}: is there already; name another file with --to, or write over it with --force")
    recipe, accounts = converted(tool, file, devices)
    to.write_text(rendered(recipe, tool, file), encoding="utf-8")
    order = list(WORDS)
    width = max((len(account.key) for account in accounts), default=0)
    for account in sorted(accounts, key=lambda account: order.index(account.verdict)):
        place = f" {account.path}" if account.path else ""
        note = f" ({account.note})" if account.note and place else f" {account.note}" if account.note else ""
        typer.echo(f"  {account.key:{width}}  {WORDS[account.verdict]}:{place}{note}")
    lost = sum(account.verdict == "none" for account in accounts)
    typer.echo(f"{to}: written; {len(accounts)} keys, {lost} not taken over; look at it, then: infimed check {to}")


def converted(tool: Tool, file: Path, devices: int | None = None) -> tuple[Recipe, list[Account]]:
    """The recipe of a file, and what became of each of its keys.

    Raises:
        InfimedError: the file cannot be read, or asks for what cannot be said here.
    """
    try:
        text = read_named(file).decode().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InfimedError(f"{file}: cannot be read: {error}") from error
    module, command = (swift, SWIFT) if tool is Tool.ms_swift else (llama_factory, LLAMA_FACTORY)
    if file.suffix not in (".yaml", ".yml", ".json"):
        values, devices = read_command(text, file, command, devices)
    else:
        values = _settings(text, file)
    try:
        recipe, changed = module.recipe_of(values, devices or 1, file)
    except ValueError as error:
        raise InfimedError(f"{file}: {error}") from error
    return recipe, list(account_of(values, module.TABLE, changed, module.NAME))


def rendered(recipe: Recipe, tool: Tool, file: Path) -> str:
    """The run file's text."""
    import yaml

    head = [f"# Converted from {file.name} of {tool.value}; the same samples in every optimizer step."]
    if not recipe.packed and not recipe.objective:
        head.append("# Faster, and as exact: packing: {use: best-fit, with: {row_tokens: 8192}}; see docs/training.md.")
        head.append("# A step then holds as many samples with samples_per_step in place of rows_per_step.")
    body = yaml.safe_dump(recipe.run_file(), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return "\n".join(head) + "\n" + body


def _settings(text: str, file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InfimedError(f"{file}: is no {'JSON' if file.suffix == '.json' else 'YAML'}: {error}") from error
    if not isinstance(values, dict):
        raise InfimedError(f"{file}: must hold settings by name")
    return {str(key): value for key, value in values.items()}
