"""Learning from rewards on the demo: does the reward rise, and do held-out answers become better?

Of every seed one model learns from answers for a while, so that it is often right and seldom sure. From it learn, on
the same questions, ``grpo`` from the rewards of its own answers, ``dpo`` from its best and worst ones, and, to compare,
more of the first learning (``sft``) with as many questions. With ``--folder`` what is finished stays, and the same
command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Results, main

from infimed_core import MediaLoader, Request, Sample, TrainingContext
from infimed_core.evaluate.paired_comparison import mean_difference
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.demo.vqa import DemoVqa
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.packing.padding import Padded
from infimed_plugins.resolution.schedulers import Fixed
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.tiny import TinyQwen3VL

KINDS, FORMS = ("coverage", "brightest_side"), ("open", "option-text")
"""What is taught and asked: what can be seen in few visual tokens, with short answers."""
SIDE, CAP = 64, 4
SIZE = {
    "layers": 2, "hidden_size": 64, "intermediate_size": 128, "heads": 2, "key_value_heads": 1, "vision_layers": 2,
    "vision_hidden_size": 64, "vision_intermediate_size": 128, "vision_heads": 2, "vocab_size": 400,
}  # fmt: skip
RATES = {"sft": 1e-3, "grpo": 3e-4, "dpo": 3e-4}
"""Learning rates; that of grpo is the better of 3e-4 and 1e-3 on the validation pictures, with seed 100."""
QUESTIONS = 16
"""Questions in a step."""
ACCURACY = {"use": "strict-accuracy", "with": {"grader": {"use": "demo-vqa"}, "unreadable": 0.0}}
DRAWN = {"rollouts": 8, "max_new_tokens": 6, "questions_at_once": QUESTIONS, "row_tokens": 1024, "rewards": [ACCURACY]}
LOADER = MediaLoader({"image": Image()})


def taught() -> list[Sample]:
    """Single questions about training pictures."""
    reader = DemoAnatomy(side=SIDE, include_text=False, kinds=KINDS, forms=FORMS, stages=("cross-domain",))
    found = [sample for sample in reader.read("") if isinstance(sample, Sample) and len(sample.turns) == 2]
    return [sample for sample in found if sample.tags["form"] in FORMS]


def held_out(split: Any) -> tuple[DemoVqa, list[Sample]]:
    """The questions about held-out pictures, of the same kinds and forms."""
    benchmark = DemoVqa(side=SIDE, split=split)
    found = [sample for sample in benchmark.samples() if isinstance(sample, Sample)]
    return benchmark, [s for s in found if s.tags["kind"] in KINDS and s.tags["form"] in FORMS]


def stage_of(use: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of a stage after the first."""
    if use == "sft":
        return {"num_samples": arguments.steps * QUESTIONS, "learning_rate": RATES[use], "rows_per_step": 1}
    own: dict[str, Any] = {"beta": 0.1, "sft_weight": arguments.sft_weight} if use == "dpo" else {"clip": [0.2, 0.28]}
    return {
        "rows_per_step": QUESTIONS, "num_steps": arguments.steps, "learning_rate": RATES[use], "warmup": 1,
        "schedule": "constant", "objective": {"use": use, "with": {**DRAWN, **own}},
    }  # fmt: skip


def learned(checkpoint: Path, samples: Sequence[Sample], stage: Mapping[str, Any], seed: int, folder: Path) -> tuple[Path, dict[str, Any]]:  # fmt: skip  # noqa: E501
    """Train a stage from a checkpoint; the trained checkpoint and the facts of the stage."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network = Transformers(checkpoint=str(checkpoint), device="cpu", answer_max_visual_tokens=CAP).load(None)
    write_samples(folder / "samples.jsonl", samples)
    data = Dataset(folder / "samples.jsonl")
    trainer = StagedTrainer(stages=({"name": "stage", "save_every": 10**6, **stage},))
    packer = Padded(batch_size=1, row_tokens=2**30) if "objective" in stage else BestFit(row_tokens=256)
    plan = plan_stage(
        build_index(data, network.encoder, LOADER), trainer.stages[0], Fixed(max_visual_tokens=CAP), packer,
        network.encoder, seed, np.ones(len(data), dtype=bool),
    )  # fmt: skip
    context = TrainingContext(directory=folder / "state", seed=seed, emit=lambda *_: None)
    facts = trainer.train(network, PlannedBatches(data, plan, network.encoder, LOADER), trainer.stages[0], context)
    shutil.copytree(checkpoint, folder / "trained", ignore=shutil.ignore_patterns("*.safetensors"))
    network.save(folder / "trained")
    return folder / "trained", facts


def scores_of(checkpoint: Path, benchmark: DemoVqa, questions: Sequence[Sample]) -> dict[str, float]:
    """Greedy answers, graded; what cannot be read is wrong."""
    network = Transformers(checkpoint=str(checkpoint), device="cpu", answer_max_visual_tokens=CAP).load(None)
    by_id = {sample.id: sample for sample in questions}
    asked = [
        Request(sample_id=s.id, turns=s.turns, media=s.media, generation=benchmark.generation()) for s in questions
    ]
    answers = network.answer(asked, LOADER)
    return {a.sample_id: benchmark.grade(by_id[a.sample_id], a, "strict").value or 0.0 for a in answers}


def of_seed(seed: int, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every objective from one fine-tuned model: scores of every held-out question, and the stages' curves."""
    kept, folder = folder / f"seed-{seed}.json", folder / f"{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    samples, (benchmark, questions) = taught(), held_out(arguments.split)
    tuned = folder / "first" / "trained"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
    else:
        started, cpu = time.perf_counter(), time.process_time()
        maker = TinyQwen3VL(device="cpu", answer_max_visual_tokens=CAP, **SIZE)
        base = maker.prepare(folder / "base", lambda: (turn.text for s in samples for turn in s.turns), seed)
        first = {"num_samples": arguments.sft_samples, "learning_rate": 1e-3, "rows_per_step": 1}
        learned(base, samples, first, seed, folder / "first")
        shared = time.perf_counter() - started, time.process_time() - cpu
        found = {"seed": seed, "images": {s.id: s.tags["image"] for s in questions}, "ways": {}, "shared": shared}
        found["first"] = scores_of(tuned, benchmark, questions)
        kept.write_text(json.dumps(found))
    for use in [one for one in arguments.use if one not in found["ways"]]:
        began, cpu = time.perf_counter(), time.process_time()
        trained, facts = learned(tuned, samples, stage_of(use, arguments), seed, folder / use)
        scores = scores_of(trained, benchmark, questions)
        keep = (
            "reward", "pass_at_1", "pass_at_k", "groups_that_differ", "entropy", "clip_share", "answer_tokens",
            "chosen_reward", "rejected_reward",
        )  # fmt: skip
        curve = [
            {name: round(entry[name], 4) for name in keep if entry.get(name) is not None} for entry in facts["curve"]
        ]
        found["ways"][use] = {
            "scores": scores, "curve": curve if use != "sft" else [], "stage_seconds": facts["seconds"],
            "seconds": time.perf_counter() - began + found["shared"][0],
            "cpu_seconds": time.process_time() - cpu + found["shared"][1],
        }  # fmt: skip
        kept.write_text(json.dumps(found))
        print(f"seed {seed}, {use}: {_mean(found['first']):.3f} -> {_mean(scores):.3f}", flush=True)
    return found


