"""``infimed leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    places: Annotated[list[str], typer.Argument(help="Runs, or folders with runs in them.", metavar="RUN...")],
    out: Annotated[
        Path, typer.Option("--to", "--out", help="Folder for index.html and leaderboard.json.", metavar="FOLDER")
    ] = Path("leaderboard"),
    published: Annotated[
        list[str] | None, typer.Option(help="A plugin or YAML file whose published figures stand beside.")
    ] = None,
) -> None:
    """Write a leaderboard of many runs: models in order, ties as ties, only what was asked alike in one table."""
    from infimed_core import load_plugins, write_atomically
    from infimed_plugins.reporting.board.board import make_board
    from infimed_plugins.reporting.board.page import page
    from infimed_plugins.reporting.compare.published import chosen_tables

    registry = load_plugins()
    board = make_board(places, registry, out, chosen_tables(published or (), registry))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "leaderboard.json", board.model_dump_json(indent=1) + "\n")
    write_atomically(out / "index.html", page(board))
    for line in board.left_out:
        typer.echo(f"left out: {line}", err=True)
    typer.echo(str(out / "index.html"))
