"""Planning: fill, time, memory, balance and mixing on a million samples, on templated data and on the demo."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
import tracemalloc
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import Results, main, table
from numpy.typing import NDArray
from utilisation import utilisation

from infimed_core import Encoder, Packer, Sample, Stage
from infimed_core.plan.index import Index
from infimed_core.plan.lengths import CostModel
from infimed_core.plan.planning import plan_stage
from infimed_plugins.packing.fitting import BestFit, NextFit
from infimed_plugins.packing.padding import Padded, PaddedSorted
from infimed_plugins.resolution.schedulers import Fixed, LowToHigh

ROW_TOKENS = 8192
RANKS = 8
CAP = 1024


class Tiles(Encoder):
    """Sizes as a native-resolution family has them: 32x32 pixels a token, four patches each."""

    identity = "tiles"

    def text_lengths(self, samples: Any) -> Any:
        raise AssertionError("planning tokenises nothing")

    def visual_sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        tokens = np.maximum(1, heights // 32) * np.maximum(1, widths // 32)
        if max_visual_tokens is not None:
            tokens = np.minimum(tokens, max_visual_tokens)
        return tokens, tokens * 4

    def encode(self, sample: Any, images: Any, max_visual_tokens: int | None) -> Any:
        raise AssertionError("planning encodes nothing")


def made_index(count: int, seed: int = 0) -> Index:
    """A synthetic index: 30% text alone, else one to four images of 256 to 1024 pixels a side; long-tailed text."""
    random = np.random.default_rng(seed)
    images = random.choice(5, count, p=[0.30, 0.52, 0.12, 0.04, 0.02])
    offsets = np.concatenate([[0], np.cumsum(images)])
    text = np.clip(random.lognormal(5.55, 1.4, count), 16, 7000).astype(np.int64)
    sizes = random.integers(256, 1025, (int(offsets[-1]), 2))
    usable = np.ones(count, dtype=bool)
    return Index(text, np.maximum(1, text // 4), offsets, sizes, usable, {}, {}, (), f"synthetic-{count}-{seed}")


def stored_index(count: int, directory: str) -> Path:
    """Where the synthetic index lies on disk, as a run stores one."""
    path = Path(directory) / "index.npz"
    made_index(count).save(path)
    return path


def planned(path: Path, packer: Packer, *, scheduler: Any = None, ordered: bool = True) -> tuple[Any, float]:
    """The plan, and the seconds from opening the stored index to the finished plan."""
    started = time.perf_counter()
    index = Index.load(path)
    allowed = np.ones(len(index), dtype=bool)
    plan = plan_stage(
        index, Stage(name="stage", rows_per_step=RANKS), scheduler or Fixed(max_visual_tokens=CAP), packer, Tiles(), 0,
        allowed, ordered=ordered,
    )  # fmt: skip
    return plan, time.perf_counter() - started


def fill(plan: Any) -> float:
    tokens = sum(phase["num_tokens"] for phase in plan.describe()["phases"])
    room = tokens + int(plan.padding.sum()) if plan.padded else len(plan.packs) * plan.row_tokens
    return tokens / room


def of_bound(plan: Any, budget: NDArray[np.int64]) -> float:
    """Fewest rows that any packer could need, by the scarcest budget, over the rows made."""
    kept = plan.members
    totals = [plan.tokens[kept].sum(), plan.patches[kept].sum(), plan.images[kept].sum()]
    return max(float(total) / float(limit) for total, limit in zip(totals, budget, strict=True)) / len(plan.packs)


def peak_memory(count: int) -> float:
    """GiB that planning adds at its peak to a process that holds the index, measured in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, "--peak", "--samples", str(count)], capture_output=True, text=True, check=True
    )
    return float(out.stdout.split()[-1])


def print_peak(count: int) -> None:
    # Not ru_maxrss: a child starts with its parent's, which hides what it needs itself.
    with tempfile.TemporaryDirectory() as directory:
        path = stored_index(count, directory)
        tracemalloc.start()
        planned(path, BestFit(row_tokens=ROW_TOKENS))
        print(tracemalloc.get_traced_memory()[1] / 2**30)


