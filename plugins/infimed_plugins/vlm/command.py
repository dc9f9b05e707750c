"""``infimed doctor MODEL``: what InfiMed knows of a checkpoint, and the verdict of the isolation test."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def doctor_command(
    model: Annotated[str, typer.Argument(help="A checkpoint's directory or its name on the hub.")],
    revision: Annotated[str | None, typer.Option(help="Revision on the hub.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether samples of this model may share a row: packed is compared with alone on a shrunken copy."""
    from infimed_plugins.vlm.diagnosis import diagnose

    found = diagnose(model, revision)
    if as_json:
        typer.echo(json.dumps(found, indent=1, default=str))
        return
    for key, value in found.items():
        typer.echo(f"{key.replace('_', ' '):22} {value}")
