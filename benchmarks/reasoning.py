"""What reasoning data are worth: direct answers, general and reflective reasoning at equal samples; chosen and random.

The first comparison trains the model of examples/reasoning.yaml on as many samples and steps in every arm; an arm is
asked as it was taught. The second is the sweep of examples/data_efficiency.yaml. With ``--folder`` what is finished
stays, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import yaml
from common import Results, main

from infimed_core.records import open_run
from infimed_core.testing import run as run_body

EXAMPLES = Path(__file__).parents[1] / "examples"
ARMS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "direct": ("direct", [{"where": {"reasoning": "direct"}}]),
    "general": ("with-reasoning", [{"where": {"reasoning": "general"}}]),
    "reflective": (
        "with-reasoning",
        [{"where": {"reasoning": "general"}, "weight": 3}, {"where": {"reasoning": "reflective"}}],
    ),
}
"""By arm, how the model is asked and what it is taught; of the reflective arm every fourth sample has the pattern."""
SHARES = (0.5, 0.25, 0.125)


def example(name: str) -> dict[str, Any]:
    """A run file of the examples, without its report."""
    body: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    body.pop("report")
    return body


def reasoning_body(arm: str, seed: int, data: int, samples: int) -> dict[str, Any]:
    """The example of reasoning with one sort of data."""
    body = example("reasoning")
    asked, mix = ARMS[arm]
    body["run"] = {"name": f"{arm}-{seed}", "seed": seed}
    for source in body["data"]["sources"]:
        source["with"]["num_samples"] = data
    body["reasoning"]["with"]["reflective"]["share"] = 0.25 if arm == "reflective" else 0.0
    (body["training"]["with"]["stages"],) = [[{**body["training"]["with"]["stages"][0], "mix": mix}]]
    body["training"]["with"]["stages"][0]["num_samples"] = samples
    body["evaluation"] |= {"models": ["sft"], "compare_to": ["most-common-answer"]}
    body["evaluation"]["benchmarks"] = [one for one in body["evaluation"]["benchmarks"] if one["name"] == asked]
    return body


def choice_body(way: str, share: float, seed: int, samples: int) -> dict[str, Any]:
    """The example of data efficiency with one choice of samples."""
    body = example("data_efficiency")
    body.pop("sweep")
    body["run"] = {"name": f"{way}-{share}-{seed}", "seed": seed}
    with_ = {"share": share} if way == "curated" else {"keep": share, "hard_minimums": False, "seed": seed}
    body["quality"]["select"] = {"use": "minimal-sample" if way == "curated" else "random-share", "with": with_}
    body["training"]["with"]["stages"][0]["num_samples"] = samples
    return body


def answered(body: dict[str, Any], folder: Path) -> dict[str, tuple[str, float]]:
    """Of every held-out question, its kind and whether the trained model was right; kept beside the run."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{body['run']['name']}.json"
    if kept.is_file():
        return {identity: (kind, value) for identity, (kind, value) in json.loads(kept.read_text()).items()}
    own = folder / body["run"]["name"]
    own.mkdir(exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):
        run_body(copy.deepcopy(body), own)
    run = open_run(own / "runs" / body["run"]["name"])
    use = body["evaluation"]["benchmarks"][0]
    (stage,) = body["training"]["with"]["stages"]
    rows = run.answers(use.get("name", use["use"]), stage["name"])
    found = {row.sample.id: (row.sample.tags["kind"], row.scores["strict"].value or 0.0) for row in rows}
    kept.write_text(json.dumps(found))
    return found


def share_right(rows: Mapping[str, tuple[str, float]], kind: str = "all") -> float:
    """Share of right answers, of all kinds or of one."""
    return mean(value for own, value in rows.values() if kind in (own, "all"))


def compare_reasoning(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """Every arm over the seeds, kind by kind."""
    found: dict[str, list[dict[str, tuple[str, float]]]] = {arm: [] for arm in ARMS}
    for seed in range(arguments.seeds):
        for arm in ARMS:
            found[arm].append(answered(reasoning_body(arm, seed, arguments.data, arguments.samples), folder))
            print(f"{arm}, seed {seed}: {share_right(found[arm][-1]):.3f} right", flush=True)
    kinds = ["all", *sorted({kind for kind, _ in found["direct"][0].values()})]
    results.details["two-step"] = {
        kind: {arm: [round(share_right(rows, kind), 4) for rows in found[arm]] for arm in ARMS} for kind in kinds
    }
    direct, general, reflective = (np.array([share_right(rows) for rows in found[arm]]) for arm in ARMS)
    results.target("right with direct answers", float(direct.mean()), ">= 0")
    results.target("gain of general reasoning over direct answers", float((general - direct).mean()), "> 0")
    results.target("gain of reflective data over direct answers", float((reflective - direct).mean()), "> 0")
    results.target("gain of reflective data over general reasoning", float((reflective - general).mean()), "> 0")


def compare_choices(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """Chosen and random samples at every size; the curve is what the target is read from."""
    curve: dict[str, dict[str, list[float]]] = {
        way: {str(share): [] for share in SHARES} for way in ("curated", "random")
    }
    for seed in range(arguments.seeds):
        for way, shares in curve.items():
            for share in SHARES:
                body = choice_body(way, share, seed, arguments.choice_samples)
                shares[str(share)].append(round(share_right(answered(body, folder)), 4))
                print(f"{way}, {share} of the data, seed {seed}: {shares[str(share)][-1]:.3f} right", flush=True)
    results.details["data-efficiency"] = curve
    for name, fewer, more in (("a quarter", 0.25, 0.5), ("an eighth", 0.125, 0.25)):
        gain = mean(curve["curated"][str(fewer)]) - mean(curve["random"][str(more)])
        results.target(f"{name} of the data, chosen, against twice as much at random", gain, ">= 0")


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Both comparisons, or the one that is named."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.only != "choices":
            compare_reasoning(results, arguments, folder)
        if arguments.only != "reasoning":
            compare_choices(results, arguments, folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=int, default=1200, help="samples of data of each sort")
    parser.add_argument("--samples", type=int, default=4800, help="samples trained on, with repeats")
    parser.add_argument("--choice-samples", type=int, default=6000, help="the same for chosen and random data")
    parser.add_argument("--only", choices=("reasoning", "choices"), help="one of the two comparisons")
    parser.add_argument("--folder", type=Path, help="keep the runs here, and go on from what is there")


if __name__ == "__main__":
    main("reasoning", run, add_arguments)