def peers() -> dict[str, Callable[[NDArray[np.int64]], list[Any]]]:
    """Packers of other packages, where installed; each takes lengths and returns its rows."""
    found: dict[str, Callable[[NDArray[np.int64]], list[Any]]] = {}
    if importlib.util.find_spec("binpacking"):
        import binpacking

        def to_constant_volume(lengths: NDArray[np.int64]) -> list[Any]:
            # Blocks of 1000, because it is quadratic; a block's last row is packed again with the next block. So
            # ms-swift uses this package (its own code is not run: it is bound to data sets already encoded).
            rows: list[Any] = []
            carried: list[tuple[int, int]] = []
            for start in range(0, len(lengths), 1000):
                pairs = carried + list(enumerate(lengths[start : start + 1000].tolist(), start))
                packed = binpacking.to_constant_volume(pairs, ROW_TOKENS, weight_pos=1)
                *full, carried = packed
                rows += [[number for number, _ in row] for row in full]
            return [*rows, [number for number, _ in carried]] if carried else rows

        found["binpacking in blocks of 1000, as ms-swift packs"] = to_constant_volume
    if all(importlib.util.find_spec(name) for name in ("trl", "datasets")):
        from datasets import Dataset
        from trl import pack_dataset

        def bfd(lengths: NDArray[np.int64]) -> list[Any]:
            data = Dataset.from_dict({"input_ids": [[0] * length for length in lengths.tolist()]})
            sizes = pack_dataset(data, ROW_TOKENS, "bfd")["seq_lengths"]
            # Only lengths come back: any sample of that length stands for them.
            place = {length: number for number, length in enumerate(lengths.tolist())}
            return [[place[length] for length in row] for row in sizes]

        found["trl's bfd (its package)"] = bfd
    found["greedy knapsack in blocks of 1000, as LLaMA-Factory packs (own lines)"] = greedy_knapsack
    return found


def greedy_knapsack(lengths: NDArray[np.int64]) -> list[Any]:
    """Each row takes the largest sample left that fits, by bisection, until none does; in blocks of 1000."""
    rows: list[Any] = []
    for start in range(0, len(lengths), 1000):
        left = sorted((length, number) for number, length in enumerate(lengths[start : start + 1000].tolist(), start))
        while left:
            room, row = ROW_TOKENS, []
            while at := bisect_right(left, (room, 2**62)):
                length, number = left.pop(at - 1)
                row.append(number)
                room -= length
            rows.append(row)
    return rows


