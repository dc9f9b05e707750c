"""``infimed init --data PATH``: a run file for data that lie there, written by looking at them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import InfimedError
from infimed_plugins.readers.asking import NOTHING, Wish, evaluation_of, flags, taken, unasked, with_question
from infimed_plugins.readers.dividing import apart, divided
from infimed_plugins.readers.guessed_table import LOOKED_AT
from infimed_plugins.readers.guessing import TABLES, Guess, guess, looks_like_test_set
from infimed_plugins.readers.run_file_lines import reader_lines, relative, shown, yaml_of

SCORE = "quality: {scorers: [{use: five-dimension}], select: {use: top-share, with: {keep: 0.8}}}"
TRAIN = """resolution: {use: fixed, with: {max_visual_tokens: %(visual)s}}  # largest size of an image, in tokens
packing: {use: best-fit, with: {row_tokens: %(row)s}}  # several samples share a row of this many tokens
training: {use: staged, with: {stages: [{name: main, epochs: %(epochs)s, learning_rate: %(rate)s}]}}"""
TINY = {"visual": 16, "row": 256, "epochs": 4, "rate": "1.0e-3"}
BETWEEN = "\n  "
"""Between the lines of what was found."""
REAL = {"visual": 1024, "row": 8192, "epochs": 1, "rate": "1.0e-5"}


def init_command(
    data: Annotated[Path, typer.Option(help="The folder or file that holds your data.", metavar="PATH")],
    test: Annotated[
        Path | None, typer.Option(help="Questions to evaluate on: a file or folder that is not trained on.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="tiny (made from nothing), a checkpoint, or openai:URL#NAME for a server.")
    ] = None,
    score: Annotated[bool, typer.Option(help="Score the samples and keep the best.")] = False,
    train: Annotated[bool, typer.Option(help="Train the model on the samples.")] = False,
    to: Annotated[Path, typer.Option(help="The run file that is written.", metavar="FILE")] = Path("run.yaml"),
    force: Annotated[bool, typer.Option(help="Write over files that are there.")] = False,
    images: Annotated[
        Path | None, typer.Option(help="Where the images lie that the rows name.", metavar="FOLDER")
    ] = None,
    text_only: Annotated[bool, typer.Option(help="Read the rows without the images that they name.")] = False,
    split_by: Annotated[
        str | None,
        typer.Option(
            help="Make the test set of the table: by a column (patient), no value on both sides.", metavar="COLUMN"
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the values of --split-by that are the test set.", min=0.01, max=0.99)
    ] = 0.25,
    question: Annotated[
        str | None, typer.Option(help="What is asked about every image whose row has no question.", metavar="TEXT")
    ] = None,
) -> None:
    """Write a run file for your data by looking at them: reader, columns, encoding, images; the rest as comments."""
    if to.exists() and not force:
        raise InfimedError(f"{to}: is there already; name another file with --to, or write over it with --force")
    if train and (model is None or model.startswith("openai:")):
        raise InfimedError("--train needs --model tiny or --model CHECKPOINT: a server cannot be trained")
    if split_by and test:
        raise InfimedError("--split-by makes the test set of the data's own table; leave out --test, or --split-by")
    data, test, images = _absolute(data), _absolute(test) if test else None, _absolute(images) if images else None
    title = re.sub(r"[^a-z0-9_-]+", "-", to.stem.lower()).strip("-_")
    title = "" if title == "run" else title
    folder = _absolute(to).parent
    wish = Wish(model, score, train, images, text_only, split_by, held_out, folder, force, question, title)
    text, said = written(data, Path.cwd(), test, wish)
    to.write_text(text, encoding="utf-8")
    preview = f"infimed preview {to}, " if train else ""
    typer.echo(f"{to}: {said}{BETWEEN}look at it, then: infimed check {to}, {preview}infimed-run {to}")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def written(place: Path, current: Path, test: Path | None = None, wish: Wish = NOTHING) -> tuple[str, str]:
    """The run file's text, and in a line what was found."""
    name = re.sub(r"[^a-z0-9_-]+", "-", place.stem.lower()).strip("-_") or "data"
    start, notes, images = place, [], (wish.images,) if wish.images else ()
    if wish.split_by:
        whole = _found(place, [], images, wish)[0]
        parts = divided(whole, wish.split_by, wish.held_out, wish.folder, name, wish.force)
        start, test, images = parts.train, parts.test, images or (_image_root(whole),)
        notes.append(parts.said)
    without = [test] if test else looks_like_test_set(start)
    asked = _found(test, [], images or _folders_of(start, test), wish)[0] if test else None
    read = [] if asked and not wish.needs_data else _found(start, without, images, wish)
    best = read[0] if read else asked
    assert best is not None
    said = _said(best)
    lines = [f"# Written by looking at {shown(place, current)}: {_said(best)}."]
    lines += [f"#   left out: {line}" for line in _left_out(best)]
    lines += [f"#   {best.doubt}"] if best.doubt else []
    said += f"{BETWEEN}{best.doubt}" if best.doubt else ""
    others = _unread(start, best, without) if read else []
    lines += [f"#   not read: {', '.join(shown(file, current) for file in others[:8])}"] if others else []
    for told in filter(None, (taken(best), unasked(best), flags(best))):
        lines.append(f"#   {told}")
        said += f"{BETWEEN}{told}"
    lines += [f"#   not used: the columns {', '.join(best.unused)}"] if best.unused else []
    also = dict.fromkeys(f"{one.use} ({one.num_samples:,})" for one in read if one.use != best.use)
    lines += [f"#   also possible: {', '.join(also)}"] if also else []
    if without and not test:
        named = ", ".join(shown(file, current) for file in without[:3])
        lines.append(f"#   not read, because the name says test set: {named}; --test {shown(without[0], current)}")
        said += f"{BETWEEN}{named} left for --test"
    sources = _sources(best, without) if read else []
    if read and without and not wish.split_by:
        tests = [asked] if asked else _named_tests(start, without, images)
        sources, shared = apart(best.use, sources, tests, wish.folder if asked else None, wish.force)
        notes += shared
    said = BETWEEN.join([said, *notes])
    lines += [f"#   {note}" for note in notes]
    title = wish.title if wish.title and not name.endswith(wish.title) else ""
    lines += [f"run: {{name: {name}{'-' * bool(title)}{title}}}", *(["data:", "  sources:"] if sources else [])]
    for settings in sources:
        lines += reader_lines(best.use, relative(settings, current), "    - ", best.doubt)
    lines += [*_sections(current, asked, read, wish)]
    return "\n".join(lines) + "\n", said


