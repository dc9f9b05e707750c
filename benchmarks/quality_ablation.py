"""Does choosing by quality pay? The same model and budget of tokens on the top, a random and the bottom half of damaged
data, and on the top half with each dimension left out."""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import Results, environment, main, table

from infimed_core import load_plugins
from infimed_core.records import Graded, Run, open_run
from infimed_plugins.quality.profile import DIMENSIONS

EXAMPLE = Path(__file__).parent.parent / "examples" / "quality_ablation.yaml"
STAGE = "train"

HALF = {"keep": 0.5, "hard_minimums": False}
ARMS: dict[str, dict[str, Any]] = {
    "top": {"use": "top-share", "with": HALF},
    "random": {"use": "random-share", "with": {"keep": 0.5}},
    "bottom": {"use": "bottom-share", "with": {"keep": 0.5, "on_null": "keep"}},
    **{f"top without {name}": {"use": "top-share", "with": {**HALF, "without": [name]}} for name in DIMENSIONS},
}


def run(document: dict[str, Any], file: Path) -> Run:
    """Run a document as a run file, in a process of its own."""
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("infimed-run")), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    section = document["run"]
    return open_run(Path(section["directory"]) / section["name"])


class Seed:
    """The arms of one seed: data, damage, base model and order of training all follow it."""

    def __init__(self, document: dict[str, Any], seed: int, folder: Path) -> None:
        self.document = copy.deepcopy(document)
        self.document["run"] |= {"seed": seed, "name": f"seed-{seed}", "directory": str(folder)}
        self.document["data"]["sources"][0]["with"]["seed"] = seed
        self.document.pop("report", None)
        self.folder = folder
        self.seed = seed
        base = {key: self.document[key] for key in ("run", "data", "model")}
        finished = run(base, folder / f"seed-{seed}-base.yaml")
        self.directory = folder / f"seed-{seed}"
        self.checkpoint = finished.artifact(finished.step("model")) / "checkpoint"
        self.samples = finished.dataset
        source = {"use": "transformers", "with": {"checkpoint": str(self.checkpoint), "dtype": "float32"}}
        source["with"] |= {
            key: value for key, value in self.document["model"]["with"].items() if key.startswith("answer_")
        }
        self.document["model"] = source
        model = load_plugins().find("model", "transformers").model_validate(source["with"])
        encoder = model.encoder(self.checkpoint)
        tokens = encoder.text_lengths(list(self.samples)).tokens
        visual = self.document["resolution"]["with"]["max_visual_tokens"]
        used = np.array([sum(len(turn.media_indices) for turn in row.turns) for row in self.samples])
        self.tokens = tokens + visual * used
        self.defects = [row.tags.get("defect", "none") for row in self.samples]

    def arm(self, name: str, budget: int) -> dict[str, Any]:
        """Select, then train on as many samples as the budget of tokens allows, then ask."""
        document = copy.deepcopy(self.document)
        document["quality"]["select"] = ARMS[name]
        stem = f"seed-{self.seed}-{name.replace(' ', '-')}"
        selected = {key: document[key] for key in ("run", "data", "quality")}
        finished = run(selected, self.folder / f"{stem}-select.yaml")
        chosen = [number for number, row in enumerate(finished.samples()) if not row.rejected]
        stage = document["training"]["with"]["stages"][0]
        stage["num_samples"] = round(budget / float(self.tokens[chosen].mean()))
        document["evaluation"]["models"] = [STAGE]
        finished = run(document, self.folder / f"{stem}.yaml")
        trained = finished.step("train", stage=STAGE).details
        return {
            "kept": dict(Counter(self.defects[row] for row in chosen)),
            "num_samples": stage["num_samples"],
            "tokens": trained["tokens"],
            "loss_last": trained["loss_last"],
            "commit": environment()["commit"],
            **self.accuracy(finished.answers("demo-vqa", STAGE)),
        }

    def accuracy(self, answers: Iterable[Graded]) -> dict[str, Any]:
        """Share of right answers among the kinds and forms that were taught; an answer not understood is wrong."""
        taught = self.document["data"]["sources"][0]["with"]
        right: list[bool] = []
        by_kind: dict[str, list[bool]] = {}
        for answer in answers:
            tags = answer.sample.tags
            if tags["form"] in taught["forms"] and tags["kind"] in taught["kinds"]:
                right.append(answer.scores["strict"].value == 1.0)
                by_kind.setdefault(tags["kind"], []).append(right[-1])
        return {
            "num_questions": len(right),
            "accuracy": float(np.mean(right)),
            "by_kind": {kind: round(float(np.mean(found)), 4) for kind, found in sorted(by_kind.items())},
        }


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Every arm on every seed; arms that stand from an earlier call in the same folder are not run again."""
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    document["evaluation"]["benchmarks"] = [{"use": "demo-vqa", "with": {"split": arguments.split}}]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(arguments.seeds):
        own: Seed | None = None
        for name in arguments.arms or ARMS:
            kept = arguments.folder / f"result-{arguments.split}-{seed}-{name.replace(' ', '-')}.json"
            if not kept.exists():
                own = own or Seed(document, seed, arguments.folder.absolute())
                budget = document["training"]["with"]["stages"][0]["num_samples"] * float(own.tokens.mean())
                kept.write_text(json.dumps(own.arm(name, round(budget)), indent=1), encoding="utf-8")
            result = json.loads(kept.read_text(encoding="utf-8"))
            found.setdefault(name, []).append(result)
            print(f"seed {seed}, {name}: {result['accuracy']:.4f}", flush=True)
    means = {name: [row["accuracy"] for row in rows] for name, rows in found.items()}
    table(
        ["arm", *(f"seed {seed}" for seed in range(arguments.seeds)), "mean", "clean share", "tokens"],
        [
            [
                name,
                *means[name],
                float(np.mean(means[name])),
                float(np.mean([row["kept"].get("none", 0) / sum(row["kept"].values()) for row in found[name]])),
                round(float(np.mean([row["tokens"] for row in found[name]]))),
            ]
            for name in found
        ],
    )
    results.details["arms"] = found
    if {"top", "random", "bottom"} <= set(means):
        for better, worse in (("top", "random"), ("random", "bottom")):
            gaps = [a - b for a, b in zip(means[better], means[worse], strict=True)]
            results.target(f"{better} half minus {worse} half, mean of {len(gaps)} seeds", float(np.mean(gaps)), "> 0")
            results.target(f"{better} half minus {worse} half, least of {len(gaps)} seeds", min(gaps), "> 0")
        tokens = [[row["tokens"] for row in rows] for rows in zip(*found.values(), strict=True)]
        results.target(
            "largest over least tokens of the arms of a seed", max(max(own) / min(own) for own in tokens), "<= 1.01"
        )


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="seeds of data, damage, model and training")
    parser.add_argument("--arms", nargs="*", help="some of the arms; all by default")
    parser.add_argument("--split", default="test", choices=("test", "validation"), help="held-out questions to ask")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/quality-ablation"), help="runs; what is finished in it is kept"
    )


if __name__ == "__main__":
    main("quality_ablation", measure, arguments)