def _mean(scores: Mapping[str, float]) -> float:
    return float(np.mean(list(scores.values())))


def told(results: Results, use: str, seeds: Sequence[Mapping[str, Any]]) -> None:
    """The gain over the fine-tuned model, paired over questions and clustered by picture, the seeds pooled."""
    one, other, clusters = [], [], []
    for found in seeds:
        for identity, score in found["ways"][use]["scores"].items():
            one.append(score)
            other.append(found["first"][identity])
            clusters.append(found["images"][identity])
    paired = mean_difference(np.array(one), np.array(other), clusters)
    assert paired is not None
    ends = [_ends([entry["reward"] for entry in f["ways"][use]["curve"] if "reward" in entry]) for f in seeds]
    gains = [_mean(f["ways"][use]["scores"]) - _mean(f["first"]) for f in seeds]
    results.details[use] = {
        "accuracy before": [round(_mean(f["first"]), 4) for f in seeds],
        "accuracy after": [round(_mean(f["ways"][use]["scores"]), 4) for f in seeds],
        "gain, seeds pooled": [round(v, 4) for v in (paired.difference, paired.low, paired.high)],
        "lower end of Student's interval over seeds": lowest(gains),
        "questions": len(seeds[0]["images"]),
        "reward, first and last fifth": ends,
        "seconds": [round(f["ways"][use]["seconds"], 1) for f in seeds],
        "cpu_seconds": [round(f["ways"][use]["cpu_seconds"], 1) for f in seeds],
        "stage_seconds": [round(f["ways"][use]["stage_seconds"], 1) for f in seeds],
        "curves": [f["ways"][use]["curve"] for f in seeds],
    }
    results.target(f"{use}: seeds", len(seeds), ">= 3")
    results.target(f"{use}: gain of held-out accuracy", paired.difference, "> 0")
    results.target(f"{use}: lower end of its 95% interval", paired.low, "> 0")
    if use != "sft":
        results.target(f"{use}: seeds whose mean reward rises", sum(b > a for a, b in ends), f"== {len(ends)}")
        most = max(f["ways"][use]["cpu_seconds"] for f in seeds)
        results.target(f"{use}: longest seed, seconds of one core, fine-tuning included", most, "<= 600")


def _ends(curve: Sequence[float]) -> tuple[float, float]:
    share = max(1, len(curve) // 5)
    return (round(float(np.mean(curve[:share])), 4), round(float(np.mean(curve[-share:])), 4)) if curve else (0.0, 0.0)


def lowest(values: Sequence[float]) -> float | None:
    """Lower end of Student's interval of the mean; ``None`` for a single value."""
    from scipy import stats

    if len(values) < 2:
        return None
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values) - stats.t.ppf(0.975, len(values) - 1) * spread)


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Every seed with every objective."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        found = [of_seed(seed, arguments, folder) for seed in arguments.seeds]
        for use in arguments.use:
            told(results, use, found)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--use", nargs="+", default=["grpo", "dpo", "sft"], help="objectives")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--sft-samples", type=int, default=800)
    parser.add_argument("--sft-weight", type=float, default=1.0, help="weight of a chosen answer's own loss in dpo")
    parser.add_argument("--split", default="test", help="held-out pictures; 'validation' to choose settings by")
    parser.add_argument("--folder", type=Path, help="keep the runs here, and go on from what is there")


if __name__ == "__main__":
    main("reinforcement", run, add_arguments)
