"""Gradients of one optimizer step over the same samples: processes, DDP and FSDP2, accumulation, packs of two sizes.

``equal_gradients`` is called by benchmarks/training.py and by the tests; run as a script it prints the table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Results, main, table

from infimed_core import Media, PackedBatch, Sample, TrainableModel, TrainingContext, Turn
from infimed_core.plan.rows import assemble

SIZES = {"hidden_size": 64, "layers": 2, "heads": 4, "intermediate_size": 128, "vision_hidden_size": 64}
SIZES |= {"vision_layers": 2, "vision_intermediate_size": 128, "vocab_size": 320}
TEXT = "the left lung shows no focal lesion while a small effusion is seen on the right and the heart is normal"
WORDS = TEXT.split()
NUM_SAMPLES = 48
"""About 1,900 tokens: one row of 2,048, or four of 512."""


@dataclass(frozen=True)
class Cell:
    """One way to split the samples of a step.

    ``accumulation`` rows on each of ``processes`` ranks, none above ``pack_tokens``. ``kinds`` sorts the samples so
    that text alone comes last: then one rank gets images and the other none.
    """

    processes: int
    parallel: str
    accumulation: int
    pack_tokens: int
    kinds: bool = False

    @property
    def name(self) -> str:
        ranks = "1 process" if self.processes == 1 else f"{self.processes} processes, {self.parallel}"
        only = ", text alone on one rank" if self.kinds else ""
        return f"{ranks}, accumulation {self.accumulation}, packs of {self.pack_tokens}{only}"


CELLS = tuple(
    Cell(processes, parallel, accumulation, pack_tokens)
    for processes, parallel in ((1, "ddp"), (2, "ddp"), (2, "fsdp2"))
    for pack_tokens in (2048, 512)
    for accumulation in (1, 2, 4)
    # the samples of the step do not fit into fewer rows of 512
    if pack_tokens == 2048 or processes * accumulation >= 4
) + tuple(Cell(2, parallel, 1, 2048, kinds=True) for parallel in ("ddp", "fsdp2"))


def make_samples(count: int, seed: int = 0) -> list[tuple[Sample, list[Any]]]:
    """Conversations of several lengths with their images (uint8 [h, w, 3]): text alone, one image, two images."""
    random = np.random.default_rng(seed)
    found = []
    for index in range(count):
        question = " ".join(random.choice(WORDS, int(random.integers(3, 9))))
        answer = " ".join(random.choice(WORDS, int(random.integers(1, 9))))
        images = [random.integers(0, 256, (*random.integers(40, 100, 2), 3), dtype=np.uint8) for _ in range(index % 3)]
        turns = (
            Turn(role="user", content=(*range(len(images)), question)),
            Turn(role="assistant", content=(answer,)),
        )
        media = tuple(Media(uri=f"{index}-{place}") for place in range(len(images)))
        found.append((Sample(id=f"sample-{index}", turns=turns, media=media), images))
    return found


class GivenRows:
    """One step of the given rows, and a second one of the first row, after which the first one's state is kept."""

    num_steps = 2

    def __init__(self, rows: Sequence[PackedBatch]) -> None:
        self._rows = list(rows)
        self.plan_hash = hashlib.sha256(repr([row.sample_ids for row in rows]).encode()).hexdigest()

    def num_rows(self, step: int) -> int:
        return len(self._rows) if step == 0 else 1

    def row(self, step: int, index: int) -> PackedBatch:
        return self._rows[index]

    def rows(self, step: int) -> list[PackedBatch]:
        return [self.row(step, index) for index in range(self.num_rows(step))]


