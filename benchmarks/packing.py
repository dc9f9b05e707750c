"""Packing: samples apart, lengths as planned, the same rows after a kill, speed beside padding; and resolution."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))
import torch
from common import Results, main, table
from killed import killed_and_resumed
from lengths import Counted, every_family
from resolution import GRIDS, NATIVE_TOKENS, SAMPLES, WAYS, low_to_high
from small_checkpoints import configuration_of, mistral_small_4
from throughput import SHAPES, Way, throughput
from vlm_leaks import leaks_of, row_with

from infimed_core import Sample, Stage
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.packing.padding import Padded, PaddedSorted
from infimed_plugins.resolution.schedulers import Fixed
from infimed_plugins.vlm.families import FAMILIES
from infimed_plugins.vlm.isolation import TOLERANCE
from infimed_plugins.vlm.isolation import measure as isolation
from infimed_plugins.vlm.tiny import TinyQwen3VL


def families(results: Results) -> None:
    """Packed against alone for every family, and what the same test finds when a row is passed in a wrong way."""
    rows, leaks, seen, tried = [], [], 0, 0
    configurations = {name: configuration_of(name) for name, family in FAMILIES.items() if family.packs}
    configurations["mistral3 with mistral4"] = mistral_small_4()
    for name, config in configurations.items():
        family = FAMILIES[config.model_type]
        found = isolation(config)
        rows.append([name, *(f"{value:.1e}" for value in found)])
        results.target(f"{name}: packed against alone", float(max(found)), f"<= {TOLERANCE:g}")
        for way, change in leaks_of(family).items():
            logits, gradients = isolation(config, "sdpa", row_with(change))
            leaks.append([name, way, f"{logits:.1e}", f"{gradients:.1e}"])
            tried, seen = tried + 1, seen + (max(logits, gradients) > TOLERANCE)
    table(["family", "logits", "gradients"], rows)
    table(["family", "wrong way", "logits", "gradients"], leaks)
    results.details["families"] = {name: [float(value) for value in values] for name, *values in rows}
    results.details["wrong ways"] = [dict(zip(("family", "way", "logits", "gradients"), row, strict=True)) for row in leaks]  # fmt: skip  # noqa: E501
    results.target(f"wrong ways that the self-test misses, of {tried}", tried - seen, "== 0")


def demo_samples(count: int, seed: int = 0) -> list[Sample]:
    """Samples of the demo's whole training mix, drawn at random."""
    found = [sample for sample in DemoAnatomy().read("") if isinstance(sample, Sample)]
    chosen = np.random.default_rng(seed).choice(len(found), min(count, len(found)), replace=False)
    return [found[int(number)] for number in chosen]


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Every section that was not left out."""
    torch.set_num_threads(arguments.threads)
    if arguments.resolution:
        low_to_high(results, arguments)
        return
    parts = set(arguments.only or PARTS)
    if "families" in parts:
        families(results)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        if "lengths" in parts:
            every_family(results, place, arguments.images)
        samples = demo_samples(arguments.samples)
        write_samples(place / "samples.jsonl", samples)
        dataset, loader = Dataset(place / "samples.jsonl"), Counted({"image": Image()})
        source = TinyQwen3VL(**SHAPES[arguments.model], dtype="bfloat16" if torch.cuda.is_available() else "float32")
        texts = [turn.text for sample in samples for turn in sample.turns]
        checkpoint = source.prepare(place / "demo", lambda: texts, 0)
        encoder = source.encoder(checkpoint)
        index = build_index(dataset, encoder, loader)
        ways = planned_ways(results, dataset, index, encoder, loader, arguments)
        if "killed" in parts:
            killed_and_resumed(results, place, dataset, index)
        if "throughput" in parts:
            throughput(results, source.load(checkpoint), ways, arguments.repeats)


def planned_ways(
    results: Results, dataset: Dataset, index: Any, encoder: Any, loader: Counted, arguments: argparse.Namespace
) -> dict[str, Way]:
    """The rows of every way, made; planning them must decode nothing, and each sample must be as long as planned."""
    packers = {
        "best-fit": BestFit(row_tokens=arguments.row_tokens),
        "padded": Padded(row_tokens=10**6),
        "padded-sorted": PaddedSorted(row_tokens=10**6),
    }
    cap, allowed = Fixed(max_visual_tokens=arguments.cap), np.ones(len(dataset), dtype=bool)
    plans = {n: plan_stage(index, Stage(name="s"), cap, p, encoder, 0, allowed) for n, p in packers.items()}
    results.target("images decoded while planning", loader.decoded, "== 0")
    shares = {n: float(plan.padding.sum() / (plan.padding.sum() + plan.tokens.sum())) for n, plan in plans.items()}
    print("share of padding:", {name: round(share, 4) for name, share in shares.items()}, "\n")
    results.details["share of padding"] = shares
    results.details["mean tokens"] = float(plans["padded"].tokens.mean())
    ways = {}
    for name, plan in plans.items():
        batches = PlannedBatches(dataset, plan, encoder, loader)  # refuses a sample that is not as long as planned
        rows = [row for step in range(batches.num_steps) for row in batches.rows(step)]
        ways[name] = Way(rows, [plan.tokens[plan.packs[number]] for number in range(len(plan.packs))])
    made = sum(len(row.sample_ids) for row in ways["best-fit"].rows)
    results.target("demo samples not as long as planned", len(dataset) - made, "== 0")
    return ways


PARTS = ("families", "lengths", "killed", "throughput")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part alone; may be repeated")
    parser.add_argument("--model", choices=sorted(SHAPES), default="demo")
    parser.add_argument("--samples", type=int, default=600, help="samples of the demo")
    parser.add_argument("--cap", type=int, default=9, help="visual tokens an image while speed is measured")
    parser.add_argument("--images", type=int, default=2000, help="random images for the lengths of each family")
    parser.add_argument(
        "--row-tokens", type=int, default=2048, help="by default about what the largest padded batch of 8 holds"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resolution", action="store_true", help="low to high beside native and low alone, only")
    parser.add_argument("--runs", type=Path, help="--resolution: keep each run's result here, do no run twice")
    parser.add_argument("--train-samples", type=int, default=SAMPLES, help="--resolution: samples each model sees")
    parser.add_argument(
        "--native-tokens", type=int, choices=sorted(GRIDS), default=NATIVE_TOKENS,
        help="--resolution: visual tokens of an image at native resolution",
    )  # fmt: skip
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS,
        help="--resolution: these alone; native and low-to-high must be among them",
    )  # fmt: skip
    parser.add_argument("--picture", type=Path, help="--resolution: draw accuracy against operations (SVG)")


if __name__ == "__main__":
    main("packing", run, add_arguments)
