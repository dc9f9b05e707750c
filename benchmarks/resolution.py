"""Low-to-high resolution beside native only and low only: held-out accuracy against operations, on the demo."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, table
from resolution_picture import picture

from infimed_core import MediaLoader, Request, ResolutionScheduler, Sample, TrainingContext
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.demo.vqa import DemoVqa
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import Fixed, LowToHigh, Native
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.assemble import Assemble

SIDE = 192
"""Pixels along a side of an image."""
LOW_TOKENS = 16
SAMPLES, SAMPLES_A_ROW, RATE = 12000, 6, 1.5e-3
COUNTED_SAMPLES = 1200
"""Of the runs whose operations torch counts, which more than doubles their seconds."""
SCHEDULE = {"schedule": "warmup-stable-decay", "decay": 0.3}
"""Of every way alike. The rate is still at its top when the resolution rises; a cosine would have fallen far."""
KINDS = ("plane", "image_type", "tissue", "white_matter", "modality", "body_part", "coverage", "colour")
FORMS = ("open",)


@dataclass(frozen=True)
class Grid:
    """How fine native resolution is: pixels of a patch, tokens along a side, and low to high's share of few tokens.

    Low to high costs 0.6 of native's operations: the finer the grid, the less the few tokens cost beside it.
    """

    patch: int
    pool: int
    low_share: float

    @property
    def scheduler(self) -> LowToHigh:
        shares = {LOW_TOKENS: self.low_share, None: 1.0 - self.low_share}
        phases = [{"share": share, "max_visual_tokens": cap} for cap, share in shares.items()]
        return LowToHigh(phases=phases)


GRIDS = {144: Grid(16, 12, 0.655), 256: Grid(12, 16, 0.5545)}
"""By native's tokens an image; 144 as in InfiMed-Foundation's projector. The shares were chosen on the validation
split: `benchmarks/README.md` says what else was tried."""
NATIVE_TOKENS = 144
TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
LANGUAGE = {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 24, "max_position_embeddings": 4096}  # fmt: skip
WAYS = ("native", "low", "low-to-high", "native-early")
SHARES = {"native": 1.0, "low": 1.0, "low-to-high": 1.0, "native-early": 0.59}
"""Of the samples. Native stopped early shows what fewer samples alone cost, at as many operations as low to high."""
SEEDS = tuple(range(8))
"""Three were measured first; their mean was too uncertain to say whether it lies within ``EQUAL``."""
EQUAL = 0.03


def scheduler_of(way: str, grid: Grid) -> ResolutionScheduler:
    """How large the images of a way are, and when."""
    if way == "low-to-high":
        return grid.scheduler
    return Fixed(max_visual_tokens=LOW_TOKENS) if way == "low" else Native()


def parts(directory: Path, texts: list[str], seed: int, patch: int) -> tuple[Path, Path]:
    """A small SigLIP tower and a small Qwen3 with random weights, as two checkpoints."""
    from transformers import Qwen3Config, Qwen3ForCausalLM, SiglipVisionConfig, SiglipVisionModel

    from infimed_plugins.vlm.vocabulary import train_tokenizer
    from infimed_plugins.vlm.without_progress_bars import without_progress_bars

    torch.manual_seed(seed)
    tokenizer = train_tokenizer(texts, 1024)
    tower = SiglipVisionModel(SiglipVisionConfig(image_size=SIDE, patch_size=patch, **TOWER))
    language = Qwen3ForCausalLM(Qwen3Config(
        vocab_size=len(tokenizer), tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, **LANGUAGE,
    ))  # fmt: skip
    with without_progress_bars():
        tower.save_pretrained(directory / "tower")
        language.save_pretrained(directory / "language")
    tokenizer.save_pretrained(directory / "language")
    settings = {"image_processor_type": "SiglipImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    (directory / "tower" / "preprocessor_config.json").write_text(json.dumps(settings))
    return directory / "tower", directory / "language"


def questions_of(split: str) -> list[Sample]:
    """Held-out questions, each once: three draws of phrasings, which also reach more pictures than one."""
    found = {}
    for seed in range(3):
        for question in DemoVqa(side=SIDE, split=split, seed=seed).samples():
            if isinstance(question, Sample) and question.tags["form"] in FORMS and question.tags["kind"] in KINDS:
                found.setdefault((question.tags["kind"], question.media[0].sha256 or question.media[0].data), question)
    return [question.model_copy(update={"id": f"{number}"}) for number, question in enumerate(found.values())]


def run_one(
    way: str, seed: int, split: str, counted: bool, num_samples: int = SAMPLES, native_tokens: int = NATIVE_TOKENS
) -> dict[str, Any]:
    """Train once and answer every held-out question; returns operations and a grade for each question."""
    grid = GRIDS[native_tokens]
    torch.set_num_threads(1)
    reader = DemoAnatomy(
        side=SIDE, kinds=KINDS, forms=FORMS, stages=("general", "medical"), include_text=False, seed=seed
    )
    samples = [sample for sample in reader.read("") if isinstance(sample, Sample)]
    questions = questions_of(split)
    texts = [turn.text for sample in samples for turn in sample.turns]
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        write_samples(place / "samples.jsonl", samples)
        dataset, media = Dataset(place / "samples.jsonl"), MediaLoader({"image": Image()})
        tower, language = parts(place, texts, seed, grid.patch)
        source = Assemble(
            vision=str(tower), language=str(language), device="cpu",
            projector={"pool": (grid.pool, grid.pool), "layer": -1},
            answer_max_visual_tokens=LOW_TOKENS if way == "low" else None,
        )  # fmt: skip
        model: Any = source.load(source.prepare(place / "model", lambda: texts, seed))
        stage = {
            "name": "one", "num_samples": round(num_samples * SHARES[way]), "learning_rate": RATE, "rows_per_step": 1,
            "warmup": 0.05, "min_learning_rate_ratio": 0.1, "save_every": 10**6, **SCHEDULE,
        }  # fmt: skip
        trainer = StagedTrainer(stages=(stage,))
        index = build_index(dataset, model.encoder, media)
        # Rows of equally many samples: every way makes the same number of steps over the same samples.
        packer = BestFit(row_tokens=4096, row_images=SAMPLES_A_ROW)
        allowed = np.ones(len(dataset), dtype=bool)
        plan = plan_stage(index, trainer.stages[0], scheduler_of(way, grid), packer, model.encoder, seed, allowed)
        batches = PlannedBatches(dataset, plan, model.encoder, media)
        context = TrainingContext(place / "state", seed, lambda kind, payload: None)
        counter = Counter() if counted else contextlib.nullcontext()
        started = time.process_time()
        with counter:
            facts = trainer.train(model, batches, trainer.stages[0], context)
        seconds = time.process_time() - started
        benchmark, grades = DemoVqa(side=SIDE, split=split), {}
        requests = [Request(sample_id=q.id, turns=q.turns, media=q.media, generation=benchmark.generation())
                    for q in questions]  # fmt: skip
        answers = {answer.sample_id: answer for answer in model.answer(requests, media)}
        if failed := [answer.error for answer in answers.values() if answer.error]:
            raise RuntimeError(f"{len(failed)} questions could not be asked: {failed[0]}")
        for question in questions:
            value = benchmark.grade(question, answers[question.id], "strict").value
            grades[question.id] = [question.tags["image"], question.tags["kind"], value or 0.0]
    kinds = {kind: [grade for _, other, grade in grades.values() if other == kind] for kind in KINDS}
    return {
        "way": way, "seed": seed, "split": split, "samples": facts["samples"], "steps": facts["steps"],
        "dropped": facts.get("dropped", {}), "loss_last": facts["loss_last"],
        "flops": facts["flops"], "flops by torch": counter.total() if counted else None,
        "processor seconds of training": seconds,
        "accuracy": float(np.mean([grade for *_, grade in grades.values()])),
        "by kind": {kind: float(np.mean(values)) for kind, values in kinds.items() if values}, "grades": grades,
    }  # fmt: skip


class Counter:
    """Torch's own counter of operations, which lacks the attention kernel of the CPU: that is given torch's formula.

    A causal kernel skips what lies above the diagonal; its half is counted.
    """

    def __enter__(self) -> Counter:
        from torch.utils import flop_counter

        def forward(query: Any, key: Any, value: Any, dropout: float = 0.0, causal: bool = False, *_: Any, **__: Any) -> int:  # fmt: skip  # noqa: E501
            return flop_counter.sdpa_flop_count(query, key, value) // (2 if causal else 1)

        def backward(
            gradient: Any, query: Any, key: Any, value: Any, out: Any, logsumexp: Any, dropout: float = 0.0,
            causal: bool = False, *_: Any, **__: Any,
        ) -> int:  # fmt: skip
            # Our own convention, and that of others: twice the forward; torch counts the recomputation of scores too.
            return 2 * flop_counter.sdpa_flop_count(query, key, value) // (2 if causal else 1)

        names = torch.ops.aten
        self._mode = flop_counter.FlopCounterMode(
            display=False,
            custom_mapping={
                names._scaled_dot_product_flash_attention_for_cpu: forward,
                names._scaled_dot_product_flash_attention_for_cpu_backward: backward,
            },
        )
        self._mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._mode.__exit__(*error)

    def total(self) -> int:
        return int(self._mode.get_total_flops())


def kept(
    directory: Path, way: str, seed: int, num_samples: int, native_tokens: int, counted: bool = False
) -> dict[str, Any]:
    """The result of a run, which is made in a process of its own unless the folder has it."""
    grid = "" if native_tokens == NATIVE_TOKENS else f"-{native_tokens}"
    path = directory / f"{way}-{seed}-{num_samples}{grid}{'-counted' if counted else ''}.json"
    if not path.is_file():
        kind = "counted" if counted else "plain"
        words = [way, str(seed), "test", str(path), str(num_samples), kind, str(native_tokens)]
        subprocess.run([sys.executable, __file__, *words], check=True)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def low_to_high(results: Results, arguments: argparse.Namespace) -> None:
    """Every way with every seed, each run in a process of its own; the table, the targets and the picture."""
    if not {"native", "low-to-high"} <= set(arguments.ways):
        raise SystemExit("--ways: native and low-to-high must be among them")
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.runs or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        found = {
            (way, seed): kept(directory, way, seed, arguments.train_samples, arguments.native_tokens)
            for seed in SEEDS
            for way in arguments.ways
        }
        counted = {
            way: kept(directory, way, SEEDS[0], COUNTED_SAMPLES, arguments.native_tokens, counted=True)
            for way in arguments.ways
            if way != "native-early"
        }
    flops = {way: float(np.mean([found[way, seed]["flops"] for seed in SEEDS])) for way in arguments.ways}
    rows, accuracies = [], {}
    for way in arguments.ways:
        accuracies[way] = [found[way, seed]["accuracy"] for seed in SEEDS]
        rows.append([way, flops[way] / 1e12, flops[way] / flops["native"], *accuracies[way], float(np.mean(accuracies[way]))])  # fmt: skip  # noqa: E501
    table(["way", "TFLOP", "of native's", *(f"accuracy, seed {seed}" for seed in SEEDS), "mean"], rows)
    results.details["ways"] = [dict(zip(("way", "tflop", "of native", *(f"seed {s}" for s in SEEDS), "mean"), row, strict=True)) for row in rows]  # fmt: skip  # noqa: E501
    results.details["by kind"] = {
        way: {kind: float(np.mean([found[way, s]["by kind"][kind] for s in SEEDS])) for kind in found[way, 0]["by kind"]}  # noqa: E501
        for way in arguments.ways
    }  # fmt: skip
    results.details["questions"] = len(found["native", 0]["grades"])
    results.details["settings"] = {
        "samples": arguments.train_samples, "samples counted by torch": COUNTED_SAMPLES,
        "share of low to high's samples at few tokens": GRIDS[arguments.native_tokens].low_share,
        "schedule": SCHEDULE, "shares of the samples": SHARES, "low": LOW_TOKENS, "native": arguments.native_tokens,
        "seeds": SEEDS, "rate": RATE,
    }  # fmt: skip
    pairs = [("low-to-high", "native"), ("low", "native"), ("native-early", "native"), ("low-to-high", "native-early")]
    for way, other in pairs:
        if not {way, other} <= set(arguments.ways):
            continue
        difference, low, high = paired([found[way, seed] for seed in SEEDS], [found[other, seed] for seed in SEEDS])
        print(f"{way} minus {other}: {difference:+.4f}, 95% interval {low:+.4f} to {high:+.4f}")
        results.details[f"{way} minus {other}"] = [difference, low, high]
        own = [found[way, seed]["accuracy"] - found[other, seed]["accuracy"] for seed in SEEDS]
        results.details[f"{way} minus {other}, by seed"] = own
        results.details[f"{way} minus {other}, interval over seeds"] = over_seeds(own)
        few = paired(*([found[name, seed] for seed in SEEDS[:3]] for name in (way, other)))
        results.details[f"{way} minus {other}, first three seeds"] = few
        if (way, other) == ("low-to-high", "native"):
            results.target("low-to-high minus native, lower end of the interval", low, f">= {-EQUAL}")
            results.target("low-to-high minus native, upper end of the interval", high, f"<= {EQUAL}")
    print()
    results.target("operations of low-to-high over native", flops["low-to-high"] / flops["native"], "<= 0.6")
    torch_flops = {way: run["flops by torch"] for way, run in counted.items()}
    ratio = torch_flops["low-to-high"] / torch_flops["native"]
    results.target("the same, counted by torch", ratio, "<= 0.6")
    apart = {way: abs(count / counted[way]["flops"] - 1) for way, count in torch_flops.items()}
    results.details["our count from torch's"] = apart
    results.target("our count from torch's, largest difference", max(apart.values()), "<= 0.02")
    if arguments.picture is not None:
        arguments.picture.write_text(picture(flops, accuracies), encoding="utf-8")


def paired(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Mean difference of grades and its 95% interval: per question over the seeds, then images resampled."""
    names = list(ours[0]["grades"])
    means = [[np.mean([run["grades"][name][2] for run in runs]) for name in names] for runs in (ours, theirs)]
    differences = np.array(means[0]) - np.array(means[1])
    _, image = np.unique([ours[0]["grades"][name][0] for name in names], return_inverse=True)
    sums, counts = np.bincount(image, differences), np.bincount(image)
    drawn = np.random.default_rng(0).integers(0, len(sums), (4000, len(sums)))
    resampled = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return float(differences.mean()), float(low), float(high)


def over_seeds(differences: list[float]) -> list[float]:
    """95% interval by Student's t of the mean over seeds, which holds how trainings differ, and not the questions."""
    from scipy import stats

    values = np.array(differences)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [float(values.mean() - half), float(values.mean() + half)]


if __name__ == "__main__":
    way, number, split, target, samples, count, tokens = sys.argv[1:8]
    found = run_one(way, int(number), split, count == "counted", int(samples), int(tokens))
    Path(target).write_text(json.dumps(found), encoding="utf-8")
    print({name: value for name, value in found.items() if name != "grades"})
