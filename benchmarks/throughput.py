"""Supervised tokens per second of training: packed rows beside padded batches, in turns, in one run."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import Results, table
from numpy.typing import NDArray

from infimed_core import IGNORED_LABEL, PackedBatch
from infimed_plugins.sft.flop_counter import FlopCounter, peak_flops
from infimed_plugins.sft.loss import linear_cross_entropy, supervised

SHAPES: dict[str, dict[str, Any]] = {
    "demo": {},
    "qwen3-vl-2b-shaped": {
        "hidden_size": 2048, "layers": 28, "heads": 16, "key_value_heads": 8, "intermediate_size": 6144,
        "vision_hidden_size": 1024, "vision_layers": 24, "vision_heads": 16, "vision_intermediate_size": 4096,
    },
}  # fmt: skip

STOCK = "padded, transformers' own forward and loss"


@dataclass(frozen=True)
class Way:
    """Rows already made, and how many tokens of each sample are no padding, row by row."""

    rows: list[PackedBatch]
    lengths: list[NDArray[np.int64]]


def own_loss(model: Any, row: PackedBatch, lengths: NDArray[np.int64], device: str) -> Any:
    """The loss of a row, packed or padded, as the trainer computes it: the output matrix at supervised places alone."""
    places, weights = supervised(row, "token")
    hidden = model.hidden_states(row)[torch.from_numpy(places).to(device)]
    labels = torch.from_numpy(row.labels[places]).to(device)
    weight = torch.from_numpy(weights.astype(np.float32) / len(places)).to(device)
    return linear_cross_entropy(hidden, model.output_embedding(), labels, weight)


def stock_loss(model: Any, row: PackedBatch, lengths: NDArray[np.int64], device: str) -> Any:
    """The loss of a padded batch as a user's collator and the model's own ``forward`` compute it."""
    count = len(row.cu_seqlens) - 1
    segments = row.labels.reshape(count, -1)
    ids, types = row.input_ids.reshape(count, -1), row.token_types.reshape(count, -1)
    labels = np.full_like(segments, IGNORED_LABEL)
    labels[:, 1:] = segments[:, :-1]
    mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
    inputs = {"input_ids": ids, "labels": labels, "attention_mask": mask}
    if row.vision:
        inputs |= {**row.vision, "mm_token_type_ids": types}
    return model.module(**{name: torch.from_numpy(array).to(device) for name, array in inputs.items()}).loss


def difference(model: Any, padded: Way, device: str) -> float:
    """How far the two ways of training on the same padded batch are apart: they must do the same work."""
    row, lengths = padded.rows[0], padded.lengths[0]
    with torch.no_grad():
        own = float(own_loss(model, row, lengths, device))
        with StockAttention(model.module, True):
            stock = float(stock_loss(model, row, lengths, device))
    return abs(own - stock) / abs(stock)


def train(model: Any, way: Way, optimizer: Any, device: str, loss: Any) -> tuple[float, float, int]:
    """Seconds, seconds of the processor and supervised tokens of a training pass over rows already made."""
    count, started, busy = 0, time.perf_counter(), time.process_time()
    for row, lengths in zip(way.rows, way.lengths, strict=True):
        loss(model, row, lengths, device).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        count += row.num_supervised
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - busy, count


class StockAttention:
    """Within: transformers' own attention with masks, as padding needs it there."""

    def __init__(self, module: Any, wanted: bool) -> None:
        self._module, self._wanted = module, wanted

    def __enter__(self) -> None:
        from infimed_plugins.vlm.transformers_model import attention_names

        self._names = attention_names(self._module)
        if self._wanted:
            self._module.set_attn_implementation("sdpa")

    def __exit__(self, *error: object) -> None:
        from infimed_plugins.vlm.transformers_model import restore_attention

        restore_attention(self._names)


def throughput(results: Results, model: Any, ways: dict[str, Way], repeats: int) -> None:
    """The table of ways and the targets; on CUDA with MFU and peak memory."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.module.to(device).train()
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-5)
    named = dict(model.module.named_parameters())
    groups = {group: {name: named[name] for name in names} for group, names in model.parameter_groups().items()}
    work = FlopCounter(model, groups, set(groups))
    runs = {name: (way, own_loss) for name, way in ways.items()} | {STOCK: (ways["padded"], stock_loss)}
    results.target("loss of a padded batch, ours and transformers', relative difference", difference(model, ways["padded"], device), "<= 1e-3")  # fmt: skip  # noqa: E501
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    memory = dict.fromkeys(runs, 0)
    for repeat in range(repeats + 1):  # the first pass is untimed: it can be many times slower
        for name, (way, loss) in runs.items():
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            with StockAttention(model.module, name == STOCK):
                seconds, processor, count = train(
                    model, way if repeat else Way(way.rows[:4], way.lengths[:4]), optimizer, device, loss
                )
            if repeat:
                speeds[name].append(count / seconds)
                busy[name].append(count / processor)
            memory[name] = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    peak, shown, medians, operations = peak_flops(torch.device(device)), [], {}, {}
    for name, (way, _) in runs.items():
        rows = way.rows
        medians[name] = statistics.median(speeds[name])
        operations[name] = sum(work.of(row, row.num_supervised) for row in rows)
        per_token = operations[name] / sum(row.num_supervised for row in rows)
        mfu = per_token * medians[name] / peak if peak else ""
        size = sum(len(row) for row in rows) / len(rows)
        shown.append([name, len(rows), size, medians[name], mfu, memory[name] / 2**30 if memory[name] else ""])
    table(["rows", "steps", "tokens a step, with padding", "supervised tokens/s", "MFU", "peak GiB"], shown)
    results.details["throughput"] = {"device": device, "speeds": speeds, "table": shown}
    results.details["packed over, by seconds of the processor"] = {
        name: statistics.median(a / b for a, b in zip(busy["best-fit"], busy[name], strict=True)) for name in runs
    }
    ratios = {name: statistics.median(a / b for a, b in zip(speeds["best-fit"], speeds[name], strict=True))
              for name in runs if name != "best-fit"}  # fmt: skip
    results.details["packed over"] = ratios
    results.target("packed over padded, random order, batch 8, as transformers trains it", ratios[STOCK], ">= 2")
    results.target("packed over padded, random order, batch 8, in InfiMed's own loop", ratios["padded"], ">= 2")
    print(f"packed over padded-sorted: {ratios['padded-sorted']:.2f}")
    most = operations["padded"] / operations["best-fit"]
    results.details["operations, padded over packed"] = most
    print(f"operations, padded over packed: {most:.2f} (the gain, were every operation equally fast)")
    shares = results.details["packed over, by seconds of the processor"]
    print("packed over, by seconds of the processor:", {name: round(ratio, 2) for name, ratio in shares.items()}, "\n")
