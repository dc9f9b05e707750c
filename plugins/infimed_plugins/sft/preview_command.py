"""``infimed preview``: a sample as the model sees it, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from infimed_core import load_plugins, load_run_file, printable
from infimed_plugins.sft.preview import Place, Preview, make_preview

OPENS, CLOSES = "{+", "+}"
"""What stands around the text that carries loss where there is no colour, as in ``git diff --word-diff``."""


def preview(
    file: Annotated[Path, typer.Argument(help="A run file (YAML).", metavar="FILE")],
    sample_id: Annotated[
        str | None, typer.Argument(help="Id of a sample; the first that is trained on by default.", metavar="[ID]")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="A stage by its name; all stages by default.")] = None,
) -> None:
    """Show a training sample as the model sees it: text, images with sizes and tokens, what carries loss, its place."""
    from rich.console import Console

    registry = load_plugins()
    found = make_preview(load_run_file(file, registry), registry, sample_id, stage)
    console = Console(highlight=False, soft_wrap=True)
    for text in lines_of(found, console.is_terminal and not console.no_color):
        console.print(text)


def lines_of(found: Preview, colour: bool) -> Iterator[Any]:
    """Rich texts to print one after the other; without ``colour`` marks stand around what carries loss."""
    from rich.text import Text

    tags = ", ".join(f"{tag}: {value}" for tag, value in sorted(found.sample.tags.items()))
    yield Text(printable(f"sample {found.sample.id}  ({tags})"), style="bold")
    for place in found.places:
        yield Text(printable(told_place(place)))
    for number, (shape, seen, tokens) in enumerate(found.images, start=1):
        shown = f" seen as {seen[1]} x {seen[0]}" if seen is not None else ""
        yield Text(f"image {number}: {shape[1]} x {shape[0]} pixels{shown}, {tokens:,} tokens")
    for note in found.notes:
        yield Text(printable(f"note: {note}"), style="yellow")
    if found.encoded is None:
        return
    count, visual, learned = len(found.encoded), sum(found.encoded.visual_tokens), int(found.loss.sum())
    how = "in green" if colour else f"between {OPENS} and {CLOSES}"
    yield Text(f"{count:,} tokens: {visual:,} of images, {learned:,} carry loss ({how})")
    yield Text("")
    yield _body(found, colour)


def told_place(place: Place) -> str:
    """Where a stage trains on the sample, in one line."""
    size = "native resolution" if place.cap is None else f"at most {place.cap:,} visual tokens an image"
    if place.step is None:
        return f"stage {place.stage}: {size}"
    again = f"; drawn {place.more} more times" if place.more else ""
    beside = f"beside {place.beside} other samples" if place.beside else "alone"
    rows = f"row {place.row + 1} of {place.num_rows}"
    return f"stage {place.stage}: step {place.step + 1} of {place.num_steps}, {rows}, {beside}; {size}{again}"


def _body(found: Preview, colour: bool) -> Any:
    """The tokens as text, images as one mark each, what carries loss in green or between marks."""
    from rich.text import Text

    assert found.encoded is not None
    ids, types = found.encoded.input_ids, found.encoded.token_types
    kind = np.where(types == 1, 2, found.loss.astype(np.int64))
    counts = iter(found.encoded.visual_tokens)
    body, number, start = Text(), 0, 0
    while start < len(ids):
        if kind[start] == 2:
            number, stop = number + 1, start + next(counts)
            body.append(f"[image {number}: {stop - start:,} tokens]", style="cyan")
        else:
            changes = np.flatnonzero(kind[start:] != kind[start])
            stop = start + int(changes[0]) if len(changes) else len(ids)
            text = printable(found.encoder.text(ids[start:stop]))
            if kind[start] == 1:
                body.append(text if colour else f"{OPENS}{text}{CLOSES}", style="bold green")
            else:
                body.append(text, style="dim" if colour else "")
        start = stop
    return body
