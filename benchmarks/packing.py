"""Packing: samples apart, lengths as planned, speed beside padding, and the same rows in new processes."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import Results, main, table

from infimed_core import Media, MediaLoader, Sample, Stage, Turn
from infimed_core.dataset import Dataset, write_samples
from infimed_core.index import build_index
from infimed_core.packing import PlannedBatches
from infimed_core.planning import plan_stage
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.packing.padding import Padded, PaddedSorted
from infimed_plugins.resolution.schedulers import Fixed
from infimed_plugins.sft.accounting import Work, peak_flops
from infimed_plugins.sft.loss import linear_cross_entropy, supervised
from infimed_plugins.vlm.families import FAMILIES
from infimed_plugins.vlm.isolation import measure as isolation
from infimed_plugins.vlm.tiny import TinyQwen3VL

SHAPES = {
    "demo": {},
    "qwen3-vl-2b-shaped": {
        "hidden_size": 2048, "layers": 28, "heads": 16, "key_value_heads": 8, "intermediate_size": 6144,
        "vision_hidden_size": 1024, "vision_layers": 24, "vision_heads": 16, "vision_intermediate_size": 4096,
    },
}  # fmt: skip


class Counted(MediaLoader):
    """Counts what is decoded."""

    decoded = 0

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> Any:
        self.decoded += 1
        return super().load(media, at_most)


def families(results: Results) -> None:
    rows = []
    for name in FAMILIES:
        config = transformers.AutoConfig.for_model(name) if name != "llava" else transformers.LlavaConfig(
            vision_config={"model_type": "siglip_vision_model", "vision_use_head": False},
            text_config={"model_type": "qwen3"}, vision_feature_select_strategy="full",
        )  # fmt: skip
        found = isolation(config)
        rows.append([name, *(f"{value:.1e}" for value in found)])
        results.target(f"{name}: packed against alone", float(max(found)), "<= 1e-5")
    table(["family", "logits", "gradients"], rows)


def random_images(results: Results, encoder: Any, count: int) -> None:
    random, wrong = np.random.default_rng(0), 0
    turns = (Turn(role="user", content=(0, "Which plane?")), Turn(role="assistant", content=("axial",)))
    sample = Sample(id="s", turns=turns, media=(Media(uri="/none"),))
    text = int(encoder.text_lengths([sample]).tokens[0])
    for _ in range(count):
        height, width = (int(side) for side in random.integers(1, 400, 2))
        cap = int(random.integers(1, 150)) if random.random() < 0.8 else None
        predicted = text + int(encoder.visual_sizes(np.array([height]), np.array([width]), cap)[0][0])
        wrong += len(encoder.encode(sample, [np.zeros((height, width, 3), np.uint8)], cap)) != predicted
    results.target(f"lengths mispredicted, {count} random images", wrong, "== 0")


def digest(batches: PlannedBatches, step: int) -> str:
    found = hashlib.sha256()
    for row in batches.rows(step):
        for array in (row.input_ids, row.labels, row.positions, row.cu_seqlens, *row.vision.values()):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def resumed(results: Results, batches: PlannedBatches) -> None:
    """Rows from a step on, made by new processes that saw none before it."""
    whole = [digest(batches, step) for step in range(batches.num_steps)]
    start = min(7, batches.num_steps - 1)
    steps = range(start, min(start + 50, batches.num_steps))
    results.details["batches compared in new processes"] = len(steps)
    spawn = multiprocessing.get_context("spawn")
    for workers in (1, 2):
        with spawn.Pool(workers) as pool:
            again = pool.starmap(digest, [(batches, step) for step in steps], chunksize=1)
        name = f"batches that differ in {workers} new process(es)"
        results.target(name, sum(a != b for a, b in zip(again, whole[start:], strict=False)), "== 0")
    results.target("batches compared", len(steps), ">= 50")


def train(model: Any, rows: list[Any], optimizer: Any, device: str) -> tuple[float, int]:
    """Seconds and supervised tokens of a training pass over rows already made."""
    count, started = 0, time.perf_counter()
    for row in rows:
        places, weights = supervised(row, "token")
        hidden = model.hidden_states(row)[torch.from_numpy(places).to(device)]
        labels = torch.from_numpy(row.labels[places]).to(device)
        weight = torch.from_numpy(weights.astype(np.float32) / len(places)).to(device)
        linear_cross_entropy(hidden, model.output_embedding(), labels, weight).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        count += row.num_supervised
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, count


def throughput(results: Results, model: Any, ways: dict[str, list[Any]], repeats: int) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.module.to(device).train()
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-5)
    named = dict(model.module.named_parameters())
    groups = {group: {name: named[name] for name in names} for group, names in model.parameter_groups().items()}
    work = Work(model, groups, set(groups))
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    memory = dict.fromkeys(ways, 0)
    for rows in ways.values():  # untimed: the first pass over a way can be many times slower
        train(model, rows, optimizer, device)
    for _ in range(repeats):
        for name, rows in ways.items():
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds, count = train(model, rows, optimizer, device)
            speeds[name].append(count / seconds)
            memory[name] = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    peak, shown, medians = peak_flops(torch.device(device)), [], {}
    for name, rows in ways.items():
        medians[name] = statistics.median(speeds[name])
        per_token = sum(work.of(row, row.num_supervised) for row in rows) / sum(row.num_supervised for row in rows)
        mfu = per_token * medians[name] / peak if peak else ""
        shown.append([name, len(rows), medians[name], mfu, memory[name] / 2**30 if memory[name] else ""])
    table(["rows", "steps", "supervised tokens/s", "MFU", "peak GiB"], shown)
    results.details["throughput"] = {"device": device, "speeds": speeds, "table": shown}
    results.target("packed over padded, random order, batch 8", medians["best-fit"] / medians["padded"], ">= 2")
    results.details["packed over padded-sorted"] = medians["best-fit"] / medians["padded-sorted"]


def run(results: Results, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    if not arguments.skip_families:
        families(results)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        read = (sample for sample in DemoAnatomy().read("") if isinstance(sample, Sample))
        samples = list(itertools.islice(read, arguments.samples))
        write_samples(place / "samples.jsonl", samples)
        dataset, loader = Dataset(place / "samples.jsonl"), Counted({"image": Image()})
        source = TinyQwen3VL(**SHAPES[arguments.model])
        texts = [turn.text for sample in samples for turn in sample.turns]
        checkpoint = source.prepare(place / "model", lambda: texts, 0)
        encoder = source.encoder(checkpoint)
        random_images(results, encoder, arguments.images)
        index, allowed = build_index(dataset, encoder, loader), np.ones(len(dataset), dtype=bool)
        cap = Fixed(max_visual_tokens=36)
        packers = {
            "best-fit": BestFit(row_tokens=arguments.row_tokens),
            "padded": Padded(row_tokens=10**6),
            "padded-sorted": PaddedSorted(row_tokens=10**6),
        }
        plans = {n: plan_stage(index, Stage(name="s"), cap, p, encoder, 0, allowed) for n, p in packers.items()}
        results.details["share of padding"] = {
            name: float(plan.padding.sum() / (plan.padding.sum() + plan.tokens.sum())) for name, plan in plans.items()
        }
        print("share of padding:", results.details["share of padding"])
        results.target("images decoded while planning", loader.decoded, "== 0")
        ways = {}
        for name, plan in plans.items():
            batches = PlannedBatches(dataset, plan, encoder, loader)  # refuses a sample that is not as long as planned
            ways[name] = [row for step in range(batches.num_steps) for row in batches.rows(step)]
        results.target("demo samples as long as planned", sum(len(r.sample_ids) for r in ways["best-fit"]),
                       f">= {len(samples)}")  # fmt: skip
        short = plan_stage(index, Stage(name="s"), cap, BestFit(row_tokens=256), encoder, 0, allowed)
        resumed(results, PlannedBatches(dataset, short, encoder, MediaLoader({"image": Image()})))
        throughput(results, source.load(checkpoint), ways, arguments.repeats)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=sorted(SHAPES), default="demo")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--row-tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-families", action="store_true", help="leave the isolation of each family out")


if __name__ == "__main__":
    main("packing", run, add_arguments)
