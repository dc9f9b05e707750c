"""A run that is killed at each of its file operations, then started again: does the same come out?

An audit hook of Python counts what a run does to files in its directory (open to write, rename, remove, link, make or
remove a directory) and ends the process without a word before the one that is asked for, as ``kill -9`` does. Every
attempt is a fork of one process that has done the run once elsewhere, and so has imported everything and read its word
lists. The points are tried in an order that is spread over the run: a sweep that is cut short has looked everywhere.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infimed_core import load_plugins, load_run_file
from infimed_core.run import run
from infimed_core.testing import make_image, make_sample

COUNTED = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
KILLED, FAILED = 137, 3
GOLDEN = 0.6180339887


def write_run_file(folder: Path) -> Path:
    """A run with every step that needs no training: read, filter, score, select, model, evaluate, compare, report."""
    rows = [make_sample(f"s{n}", f"Which plane is number {n}?", images=[make_image(seed=n)]) for n in range(4)]
    bad = make_sample("bad", "Without an answer", answer=None)
    lines = [row.model_dump_json() for row in (*rows, bad)]
    for name in ("one", "two"):  # two shards; the ids of the second are those of the first, so they are told apart
        (folder / f"{name}.jsonl").write_text("\n".join(line.replace("Which", name) for line in lines) + "\n")
    sources = [{"use": "jsonl", "with": {"path": str(folder / f"{name}.jsonl")}} for name in ("one", "two")]
    document = {
        "run": {"name": "r", "directory": str(folder / "runs")},
        "data": {"sources": sources, "executor": {"use": "serial"}},
        "quality": {"scorers": [{"use": "five-dimension"}], "select": {"use": "top-share", "with": {"keep": 0.5}}},
        "model": {"use": "constant", "with": {"text": "yes"}},
        "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 3},
        "report": [{"use": "terminal"}],
    }
    (folder / "run.yaml").write_text(json.dumps(document))
    return folder / "run.yaml"


def in_fork(work: Callable[[], int]) -> int:
    """The exit code of ``work`` in a process of its own."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        os._exit(work())
    except BaseException:
        os._exit(FAILED)


def count_operations(directory: Path, at: Callable[[int], None]) -> None:
    """Call ``at`` with the number of each file operation below ``directory``, before it is done."""
    number, below = 0, str(directory)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal number
        writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        if (writes or event in COUNTED) and any(str(part).startswith(below) for part in arguments[:2]):
            number += 1
            at(number)

    sys.addaudithook(hook)


@functools.cache
def plugins() -> Any:
    """The plugins, loaded once for all attempts."""
    return load_plugins()


def do(file: Path) -> None:
    """The run, in this process."""
    run(load_run_file(file, plugins()), plugins(), lambda event: None)


def spread(count: int) -> list[int]:
    """The numbers from 1 to ``count``, each far from those before it."""
    return sorted(range(1, count + 1), key=lambda number: number * GOLDEN % 1.0)


def attempt(file: Path, kill_before: int | None = None, told: Path | None = None) -> int:
    """Do the run in a fork: 0, or 137 where it was killed. ``told`` gets the number of operations."""

    def work() -> int:
        def at(number: int) -> None:
            if number == kill_before:
                os._exit(KILLED)
            if told is not None:
                counts.append(number)

        counts: list[int] = []
        count_operations(file.parent / "runs", at)
        do(file)
        if told is not None:
            told.write_text(str(len(counts)))
        return 0

    return in_fork(work)


def outcome(file: Path) -> dict[str, str]:
    """Everything that a run is for: its results, and the content of every artifact by name."""
    directory = file.parent / "runs" / "r"
    if not (directory / "run.json").exists():
        return {"status": "no run"}
    record = json.loads((directory / "run.json").read_text())
    found = {"status": record["status"], "results": json.dumps([record["results"], record["comparisons"]])}
    for path in sorted(directory.glob("artifacts/*/*")):
        if path.is_file() and path.name != "artifact.json":
            content = path.read_bytes().replace(str(file.parent).encode(), b"PLACE")
            # the name of a part of scores ends with a digest that the time of its pictures' files is in
            shown = re.sub(r"(part-\d+)-\w+", r"\1", path.relative_to(directory).as_posix())
            found[shown] = hashlib.sha256(content).hexdigest()
    return found


def sweep(every: int = 1, minutes: float | None = None) -> dict[str, Any]:
    """Kill before each ``every``-th operation and go on; returns how many were tried and which did not hold."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "before").mkdir()
        do(write_run_file(folder / "before"))
        file = write_run_file(folder)
        assert attempt(file, told=folder / "count") == 0, "the run does not end well by itself"
        num_operations = int((folder / "count").read_text())
        wanted = outcome(file)
        failing, tried = [], 0
        until = time.monotonic() + 60 * minutes if minutes else math.inf
        for number in spread(num_operations)[::every]:
            if time.monotonic() > until:
                break
            shutil.rmtree(folder / "runs")
            tried += 1
            code, again = attempt(file, number), attempt(file)
            found = outcome(file)
            other = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
            if code != KILLED or again != 0 or other:
                failing.append({"operation": number, "codes": [code, again], "other": other})
            print(f"\r{tried} tried, {len(failing)} failing", end="", file=sys.stderr, flush=True)
    return {"operations": num_operations, "tried": tried, "failing": failing}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    print(json.dumps(sweep(**vars(parser.parse_args())), indent=1))