def _found(place: Path, without: list[Path], images: Sequence[Path], wish: Wish) -> list[Guess]:
    """What reads a place, the best first.

    Raises:
        InfimedError: rows name images, and none of them was found.
    """
    found = guess(place, without, images, wish.split_by)
    if (told := found[0].names_lost_images()) and not wish.text_only:
        looked = " and ".join(map(str, images or (place.parent if place.is_file() else place,)))
        raise InfimedError(
            f"{place}: {told} and none of them was found in {looked} or the folders in it; name the folder that holds "
            "them with --images FOLDER, or read the rows without images with --text-only"
        )
    if wish.question:
        found[0] = with_question(found[0], wish.question)
    if wish.text_only and (lost := found[0].unfound):  # on purpose: infimed check does not ask for them
        found[0] = replace(found[0], settings=found[0].settings | {"ignore": [lost[0]]})
    return found


def _named_tests(start: Path, files: Sequence[Path], images: Sequence[Path]) -> list[Guess]:
    """What reads the tables that are called a test set; one without answers, as of a competition, asks nothing."""
    found = []
    for file in files:
        with suppress(InfimedError):
            found.append(guess(file, images=images or _folders_of(start, file))[0])
    return found


def _folders_of(*places: Path) -> tuple[Path, ...]:
    """The folders that places are or lie in, each once."""
    folders = [place.parent if place.is_file() else place for place in places]
    return tuple(one for one in dict.fromkeys(folders) if not any(other in one.parents for other in folders))


