"""Does the packer decide what is learned? Equal samples and equal steps, packed in order, by next fit, and padded."""

from __future__ import annotations

import argparse
import io
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, main, table
from PIL import Image as Picture
from scipy import stats

from infimed_core import Generation, Media, MediaLoader, Packer, Request, Sample, TrainingContext, Turn
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, store_media, write_samples
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit, NextFit
from infimed_plugins.packing.padding import Padded, PaddedSorted
from infimed_plugins.resolution.schedulers import Fixed
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL

SIDE, CAP = 64, 4
TINTS, LIGHTS = ("red", "green", "blue"), ("black", "dark", "pale", "white")
QUESTIONS = {
    "tint": "Tint?",
    "light": "How light is the picture on the whole?",
    "side": "One half of this picture is lit more than the other one. Say which of the two it is: the left or the right.",
    "end": "Beside what was asked before there is one end of the picture with more texture in it than the other end has. "
    "Tell me in one word whether this end is the upper or the lower one.",
    "stripes": "This is the last question that is asked of a picture of this kind, and it is a long one: leave its light and "
    "its tint aside, look for fine stripes that run from the left to the right over the whole of it, and say whether "
    "there are any or none.",
}
"""Five templates: the length of a sample nearly tells its kind, as in many medical sets of questions."""
WAYS = ("best-fit", "next-fit", "padded", "padded-sorted")
"""The last is the control: it puts samples of one length, and so of one kind, into one row."""
RATE = 3e-3
ROWS_A_STEP, IN_A_ROW, SAMPLES, QUESTIONS_ASKED = 2, 12, 1440, 400
SEEDS = 5
MODEL: dict[str, Any] = {
    "vocab_size": 512,
    "layers": 2,
    "vision_layers": 1,
    "hidden_size": 96,
    "intermediate_size": 256,
}