def balance(rows: list[Any], lengths: NDArray[np.int64]) -> float | None:
    """Modelled utilisation where ranks take rows in the order given; ``None`` where the rows' members are not told."""
    if not rows or not hasattr(rows[0], "__len__"):
        return None
    token = CostModel()
    costs = np.array([(token.token * (own := lengths[list(row)]) + token.token_squared * own**2).sum() for row in rows])
    rounds = np.random.default_rng(0).permutation(costs)[: len(costs) // RANKS * RANKS].reshape(-1, RANKS)
    return float(rounds.sum() / (RANKS * rounds.max(axis=1).sum()))


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Everything, on one stored index; then how mixed rows and steps are on three kinds of data."""
    with tempfile.TemporaryDirectory() as directory:
        measure_stored(results, arguments, stored_index(arguments.samples, directory))
        mixing(results, arguments, Path(directory))


def templated_index(count: int, seed: int = 0) -> Index:
    """Questions of five templates about one image each: the length nearly tells the kind."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 5, count).astype(np.int32)
    text = np.array([61, 83, 112, 140, 205])[kind] + random.integers(0, 6, count)
    sizes = np.full((count, 2), 64)
    return Index(
        text, text // 4, np.arange(count + 1), sizes, np.ones(count, dtype=bool), {"kind": kind},
        {"kind": [f"template {number}" for number in range(5)]}, (), f"templated-{count}-{seed}",
    )  # fmt: skip


def demo_stages(folder: Path) -> tuple[Index, Encoder, list[Stage]]:
    """The demo's index and encoder, and the stages of ``examples/full.yaml`` with four rows a step."""
    from infimed_core import MediaLoader
    from infimed_core.plan.index import build_index
    from infimed_core.store.dataset import Dataset, write_samples
    from infimed_plugins.demo.anatomy import DemoAnatomy
    from infimed_plugins.image.modality import Image
    from infimed_plugins.vlm.tiny import TinyQwen3VL

    reader, source = DemoAnatomy(split="train"), TinyQwen3VL(device="cpu")
    samples = [row for shard in reader.shards() for row in reader.read(shard) if isinstance(row, Sample)]
    checkpoint = source.prepare(folder / "model", lambda: (turn.text for sample in samples for turn in sample.turns), 0)
    assert checkpoint is not None
    write_samples(folder / "samples.jsonl", samples)
    encoder = source.encoder(checkpoint)
    index = build_index(Dataset(folder / "samples.jsonl"), encoder, MediaLoader({"image": Image()}))
    document = yaml.safe_load((Path(__file__).parents[1] / "examples" / "full.yaml").read_text(encoding="utf-8"))
    stages = [
        Stage.model_validate(
            {**{key: stage[key] for key in ("name", "mix", "num_samples")}, "rows_per_step": 4}
        )
        for stage in document["training"]["with"]["stages"]
    ]  # fmt: skip
    return index, encoder, stages


def mixing(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """Pairs of one kind within rows and within steps, as multiples of those in random draws; over seeds, their mean."""
    packers: dict[str, Callable[[int], Packer]] = {
        "best-fit": lambda tokens: BestFit(row_tokens=tokens),
        "next-fit": lambda tokens: NextFit(row_tokens=tokens),
        "padded-sorted": lambda tokens: PaddedSorted(row_tokens=8 * tokens),
    }
    sets: list[tuple[str, Index, Encoder, Stage, int, int]] = [
        ("long-tailed mix", made_index(100_000), Tiles(), Stage(name="mix", rows_per_step=RANKS), ROW_TOKENS, CAP),
        ("templated", templated_index(20_000), Tiles(), Stage(name="templated", rows_per_step=RANKS), 1024, CAP),
    ]
    index, encoder, stages = demo_stages(folder)
    sets += [(f"demo, {stage.name}", index, encoder, stage, 400, 4) for stage in stages]
    rows, worst = [], {"row": ("", 0.0), "step": ("", 0.0)}
    for name, index, encoder, stage, tokens, cap in sets:
        for packer, made in packers.items():
            shares: dict[str, list[tuple[float, float]]] = {}
            filled, far = [], 0
            for seed in range(arguments.seeds):
                plan = plan_stage(
                    index, stage, Fixed(max_visual_tokens=cap), made(tokens), encoder, seed,
                    np.ones(len(index), dtype=bool),
                )  # fmt: skip
                filled.append(fill(plan))
                far += bool(plan.mixing["far"])
                for kind, found in plan.mixing["kinds"].items():
                    shares.setdefault(kind, []).append(
                        (found["row"] / found["random"], found["step"] / found["random"])
                    )
            means = {kind: np.mean(values, axis=0) for kind, values in shares.items()}
            row = max(means.items(), key=lambda item: item[1][0])
            step = max(means.items(), key=lambda item: item[1][1])
            rows.append([name, packer, np.mean(filled), row[1][0], row[0], step[1][1], step[0], far])
            if packer == "best-fit":
                worst["row"] = max(worst["row"], (name, float(row[1][0])), key=lambda item: item[1])
                worst["step"] = max(worst["step"], (name, float(step[1][1])), key=lambda item: item[1])
    columns = ["data", "packer", "fill", "most alike in rows", "by", "most alike in steps", "by ", "seeds warned of"]
    print("Pairs of one kind, over those of a random draw")
    table(columns, rows)
    results.details["mixing"] = [dict(zip(columns, row, strict=True)) for row in rows]
    for where, (name, value) in worst.items():
        results.target(f"best-fit: pairs of one kind in {where}s over random, the worst ({name})", value, "<= 1.1")


def measure_stored(results: Results, arguments: argparse.Namespace, index: Path) -> None:
    """The table of packers, the peers, and the targets."""
    packers: dict[str, Packer] = {
        "best-fit": BestFit(row_tokens=ROW_TOKENS),
        "best-fit, 3 budgets": BestFit(row_tokens=ROW_TOKENS, row_patches=12_000, row_images=24),
        "next-fit": NextFit(row_tokens=ROW_TOKENS),
        "padded": Padded(row_tokens=8 * ROW_TOKENS),
        "padded-sorted": PaddedSorted(row_tokens=8 * ROW_TOKENS),
    }
    rows, plans = [], {}
    for name, packer in packers.items():
        plan, seconds = planned(index, packer)
        plans[name] = plan, seconds
        rows.append([name, fill(plan), seconds, len(plan.packs), utilisation(plan, RANKS)])
    ours, seconds = plans["best-fit"]
    random_order, _ = planned(index, packers["best-fit"], ordered=False)
    rows.append(
        ["best-fit, random order", fill(random_order), "", len(random_order.packs), utilisation(random_order, RANKS)]
    )
    rising, rising_seconds = planned(index, packers["best-fit"], scheduler=LowToHigh())
    rows.append(["best-fit, low to high", fill(rising), rising_seconds, len(rising.packs), utilisation(rising, RANKS)])
    lengths = ours.tokens[ours.dropped == 0]
    mix = {"samples": len(lengths), "mean": float(lengths.mean()), "p95": float(np.percentile(lengths, 95))}
    print(f"{mix['samples']:,} samples, mean {mix['mean']:.0f} tokens, p95 {mix['p95']:.0f}; rows of {ROW_TOKENS}\n")
    table(["packer", "fill", "seconds, whole plan", "rows", f"utilisation, {RANKS} ranks"], rows)
    results.details["packers"] = [
        dict(zip(("packer", "fill", "seconds", "rows", "utilisation"), row, strict=True)) for row in rows
    ]
    results.details["lengths"] = mix
    results.details["peers"] = beside(lengths, arguments.peer_samples)
    again, _ = planned(index, packers["best-fit"])
    kept = np.bincount(ours.members, minlength=len(ours.rows))
    results.target("seconds to plan from a stored index", seconds, "<= 1.5")
    three, three_seconds = plans["best-fit, 3 budgets"]
    results.target("seconds to plan, 3 budgets", three_seconds, "<= 3")
    bound = of_bound(three, packers["best-fit, 3 budgets"].budget)
    print(f"3 budgets: rows at best over rows made {bound:.4f}\n")
    results.details["3 budgets: rows at best over rows made"] = bound
    results.target("GiB beyond the index", peak_memory(arguments.samples), "<= 1")
    results.target(f"fill at {ROW_TOKENS} tokens", fill(ours), ">= 0.999")
    results.target(f"modelled utilisation at {RANKS} ranks", utilisation(ours, RANKS), ">= 0.99")
    results.target("samples neither in one row nor a counted drop", int((kept != (ours.dropped == 0)).sum()), "== 0")
    results.target("rows over budget", int((ours.pack_sums(ours.tokens) > ROW_TOKENS).sum()), "== 0")
    results.target("same plan again", again.plan_hash == ours.plan_hash, "== true")


def beside(lengths: NDArray[np.int64], count: int) -> dict[str, Any]:
    """Packing alone, without drawing and order, on the same lengths."""
    lengths = lengths[:count]
    costs = np.stack([lengths, np.zeros_like(lengths), np.zeros_like(lengths)], axis=1)
    packer = BestFit(row_tokens=ROW_TOKENS)
    packs: dict[str, Callable[[], Any]] = {"infimed best-fit": lambda: packer.group(costs, packer.budget)}
    for name, function in peers().items():
        packs[name] = lambda function=function: function(lengths)
    rows, found = [], {}
    for name, pack in packs.items():
        started = time.perf_counter()
        made = pack()
        seconds = time.perf_counter() - started
        num_rows, balanced = len(made), balance(list(made), lengths)
        found[name] = {
            "fill": float(lengths.sum() / (num_rows * ROW_TOKENS)),
            "seconds": seconds,
            "rows": num_rows,
            "balance": balanced,
        }
        rows.append([name, found[name]["fill"], seconds, num_rows, balanced])
    print(f"Packing alone, {len(lengths):,} samples")
    table(["packer", "fill", "seconds", "rows", f"balance at {RANKS} ranks, random order"], rows)
    missing = [name for name in ("trl", "binpacking") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Not compared, because not installed: {', '.join(missing)}\n")
    return {"packing alone": found, "not installed": missing}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--peer-samples", type=int, default=100_000, help="samples for the comparison with others")
    parser.add_argument("--seeds", type=int, default=5, help="plans of each kind of data whose mixing is measured")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)


if __name__ == "__main__":
    if "--peak" in sys.argv:
        print_peak(int(sys.argv[sys.argv.index("--samples") + 1]))
    else:
        main("planning", measure, add_arguments)
