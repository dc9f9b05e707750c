"""What is learned from several slices of a volume and from one: the run of examples/volumes.yaml, over seeds."""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import yaml
from common import Results, main

from infimed_core.records import open_run
from infimed_core.testing import run as run_body

FILE = Path(__file__).parents[1] / "examples" / "volumes.yaml"
WAYS = (4, 1)
"""Slices that are seen of each volume of eight: half of them, and the one in the middle."""


def body_of(num_slices: int, seed: int, data: int, samples: int) -> dict[str, Any]:
    """The example with so many slices, so many samples of data, and so many of them trained on."""
    body: dict[str, Any] = copy.deepcopy(yaml.safe_load(FILE.read_text(encoding="utf-8")))
    body["run"] = {"name": f"slices-{num_slices}", "seed": seed}
    (source,) = body["data"]["sources"]
    source["with"]["num_slices"] = num_slices
    source["with"]["reader"]["with"]["num_samples"] = data
    body["training"]["with"]["stages"][0]["num_samples"] = samples
    body["evaluation"]["benchmarks"][0]["with"]["reader"]["with"]["num_slices"] = num_slices
    del body["report"]
    return body


def answered(body: dict[str, Any], directory: Path) -> dict[str, tuple[str, float]]:
    """Of every held-out question, its kind and whether the trained model was right."""
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):
        run_body(body, directory)
    run = open_run(directory / "runs" / body["run"]["name"])
    rows = run.answers("questions", "volumes")
    return {row.sample.id: (row.sample.tags["kind"], row.scores["strict"].value or 0.0) for row in rows}


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Train and ask with every number of slices and seed; the difference is that of the same questions."""
    found: dict[int, list[dict[str, tuple[str, float]]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            for way in WAYS:
                body = body_of(way, seed, arguments.data, arguments.samples)
                found[way].append(answered(body, arguments.folder or Path(folder)))
                share = mean(value for _, value in found[way][-1].values())
                print(f"{way} slice(s), seed {seed}: {share:.3f} right", flush=True)
    kinds = sorted({kind for rows in found[WAYS[0]] for kind, _ in rows.values()})
    for kind in (*kinds, "all"):
        shares = {
            way: [mean(value for own, value in rows.values() if kind in (own, "all")) for rows in found[way]]
            for way in WAYS
        }
        gains = np.subtract(shares[WAYS[0]], shares[WAYS[1]])
        results.details[kind] = {str(way): [round(share, 4) for share in shares[way]] for way in WAYS}
        if kind == "all":
            results.target("right with four slices", mean(shares[4]), ">= 0")
            results.target("right with one slice", mean(shares[1]), ">= 0")
            results.target("gain of four slices over one, mean over seeds", float(gains.mean()), "> 0")
            results.target("gain of the seed that gains least", float(gains.min()), "> 0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=int, default=1500, help="samples of data")
    parser.add_argument("--samples", type=int, default=6000, help="samples trained on, with repeats")
    parser.add_argument("--folder", type=Path, help="keep the runs here")


if __name__ == "__main__":
    main("volumes", run, add_arguments)