def made_samples(count: int, seed: int, prefix: str) -> list[Sample]:
    """Questions of all templates about pictures of their own, in random order."""
    random = np.random.default_rng([seed, len(prefix)])
    found = []
    for number in range(count):
        light, tint = int(random.integers(4)), int(random.integers(3))
        right, lower, striped = (int(flag) for flag in random.integers(0, 2, 3))
        pixels = np.full((SIDE, SIDE, 3), 30.0 + 55.0 * light)
        pixels[:, :, tint] += 45
        half = slice(SIDE // 2 * right, SIDE // 2 * (right + 1))
        pixels[:, half] += 25
        end = slice(SIDE // 2 * lower, SIDE // 2 * (lower + 1))
        pixels[end] += random.normal(0, 18, pixels[end].shape)
        pixels[:: 4 if striped else SIDE] -= 25
        stream = io.BytesIO()
        Picture.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, format="PNG")
        answers = {"tint": TINTS[tint], "light": LIGHTS[light], "side": ("left", "right")[right],
                   "end": ("upper", "lower")[lower], "stripes": ("none", "stripes")[striped]}  # fmt: skip
        kind = list(QUESTIONS)[random.integers(len(QUESTIONS))]
        turns = (Turn(role="user", content=(0, QUESTIONS[kind])), Turn(role="assistant", content=(answers[kind],)))
        media = (Media(data=stream.getvalue()),)
        found.append(Sample(id=f"{prefix}-{number}", turns=turns, media=media, tags={"kind": kind}))
    return found


def packer_of(way: str, row_tokens: int) -> Packer:
    """The packer of a way; padded rows hold as many samples as packed rows do on average."""
    if way in ("best-fit", "next-fit"):
        return (BestFit if way == "best-fit" else NextFit)(row_tokens=row_tokens)
    return (Padded if way == "padded" else PaddedSorted)(row_tokens=10**6, batch_size=IN_A_ROW)


def planned(way: str, index: Any, stage: Any, encoder: Any, seed: int, num_steps: int) -> Any:
    """The plan of a way with exactly ``num_steps`` steps; packed rows are made a little longer or shorter for it."""
    mean = float(index.text.mean() + CAP)
    first = round(mean * IN_A_ROW)
    for change in range(0, first // 2, 4):
        for tokens in {first + change, first - change}:
            allowed = np.ones(len(index), dtype=bool)
            cap = Fixed(max_visual_tokens=CAP)
            plan = plan_stage(index, stage, cap, packer_of(way, tokens), encoder, seed, allowed)
            if len(plan.steps) - 1 == num_steps and not plan.dropped.any():
                return plan
    raise RuntimeError(f"no length of row gives '{way}' {num_steps} steps")


def train_once(way: str, seed: int) -> dict[str, Any]:
    """Train the tiny model once and ask it the held-out questions."""
    torch.set_num_threads(1)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        samples = [store_media(sample, place / "media") for sample in made_samples(SAMPLES, seed, "train")]
        asked = made_samples(QUESTIONS_ASKED, seed, "held-out")
        write_samples(place / "samples.jsonl", samples)
        dataset, media = Dataset(place / "samples.jsonl"), MediaLoader({"image": Image()})
        source = TinyQwen3VL(**MODEL, answer_max_visual_tokens=CAP, device="cpu")
        texts = [turn.text for sample in samples for turn in sample.turns]
        model: Any = source.load(source.prepare(place / "model", lambda: texts, seed))
        settings = {"name": "one", "learning_rate": RATE, "rows_per_step": ROWS_A_STEP, "save_every": 10**6}
        trainer = StagedTrainer(stages=(settings,))
        index = build_index(dataset, model.encoder, media)
        num_steps = SAMPLES // (ROWS_A_STEP * IN_A_ROW)
        plan = planned(way, index, trainer.stages[0], model.encoder, seed, num_steps)
        batches = PlannedBatches(dataset, plan, model.encoder, media)
        context = TrainingContext(place / "state", seed, lambda kind, payload: None)
        facts = trainer.train(model, batches, trainer.stages[0], context)
        generation = Generation(max_new_tokens=4)
        requests = [
            Request(sample_id=one.id, turns=one.turns[:1], media=one.media, generation=generation) for one in asked
        ]
        answers = {answer.sample_id: answer.text for answer in model.answer(requests, media)}
    right = {one.id: answers[one.id] == one.turns[1].text for one in asked}
    kinds = {kind: float(np.mean([right[one.id] for one in asked if one.tags["kind"] == kind])) for kind in QUESTIONS}
    alike = plan.mixing["kinds"]["kind"]
    return {
        "way": way, "seed": seed, "samples": facts["samples"], "steps": facts["steps"], "rows": len(plan.packs),
        "alike in rows": alike["row"] / alike["random"], "alike in steps": alike["step"] / alike["random"],
        "loss_last": facts["loss_last"], "accuracy": float(np.mean(list(right.values()))), "by kind": kinds,
        "processor seconds": time.process_time() - started,
    }  # fmt: skip


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Mean and 95% interval (Student's t) of paired differences between seeds."""
    mean, count = float(np.mean(differences)), len(differences)
    half = (
        float(stats.t.ppf(0.975, count - 1) * np.std(differences, ddof=1) / math.sqrt(count)) if count > 1 else math.inf
    )
    return mean, mean - half, mean + half


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Every way with every seed, and the differences to padding over the same seeds."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for seed in range(arguments.seeds):
        for way in WAYS:
            file = arguments.runs / f"{way}-{seed}.json" if arguments.runs else None
            if file is None or not file.exists():
                one = train_once(way, seed)
                if file is not None:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(json.dumps(one))
            else:
                one = json.loads(file.read_text())
            found[way].append(one)
            print(way, seed, f"{one['accuracy']:.3f}", flush=True)
    rows = []
    for way, runs in found.items():
        pairs = [one["accuracy"] - other["accuracy"] for one, other in zip(runs, found["padded"], strict=True)]
        mean, low, high = interval(pairs)
        scores = [one["accuracy"] for one in runs]
        told = "" if way == "padded" else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows.append([way, float(np.mean(scores)), told, float(np.mean([one["alike in steps"] for one in runs]))])
        if way in ("best-fit", "next-fit"):
            results.target(f"{way}: the interval of its difference to padded holds 0", low <= 0 <= high, "== True")
    table(["way", "accuracy", "minus padded [95%]", "pairs of one kind in steps, over random"], rows)
    same = {(one["samples"], one["steps"]) for runs in found.values() for one in runs}
    results.target("different numbers of samples or steps", len(same) - 1, "== 0")
    results.details["ways"], results.details["runs"] = rows, found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--runs", type=Path, help="keep each training's result here, and do none twice")


if __name__ == "__main__":
    main("learned", measure, add_arguments)
