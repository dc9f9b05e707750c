"""``infimed init --data FOLDER``: a run file for data that lie there, written by looking at them."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import InfimedError
from infimed_plugins.readers.guessing import LOOKED_AT, Guess, guess

MORE = """
# What may follow, each section when it is wanted (docs/ and examples/ say more):
# quality: {scorers: [{use: five-dimension}], select: {use: top-share, with: {keep: 0.8}}}
# model: {use: tiny-qwen3-vl}  # to try it out; a real one: {use: transformers, with: {checkpoint: DIRECTORY}}
# resolution: {use: fixed, with: {max_visual_tokens: 256}}
# packing: {use: best-fit, with: {row_tokens: 4096}}
# training: {use: staged, with: {stages: [{name: medical, learning_rate: 1.0e-5}]}}
"""


def init_command(
    data: Annotated[Path, typer.Option(help="The folder that holds your data.", metavar="FOLDER")],
    to: Annotated[Path, typer.Option(help="The run file that is written.", metavar="FILE")] = Path("run.yaml"),
    force: Annotated[bool, typer.Option(help="Write over a run file that is there.")] = False,
) -> None:
    """Write a run file that reads a folder of data, by looking at it: which reader, columns, encoding, images."""
    if to.exists() and not force:
        raise InfimedError(f"{to}: is there already; name another file with --to, or write over it with --force")
    text, said = written(Path(os.path.abspath(os.path.expanduser(data))), Path.cwd())
    to.write_text(text, encoding="utf-8")
    typer.echo(f"{to}: {said}; look at it, then: infimed check {to}, infimed-run {to}")


def written(folder: Path, current: Path) -> tuple[str, str]:
    """The run file's text, and in a line what was found."""
    best, *others = guess(folder)
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.name.lower()).strip("-_") or "data"
    more = " first" if best.num_rows >= LOOKED_AT else ""
    said = f"{best.num_samples:,} of the{more} {best.num_rows:,} rows are samples of the reader '{best.use}'"
    said += f", {best.num_found:,} of their {best.num_media:,} images are there" if best.num_media else ""
    lines = [f"# Written by looking at {_shown(folder, current)}: {said}."]
    lines += [f"#   left out: {line}" for line in _left_out(best)]
    lines += [f"#   not used: the columns {', '.join(best.unused)}"] if best.unused else []
    also = dict.fromkeys(f"{one.use} ({one.num_samples:,})" for one in others if one.use != best.use)
    lines += [f"#   also possible: {', '.join(also)}"] if also else []
    lines += [f"run: {{name: {name}}}", "data:", "  sources:", f"    - use: {best.use}"]
    settings = _relative(best.settings, current)
    lines += ["      with:", *(f"        {key}: {_yaml(value)}" for key, value in settings.items())]
    return "\n".join(lines) + "\n" + MORE, said


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