def split(lengths: Sequence[int], num_rows: int, pack_tokens: int) -> list[list[int]]:
    """Samples in ``num_rows`` rows of about the same length; longest first into the emptiest row."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    filled = [0] * num_rows
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = filled.index(min(filled))
        rows[row].append(index)
        filled[row] += lengths[index]
    if max(filled) > pack_tokens:
        raise ValueError(
            f"{sum(lengths)} tokens do not fit {num_rows} rows of {pack_tokens}: the fullest has {max(filled)}"
        )
    return rows


def make_checkpoint(directory: Path, samples: Sequence[tuple[Sample, list[Any]]]) -> Any:
    """Write a tiny Qwen3-VL into ``directory``; returns its settings."""
    from infimed_plugins.vlm.tiny import TinyQwen3VL

    model = TinyQwen3VL(**SIZES, attention="packed", device="cpu")
    if not (directory / "config.json").is_file():
        model.prepare(directory, lambda: (turn.text for sample, _ in samples for turn in sample.turns), 0)
    return model


def one_step(cell: Cell, checkpoint: Path, count: int, directory: Path) -> None:
    """Train one step the way of ``cell``; the optimizer's first moment is then the gradient."""
    from infimed_plugins.sft.trainer import StagedTrainer

    samples = make_samples(count)
    model: TrainableModel = make_checkpoint(checkpoint, samples).load(checkpoint)
    encoded = [model.encoder.encode(sample, images, None) for sample, images in samples]
    if cell.kinds:
        places = [[i for i, e in enumerate(encoded) if bool(e.vision) is seen] for seen in (True, False)]
    else:
        places = split([len(e) for e in encoded], cell.processes * cell.accumulation, cell.pack_tokens)
    stage = {"name": "one", "max_gradient_norm": None, "betas": (0.0, 0.95), "save_every": 1, "warmup": 0.0}
    trainer = StagedTrainer(stages=(stage,), parallel=cell.parallel, precision="fp32")
    context = TrainingContext(directory=directory, seed=0, emit=lambda *_: None)
    rows = GivenRows([assemble([encoded[i] for i in row]) for row in places])
    trainer.train(model, rows, trainer.stages[0], context)


def found_gradients(directory: Path) -> dict[str, Any]:
    """The gradients that ``one_step`` left."""
    from safetensors.torch import load_file

    moments = load_file(directory / "step-000000001" / "optimizer.safetensors")
    return {key.split("|")[0]: tensor for key, tensor in moments.items() if key.endswith("|exp_avg")}


def plain_gradients(checkpoint: Path, count: int) -> dict[str, Any]:
    """The same gradients from a hand-written loop: stock transformers, one sample at a time, nothing packed."""
    import torch
    from transformers import AutoModelForImageTextToText

    samples = make_samples(count)
    model = make_checkpoint(checkpoint, samples)
    encoder = model.encoder(checkpoint)
    module = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")
    encoded = [encoder.encode(sample, images, None) for sample, images in samples]
    whole = sum(one.num_supervised for one in encoded)
    for one in encoded:
        inputs = {name: torch.from_numpy(array) for name, array in one.vision.items()}
        inputs["mm_token_type_ids"] = torch.from_numpy(one.token_types)[None]
        logits = module(input_ids=torch.from_numpy(one.input_ids)[None], **inputs).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(one.labels), reduction="sum")
        (loss / whole).backward()
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def difference(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    """Norm of the difference of two whole gradients over the norm of the second."""
    if one.keys() != two.keys():
        raise ValueError(f"the gradients are of different tensors: {sorted(one.keys() ^ two.keys())[:3]}")
    distance = sum(float((one[name].double() - two[name].double()).square().sum()) for name in one)
    return (distance / sum(float(two[name].double().square().sum()) for name in two)) ** 0.5


def launch(command: Sequence[str], num_processes: int, limit: float = 300.0) -> None:
    """Start ``command`` under that many ranks on this machine, as a launcher does; all must end well in ``limit`` s."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes), "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(num_processes)
    ]
    try:
        codes = [process.wait(timeout=limit) for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(codes):
        raise RuntimeError(f"the processes ended with {codes}")


def equal_gradients(folder: Path, cells: Sequence[Cell] = CELLS, count: int = NUM_SAMPLES) -> list[dict[str, Any]]:
    """For every cell how far its gradient is from the hand-written loop's, relative, in fp32."""
    checkpoint = folder / "checkpoint"
    make_checkpoint(checkpoint, make_samples(count))
    expected = plain_gradients(checkpoint, count)
    for processes in sorted({cell.processes for cell in cells}):
        chosen = [(index, asdict(cell)) for index, cell in enumerate(cells) if cell.processes == processes]
        body = {"folder": str(folder), "count": count, "cells": chosen}
        launch([sys.executable, str(Path(__file__).resolve()), "--worker", json.dumps(body)], processes)
    return [
        {**asdict(cell), "name": cell.name, "difference": difference(found_gradients(folder / str(index)), expected)}
        for index, cell in enumerate(cells)
    ]


def _work(body: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1)
    for index, cell in body["cells"]:
        folder = Path(body["folder"])
        one_step(Cell(**cell), folder / "checkpoint", body["count"], folder / str(index))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def measure(results: Results, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = equal_gradients(Path(folder))
    table(["split of the step", "relative difference"], [[row["name"], f"{row['difference']:.1e}"] for row in found])
    results.target("largest relative difference of gradients, fp32", max(row["difference"] for row in found), "<= 1e-5")
    results.details["gradients"] = found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _work(json.loads(sys.argv[2]))
    else:
        main("gradients", measure)
