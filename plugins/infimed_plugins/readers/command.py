"""``infimed init --data PATH``: a run file for data that lie there, written by looking at them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import InfimedError
from infimed_plugins.readers.guessing import LOOKED_AT, Guess, guess, looks_like_test_set

SCORE = "quality: {scorers: [{use: five-dimension}], select: {use: top-share, with: {keep: 0.8}}}"
TRAIN = """resolution: {use: fixed, with: {max_visual_tokens: %(visual)s}}  # largest size of an image, in tokens
packing: {use: best-fit, with: {row_tokens: %(row)s}}  # several samples share a row of this many tokens
training: {use: staged, with: {stages: [{name: main, epochs: %(epochs)s, learning_rate: %(rate)s}]}}"""
TINY = {"visual": 16, "row": 256, "epochs": 4, "rate": "1.0e-3"}
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
    force: Annotated[bool, typer.Option(help="Write over a run file that is there.")] = False,
) -> None:
    """Write a run file for your data by looking at them: reader, columns, encoding, images; the rest as comments."""
    if to.exists() and not force:
        raise InfimedError(f"{to}: is there already; name another file with --to, or write over it with --force")
    if train and (model is None or model.startswith("openai:")):
        raise InfimedError("--train needs --model tiny or --model CHECKPOINT: a server cannot be trained")
    data, test = _absolute(data), _absolute(test) if test else None
    text, said = written(data, Path.cwd(), test, model, score, train)
    to.write_text(text, encoding="utf-8")
    typer.echo(f"{to}: {said}; look at it, then: infimed check {to}, infimed-run {to}")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def written(
    place: Path,
    current: Path,
    test: Path | None = None,
    model: str | None = None,
    score: bool = False,
    train: bool = False,
) -> tuple[str, str]:
    """The run file's text, and in a line what was found."""
    without = [test] if test else looks_like_test_set(place)
    best, *others = guess(place, without)
    name = re.sub(r"[^a-z0-9_-]+", "-", place.stem.lower()).strip("-_") or "data"
    said = _said(best)
    lines = [f"# Written by looking at {_shown(place, current)}: {said}."]
    lines += [f"#   left out: {line}" for line in _left_out(best)]
    lines += [f"#   not used: the columns {', '.join(best.unused)}"] if best.unused else []
    also = dict.fromkeys(f"{one.use} ({one.num_samples:,})" for one in others if one.use != best.use)
    lines += [f"#   also possible: {', '.join(also)}"] if also else []
    if without and not test:
        named = ", ".join(_shown(file, current) for file in without[:3])
        lines.append(f"#   not read, because the name says test set: {named}; --test {_shown(without[0], current)}")
        said += f"; {named} left for --test"
    lines += [f"run: {{name: {name}}}"]
    if model is None or score or train or test is None:
        lines += ["data:", "  sources:"]
        for settings in _sources(best, without):
            lines += _reader_lines(best.use, _relative(settings, current), "    - ")
    lines += [*_sections(current, test, model, score, train)]
    return "\n".join(lines) + "\n", said


def _said(best: Guess) -> str:
    more = " first" if best.num_rows >= LOOKED_AT else ""
    said = f"{best.num_samples:,} of the{more} {best.num_rows:,} rows are samples of the reader '{best.use}'"
    return said + (f", {best.num_found:,} of their {best.num_media:,} images are there" if best.num_media else "")


def _sources(best: Guess, without: list[Path]) -> list[dict[str, Any]]:
    """The settings of the reader; once for each file where a pattern would read a test set too."""
    pattern = str(best.settings.get("path", ""))
    files = [Path(name) for name in sorted(glob(pattern, recursive=True))] if "*" in pattern else []
    left = [file for file in files if not any(file == one or one in file.parents for one in without)]
    if len(left) == len(files):
        return [best.settings]
    return [best.settings | {"path": str(file)} for file in left]


def _reader_lines(use: str, settings: dict[str, Any], start: str) -> list[str]:
    inner = " " * len(start)
    lines = [f"{start}use: {use}", f"{inner}with:"]
    return lines + [f"{inner}  {key}: {_yaml(value)}" for key, value in settings.items()]


def _sections(current: Path, test: Path | None, model: str | None, score: bool, train: bool) -> Iterator[str]:
    """What follows the data, in the order of a run; what was not asked for is a comment that shows how."""
    tiny = model in (None, "tiny")
    chosen = TRAIN % (TINY if tiny else REAL)
    yield from ("", "# Score every sample from 0 to 1 and keep the best 80%." + ("" if score else " (--score)"))
    yield from _shown_as(SCORE, score)
    yield from ("", "# The model." + ("" if model else " (--model)"))
    yield from _shown_as(f"model: {_model(model, current)}", model is not None)
    yield from ("", "# Train it on the samples." + ("" if train else " (--train)"))
    yield from _shown_as(chosen, train)
    yield from ("", "# Ask it these questions before and after, and grade the answers." + ("" if test else " (--test)"))
    yield from _shown_as("\n".join(_evaluation(test, current)), test is not None and model is not None)
    yield from ("", "# Write runs/NAME/report.html at the end.", "report: [{use: html}]")


def _shown_as(text: str, wanted: bool) -> list[str]:
    return [line if wanted else f"# {line}" for line in text.splitlines()]


def _model(model: str | None, current: Path) -> str:
    if model in (None, "tiny"):
        return "{use: tiny-qwen3-vl}"
    if model.startswith("openai:"):
        address, _, name = model.removeprefix("openai:").partition("#")
        return _yaml({"use": "openai-compatible", "with": {"base_url": address} | ({"model": name} if name else {})})
    return _yaml({"use": "transformers", "with": {"checkpoint": model}})


def _evaluation(test: Path | None, current: Path) -> list[str]:
    lines = ["evaluation:", "  benchmarks:", "    - name: own-test", "      use: questions", "      with:"]
    if test is None:
        return [*lines, "        reader: {use: csv, with: {path: test.csv}}"]
    best = guess(test)[0]
    return [*lines, "        reader:", *_reader_lines(best.use, _relative(best.settings, current), "          ")]


def _left_out(best: Guess) -> list[str]:
    counts = Counter(fault.code for fault in best.faults)
    first = {fault.code: fault for fault in reversed(best.faults)}
    return [
        f"{count:,} {code} ({first[code].where}: {first[code].detail[:160]})" for code, count in counts.most_common(5)
    ]


def _relative(settings: dict[str, Any], current: Path) -> dict[str, Any]:
    def shown(key: str, value: Any) -> Any:
        if isinstance(value, dict):  # of a reader within
            return _relative(value, current)
        return _shown(Path(value), current) if key in ("path", "image_root") else value

    return {key: shown(key, value) for key, value in settings.items()}


def _shown(place: Path, current: Path) -> str:
    return str(place.relative_to(current)) if place.is_relative_to(current) and place != current else str(place)


def _yaml(value: Any) -> str:
    """A value on one line, quoted where YAML would read something else."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("...\n").strip()
