"""Ours and TRL's GRPOTrainer from one tiny LLaVA: the same questions, steps and number of answers; reward and time.

Both begin with the weights of one short fine-tuning. Rounds are in turns, after one of two steps that warms up. With
``--folder`` what is finished stays, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, main, needs
from peers import SIDE, make_llava, train_ours

from infimed_core import Answer, MediaLoader, Sample, TrainingContext
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.demo.vqa import DemoVqa
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.padding import Padded
from infimed_plugins.resolution.schedulers import Fixed
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.checkpoint import Transformers

QUESTIONS, ROLLOUTS, MOST_TOKENS = 8, 8, 8
TOKENS_OF_PICTURE = (SIDE // 16) ** 2
KINDS, FORMS = ("coverage", "brightest_side"), ("open", "option-text")
RATE = 3e-4
"""Learning rate of both."""


def questions_of(kinds: Sequence[str], count: int) -> list[Sample]:
    """Single questions of the demo about training pictures, in random order, repeated after a full pass."""
    reader = DemoAnatomy(side=SIDE, include_text=False, kinds=tuple(kinds), forms=FORMS, stages=("cross-domain",))
    found = [s for s in reader.read("") if isinstance(s, Sample) and s.tags["form"] in FORMS and len(s.turns) == 2]
    random = np.random.default_rng(0)
    order = np.concatenate([random.permutation(len(found)) for _ in range(-(-count // len(found)))])[:count]
    return [found[i].model_copy(update={"id": f"{found[i].id}~{place}"}) for place, i in enumerate(order.tolist())]


Timed = tuple[float, float, list[float]]
"""Seconds, seconds of the processor (a machine that is shared changes the former alone), and every step's reward."""


def ours(model: Any, samples: Sequence[Sample], folder: Path, rate: float) -> Timed:
    """The stage, its plan included."""
    network, loader = model.load(None), MediaLoader({"image": Image()})
    write_samples(folder / "samples.jsonl", samples)
    accuracy = {"use": "strict-accuracy", "with": {"grader": {"use": "demo-vqa"}, "unreadable": 0.0}}
    drawn = {"rollouts": ROLLOUTS, "max_new_tokens": MOST_TOKENS, "questions_at_once": QUESTIONS, "row_tokens": 1024}
    stage = {
        "name": "rlvr", "rows_per_step": QUESTIONS, "num_steps": len(samples) // QUESTIONS, "learning_rate": rate,
        "warmup": 0, "schedule": "constant", "save_every": 10**6,
        "objective": {"use": "grpo", "with": {**drawn, "rewards": [accuracy]}},
    }  # fmt: skip
    started, cpu = time.perf_counter(), time.process_time()
    data = Dataset(folder / "samples.jsonl")
    trainer = StagedTrainer(stages=(stage,))
    plan = plan_stage(
        build_index(data, network.encoder, loader), trainer.stages[0], Fixed(max_visual_tokens=TOKENS_OF_PICTURE),
        Padded(batch_size=1, row_tokens=2**30), network.encoder, 0, np.ones(len(data), dtype=bool),
    )  # fmt: skip
    batches = PlannedBatches(data, plan, network.encoder, loader)
    context = TrainingContext(directory=folder / "state", seed=0, emit=lambda *_: None)
    facts = trainer.train(network, batches, trainer.stages[0], context)
    spent = time.perf_counter() - started, time.process_time() - cpu
    return *spent, [float(entry["reward"]) for entry in facts["curve"]]


def theirs(checkpoint: Path, samples: Sequence[Sample], folder: Path, rate: float) -> Timed:
    """The same by TRL, with what differs from its defaults set as ours."""
    import datasets
    from PIL import Image as Pictures
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from trl import GRPOConfig, GRPOTrainer

    module = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")
    grader, loader, by_place = DemoVqa(), MediaLoader({"image": Image()}), dict(enumerate(samples))

    def reward(completions: Sequence[Any], place: Sequence[int], **_: Any) -> list[float]:
        texts = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
        answers = [Answer(sample_id=by_place[i].id, text=text.strip()) for i, text in zip(place, texts, strict=True)]
        pairs = zip(place, answers, strict=True)
        return [grader.grade(by_place[i], answer, "strict").value or 0.0 for i, answer in pairs]

    rows = [
        {
            "prompt": [{"role": "user", "content": "".join(p for p in s.turns[0].content if isinstance(p, str))}],
            "image": Pictures.fromarray(loader.load(s.media[0])).convert("RGB"),
            "place": place,
        }
        for place, s in enumerate(samples)
    ]
    started, cpu = time.perf_counter(), time.process_time()
    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=QUESTIONS * ROLLOUTS, num_generations=ROLLOUTS,
        max_completion_length=MOST_TOKENS, max_steps=len(samples) // QUESTIONS, learning_rate=rate, warmup_steps=0,
        lr_scheduler_type="constant", weight_decay=0.01, adam_beta2=0.95, beta=0.0, loss_type="grpo", temperature=1.0,
        use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no", report_to=[], logging_steps=1,
        disable_tqdm=True, dataloader_pin_memory=False, seed=0, shuffle_dataset=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=module, reward_funcs=reward, args=arguments, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoProcessor.from_pretrained(checkpoint),
    )  # fmt: skip
    trainer.train()
    spent = time.perf_counter() - started, time.process_time() - cpu
    return *spent, [float(entry["reward"]) for entry in trainer.state.log_history if "reward" in entry]


