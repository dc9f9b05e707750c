"""The ablation of examples/ablation.yaml as a dated result: runs its sweep and writes what it found."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from common import Results, main

from infimed_plugins.reporting.sweep.command import sweep

FILE = Path(__file__).parents[1] / "examples" / "ablation.yaml"


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Sweep, in a folder that is kept where one is named: the same command goes on from what is finished."""
    with tempfile.TemporaryDirectory() as folder:
        directory = arguments.folder or Path(folder)
        done = sweep(FILE, [f"run.seed={','.join(map(str, range(arguments.seeds)))}"], directory, dry=False)
        found = json.loads((directory / "sweep.json").read_text(encoding="utf-8"))
        results.details["markdown"] = (directory / "sweep.md").read_text(encoding="utf-8").splitlines()
    found["source"] = "examples/ablation.yaml"
    results.details["sweep"] = found
    results.target("variants that finished with every seed", sum(len(line["seeds"]) == arguments.seeds for line in found["lines"]), f"== {len(found['variants'])}")  # fmt: skip  # noqa: E501
    if not done:
        print("some runs did not finish", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the runs here")


if __name__ == "__main__":
    main("ablation", run, add_arguments)