def _image_root(best: Guess) -> Path:
    """The folder that a table's names of images start from."""
    return Path(best.settings.get("image_root") or Path(best.settings["path"]).parent)


def _said(best: Guess) -> str:
    more = " first" if best.num_rows >= LOOKED_AT else ""
    said = f"{best.num_samples:,} of the{more} {best.num_rows:,} rows are samples of the reader '{best.use}'"
    return said + (f", {best.num_found:,} of their {best.num_media:,} images are there" if best.num_media else "")


def _sources(best: Guess, without: list[Path]) -> list[dict[str, Any]]:
    """The settings of the reader; once for each file where a pattern would read a test set too."""
    pattern = str(best.settings.get("path", ""))
    files = [Path(name) for name in sorted(glob(pattern, recursive=True))] if "*" in pattern else []
    left = [file for file in files if not any(file == one or one in file.parents for one in without)]
    left = [file for file in left if not best.files or file in best.files]
    if len(left) == len(files):
        return [best.settings]
    return [best.settings | {"path": str(file)} for file in left]


def _unread(place: Path, best: Guess, without: Sequence[Path]) -> list[Path]:
    """Tables of the folder that the guess does not read: they have other columns, or another encoding."""
    if not best.files or place.is_file():
        return []
    found = (file for file in sorted(place.rglob("*")) if file.name.lower().endswith(TABLES) and file.is_file())
    return [
        file for file in found if file not in best.files and not any(one in (file, *file.parents) for one in without)
    ]


def _sections(current: Path, asked: Guess | None, read: Sequence[Guess], wish: Wish) -> Iterator[str]:
    """What follows the data, in the order of a run; what was not asked for is a comment that shows how."""
    tiny = wish.model in (None, "tiny")
    chosen = TRAIN % (TINY if tiny else REAL)
    yield from ("", "# Score every sample from 0 to 1 and keep the best 80%." + ("" if wish.score else " (--score)"))
    yield from _shown_as(SCORE, wish.score)
    yield from ("", "# The model." + ("" if wish.model else " (--model)"))
    yield from _shown_as(f"model: {_model(wish.model, current)}", wish.model is not None)
    yield from ("", "# Train it on the samples." + ("" if wish.train else " (--train)"))
    yield from _shown_as(chosen, wish.train)
    yield from (
        "",
        "# Ask it these questions before and after, and grade the answers." + ("" if asked else " (--test)"),
    )
    yield from _shown_as("\n".join(evaluation_of(asked, read[:1], current, wish)), None not in (asked, wish.model))
    yield from ("", "# Write runs/NAME/report.html at the end.", "report: [{use: html}]")


def _shown_as(text: str, wanted: bool) -> list[str]:
    return [line if wanted else f"# {line}" for line in text.splitlines()]


def _model(model: str | None, current: Path) -> str:
    if model in (None, "tiny"):
        return "{use: tiny-qwen3-vl}"
    if model.startswith("openai:"):
        address, _, name = model.removeprefix("openai:").partition("#")
        return yaml_of({"use": "openai-compatible", "with": {"base_url": address} | ({"model": name} if name else {})})
    return yaml_of({"use": "transformers", "with": {"checkpoint": model}})


def _left_out(best: Guess) -> list[str]:
    counts = Counter(fault.code for fault in best.faults)
    first = {fault.code: fault for fault in reversed(best.faults)}
    return [
        f"{count:,} {code} ({first[code].where}: {first[code].detail[:160]})" for code, count in counts.most_common(5)
    ]