def fine_tuned(folder: Path, samples: int) -> Path:
    """The checkpoint that both begin with."""
    tuned = folder / "sft" / "trained"
    if (tuned / "finished").is_file():
        return tuned
    taught, loader = questions_of(KINDS, samples), MediaLoader({"image": Image()})
    checkpoint = make_llava(folder / "llava", [turn.text for sample in taught for turn in sample.turns])
    first = Transformers(checkpoint=str(checkpoint), device="cpu", answer_max_visual_tokens=None)
    (folder / "sft").mkdir(exist_ok=True)
    train_ours(first, checkpoint, taught, loader, [TOKENS_OF_PICTURE], folder / "sft")
    for part in checkpoint.iterdir():
        if not (tuned / part.name).exists():
            (tuned / part.name).write_bytes(part.read_bytes())
    (tuned / "finished").touch()
    return tuned


def one_round(name: str, tuned: Path, asked: Sequence[Sample], place: Path) -> Timed:
    """A training by ours or by TRL, or what it gave before."""
    if (kept := place / "kept.json").is_file():
        seconds, cpu, curve = json.loads(kept.read_text())
        return seconds, cpu, curve
    place.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "TRL":
            found = theirs(tuned, asked, place, RATE)
        else:
            model = Transformers(checkpoint=str(tuned), device="cpu", answer_max_visual_tokens=None)
            found = ours(model, asked, place, RATE)
    kept.write_text(json.dumps(found))
    print(f"{name}: {found[0]:.1f} s ({found[1]:.1f} s of CPU), reward {_ends(found[2])}", flush=True)
    return found


def compare(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """Rounds in turns; the medians count."""
    tuned, asked = fine_tuned(folder, arguments.sft_samples), questions_of(KINDS, arguments.steps * QUESTIONS)
    found: dict[str, list[Timed]] = {"ours": [], "TRL": []}
    for number in range(arguments.rounds + 1):
        for name, rounds in found.items():
            rounds.append(
                one_round(name, tuned, asked if number else asked[: 2 * QUESTIONS], folder / f"{name}-{number}")
            )
    results.details["rounds"] = {
        name: [
            {"seconds": round(s, 1), "cpu_seconds": round(c, 1), "reward": [round(r, 4) for r in curve]}
            for s, c, curve in rounds[1:]
        ]
        for name, rounds in found.items()
    }
    pairs = list(zip(found["ours"][1:], found["TRL"][1:], strict=True))
    means = [float(np.mean(one[2])) - float(np.mean(other[2])) for one, other in pairs]
    gaps = [_ends(one[2])[1] - _ends(other[2])[1] for one, other in pairs]
    results.target("mean reward of all steps, ours minus TRL's", statistics.median(means), ">= 0")
    results.target("reward of the last fifth of the steps, ours minus TRL's", statistics.median(gaps), ">= 0")
    ratio = statistics.median(one[1] / other[1] for one, other in pairs)
    results.target("seconds of CPU, ours over TRL's", ratio, "<= 0.5")


def _ends(curve: Sequence[float]) -> tuple[float, float]:
    share = max(1, len(curve) // 5)
    return round(float(np.mean(curve[:share])), 3), round(float(np.mean(curve[-share:])), 3)


def run(results: Results, arguments: argparse.Namespace) -> None:
    """The comparison, in a folder that stays or one that does not."""
    needs({"trl": "trl==1.16.0", "datasets": "datasets"}, "comparison with TRL")
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        compare(results, arguments, folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sft-samples", type=int, default=1600)
    parser.add_argument("--folder", type=Path, help="keep what is finished here, and go on from it")


if __name__ == "__main__":
    main("reinforcement_peer", run, add_arguments)
