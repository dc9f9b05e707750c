"""Learning from rewards on the demo: does the reward rise, and do held-out answers become better?"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Results, main

from infimed_core import load_plugins
from infimed_core.run import run as do_run
from infimed_core.runfile.loading import load_run_file

KINDS = ["plane", "position"]
"""What is taught and asked: few kinds, so that minutes on a laptop are enough to learn from rewards."""
ASKED = [{"where": {"stage": stage, "form": ["open", "option-text"]}} for stage in ("general", "medical")]
ACCURACY = {"use": "strict-accuracy", "with": {"grader": {"use": "demo-vqa"}}, "weight": 0.9}
LENGTH = {"use": "length", "with": {"most_tokens": 8, "limit": 12}, "weight": 0.1}
DRAWN: dict[str, Any] = {"rollouts": 8, "max_new_tokens": 12, "questions_at_once": 16, "rewards": [ACCURACY, LENGTH]}


def document(use: str, seed: int, folder: Path, sft_samples: int, steps: int) -> dict[str, Any]:
    """A run file: supervised fine-tuning, then learning from the answers' rewards, both graded on held-out images."""
    objective = DRAWN | ({"dynamic_sampling": True, "clip": [0.2, 0.28]} if use == "grpo" else {"beta": 0.1})
    taught = {"split": "train", "side": 64, "include_text": False, "kinds": KINDS, "forms": ["open", "option-text"]}
    return {
        "run": {"name": f"{use}-{seed}", "seed": seed, "directory": str(folder)},
        "data": {"sources": [{"use": "demo-anatomy", "with": taught}]},
        "model": {"use": "tiny-qwen3-vl", "with": {"answer_max_visual_tokens": 9}},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 9}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 1024}},
        "training": {
            "use": "staged",
            "with": {
                "stages": [
                    {
                        "name": "sft",
                        "mix": [{"where": {"stage": ["general", "medical"]}}],
                        "num_samples": sft_samples,
                        "learning_rate": 1e-3,
                    },
                    {
                        "name": "rlvr",
                        "mix": ASKED,
                        "rows_per_step": 12,
                        "num_steps": steps,
                        "learning_rate": 1e-4,
                        "warmup": 1,
                        "schedule": "constant",
                        "objective": {"use": use, "with": objective},
                    },
                ]
            },
        },
        "evaluation": {
            "benchmarks": [{"use": "demo-vqa", "with": {"side": 64, "max_samples": 600}}],
            "models": ["sft", "rlvr"],
            "compare_to": ["sft"],
        },
    }


def measured(use: str, seed: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run; its reward, its accuracy before and after, their paired difference, and the seconds of the stage."""
    file = folder / f"{use}-{seed}.json"
    file.write_text(json.dumps(document(use, seed, folder / "runs", arguments.sft_samples, arguments.steps)))
    registry = load_plugins()
    started = time.perf_counter()
    record = do_run(load_run_file(file, registry), registry, lambda event: None)
    seconds = time.perf_counter() - started
    details = next(step.details for step in record.steps if step.name == "train-rlvr")
    curve: Any = details["curve"]
    rewards = [entry["reward"] for entry in curve if "reward" in entry]
    share = max(1, len(rewards) // 5)
    values = {model: _accuracy(record, model) for model in ("sft", "rlvr")}
    compared = next(c for c in record.comparisons if (c.model, c.against, c.metric) == ("rlvr", "sft", "accuracy"))
    return {
        "use": use,
        "seed": seed,
        "seconds": seconds,
        "stage_seconds": details["seconds"],
        "reward_first": float(np.mean(rewards[:share])),
        "reward_last": float(np.mean(rewards[-share:])),
        "pass_at_1": [entry.get("pass_at_1") for entry in curve],
        "accuracy": values,
        "difference": [compared.difference, compared.low, compared.high],
    }


def _accuracy(record: Any, model: str) -> float:
    """Over the held-out questions of the kinds that were taught."""
    rows = [
        row for row in record.results if row.model == model and row.group.get("kind") in KINDS and len(row.group) == 1
    ]
    metrics = [row.metrics["accuracy"] for row in rows]
    return sum(metric.value * metric.num_counted for metric in metrics) / sum(metric.num_counted for metric in metrics)


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Every objective with every seed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runs = [measured(use, seed, folder, arguments) for use in arguments.use for seed in range(arguments.seeds)]
    results.details["runs"] = runs
    for use in arguments.use:
        own = [one for one in runs if one["use"] == use]
        rises = [one["reward_last"] - one["reward_first"] for one in own]
        gains = [one["accuracy"]["rlvr"] - one["accuracy"]["sft"] for one in own]
        results.target(f"{use}: seeds whose mean reward rises", sum(rise > 0 for rise in rises), f"== {len(own)}")
        results.target(f"{use}: mean gain of held-out accuracy", float(np.mean(gains)), "> 0")
        results.target(f"{use}: lower end of its 95% interval over seeds", lowest(gains), "> 0")
        results.target(f"{use}: longest run, seconds", max(one["seconds"] for one in own), "<= 600")


def lowest(values: list[float]) -> float | None:
    """Lower end of Student's interval of the mean; ``None`` for a single value."""
    from scipy import stats

    if len(values) < 2:
        return None
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values) - stats.t.ppf(0.975, len(values) - 1) * spread)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--use", nargs="+", default=["grpo", "dpo"], help="objectives")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--sft-samples", type=int, default=1200)
    parser.add_argument("--folder", type=Path, help="keep the runs here")


if __name__ == "__main__":
    main("reinforcement", run, add_arguments)
