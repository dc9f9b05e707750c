"""Does the packer decide what is learned? Equal samples and equal steps, packed in order, by next fit, and padded."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, main, table
from scipy import stats

from infimed_core import Generation, MediaLoader, Packer, Request, Sample, TrainingContext, Turn
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.packing.fitting import BestFit, NextFit
from infimed_plugins.packing.padding import Padded, PaddedSorted
from infimed_plugins.resolution.schedulers import Fixed
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL

THINGS = ("liver", "spleen", "kidney", "heart", "lung", "brain", "femur", "skull", "aorta", "colon", "ovary", "retina")
QUESTIONS = {
    "colour": ("Colour of the {}?", ("red", "green", "blue")),
    "side": ("On which side of the room is the jar with the {} kept?", ("left", "right")),
    "age": (
        "There is a label on every jar of this collection, and it tells how old is what lies in the jar. "
        "Is the {} new or old?",
        ("new", "old"),
    ),
    "weight": (
        "Beside the label there is a scale, on which each jar was put when it came, and the weight was written down in "
        "a book. Tell me in one word whether the {} was found to be light, middling or heavy by those who weighed it.",
        ("light", "middling", "heavy"),
    ),
    "giver": (
        "This is the last question that is asked of any jar of this kind, and it is a long one: leave its colour, its "
        "side, its age and its weight aside, go to the list of those who gave something to the collection, look for "
        "the line on which the {} is named, and say which of the three towns it came from.",
        ("Bern", "Graz", "Ulm"),
    ),
}
"""Five templates: the length of a sample nearly tells its kind, as in many medical sets of questions."""
WAYS = ("best-fit", "next-fit", "padded", "padded-sorted")
"""The last is the control: it puts samples of one length, and so of one kind, into one row."""
ROWS_A_STEP, IN_A_ROW, SAMPLES, RATE = 2, 10, 1200, 3e-3
SEEDS = 5
MODEL: dict[str, Any] = {
    "vocab_size": 512,
    "layers": 2,
    "vision_layers": 1,
    "hidden_size": 96,
    "intermediate_size": 256,
}


def made_facts(seed: int) -> list[Sample]:
    """Every question about every thing once, with answers drawn at random: facts to be learned by heart."""
    random = np.random.default_rng(seed)
    found = []
    for kind, (template, answers) in QUESTIONS.items():
        for thing in THINGS:
            answer = answers[int(random.integers(len(answers)))]
            turns = (
                Turn(role="user", content=(template.format(thing),)),
                Turn(role="assistant", content=(answer,)),
            )
            found.append(Sample(id=f"{kind}-{thing}", turns=turns, tags={"kind": kind}))
    return found


def packer_of(way: str, row_tokens: int) -> Packer:
    """The packer of a way; padded rows hold as many samples as packed rows do on average."""
    if way in ("best-fit", "next-fit"):
        return (BestFit if way == "best-fit" else NextFit)(row_tokens=row_tokens)
    return (Padded if way == "padded" else PaddedSorted)(row_tokens=10**6, batch_size=IN_A_ROW)


def planned(way: str, index: Any, stage: Any, encoder: Any, seed: int, num_steps: int) -> Any:
    """The plan of a way with exactly ``num_steps`` steps; packed rows are made a little longer or shorter for it."""
    mean = float(index.text.mean())
    first = round(mean * IN_A_ROW)
    for change in range(0, first // 2, 4):
        for tokens in {first + change, first - change}:
            allowed = np.ones(len(index), dtype=bool)
            cap = Fixed(max_visual_tokens=1)
            plan = plan_stage(index, stage, cap, packer_of(way, tokens), encoder, seed, allowed)
            if len(plan.steps) - 1 == num_steps and not plan.dropped.any():
                return plan
    raise RuntimeError(f"no length of row gives '{way}' {num_steps} steps")


def train_once(way: str, seed: int) -> dict[str, Any]:
    """Train the tiny model once and ask it for every fact."""
    torch.set_num_threads(1)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        asked = made_facts(seed)
        passes = range(SAMPLES // len(asked))
        samples = [one.model_copy(update={"id": f"{one.id}-{turn}"}) for turn in passes for one in asked]
        write_samples(place / "samples.jsonl", samples)
        dataset, media = Dataset(place / "samples.jsonl"), MediaLoader({})
        source = TinyQwen3VL(**MODEL, device="cpu")
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
        requests = [Request(sample_id=one.id, turns=one.turns[:1], generation=generation) for one in asked]
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
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in arguments.ways}
    for seed in range(arguments.seeds):
        for way in arguments.ways:
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
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="these alone; padded must be among them")
    parser.add_argument("--runs", type=Path, help="keep each training's result here, and do none twice")


if __name__ == "__main__":
    main("learned", measure, add_arguments)
