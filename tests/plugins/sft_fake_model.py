"""A tiny causal transformer with a vision tower, and rows for it: the trainer's contract without a real model."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from infimed_core import IGNORED_LABEL, DataError, Encoded, Fault, PackedBatch, TrainableModel
from infimed_core.plan.rows import assemble

VOCABULARY, WIDTH, FEATURES = 40, 16, 6


class Block(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, cu_seqlens):
        query, key, value = self.mix(self.norm(x)).chunk(3, dim=-1)
        parts = [
            functional.scaled_dot_product_attention(query[None, a:b], key[None, a:b], value[None, a:b], is_causal=True)[
                0
            ]
            for a, b in zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True)
        ]
        return x + self.dropout(self.out(functional.gelu(torch.cat(parts))))


class FakeModule(nn.Module):
    def __init__(self, tied: bool, dropout: float) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=2, hidden_size=WIDTH)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.place = nn.Embedding(128, WIDTH)
        self.vision = nn.Linear(FEATURES, WIDTH)
        self.projector = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(Block(dropout) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def get_input_embeddings(self):
        return self.embed

    def hidden(self, batch: PackedBatch):
        x = self.embed(torch.from_numpy(batch.input_ids))
        pixels = batch.vision.get("pixel_values")
        if pixels is not None and len(pixels):
            seen = self.projector(torch.tanh(self.vision(torch.from_numpy(pixels).to(self.vision.weight.dtype))))
            x = x.index_put((torch.from_numpy(np.flatnonzero(batch.token_types)),), seen.to(x.dtype))
        x = x + self.place(torch.from_numpy(batch.positions[0]))
        for block in self.blocks:
            x = block(x, batch.cu_seqlens)
        return self.norm(x)


class FakeModel(TrainableModel):
    def __init__(self, seed: int = 0, tied: bool = False, dropout: float = 0.0, dtype=torch.float32) -> None:
        torch.manual_seed(seed)
        self._module = FakeModule(tied, dropout).to(dtype).eval()

    identity = "fake"
    encoder = None

    @property
    def module(self):
        return self._module

    def hidden_states(self, batch):
        return self._module.hidden(batch)

    def output_embedding(self):
        return self._module.head

    def parameter_groups(self):
        groups = {"vision": [], "projector": [], "language": [], "embeddings": []}
        for name, _ in self._module.named_parameters(remove_duplicate=False):
            first = name.split(".")[0]
            group = first if first in groups else "embeddings" if first in ("embed", "head") else "language"
            groups[group].append(name)
        return groups

    def can_pack(self):
        return True, "attention is per segment"

    def answer(self, requests, media):
        raise NotImplementedError

    def save(self, directory):
        from safetensors.torch import save_file

        directory.mkdir(parents=True, exist_ok=True)
        save_file(self.weights(), directory / "model.safetensors")

    def weights(self):
        return {name: p.detach().clone() for name, p in self._module.named_parameters()}


def make_sample(index: int, seed: int = 0) -> Encoded:
    """A random sample: every third without an image, answers of one to eight tokens."""
    random = np.random.default_rng([seed, index])
    num_visual = 0 if index % 3 == 0 else int(random.integers(1, 5))
    num_text, num_answer = int(random.integers(2, 9)), int(random.integers(1, 9))
    length = num_visual + num_text + num_answer
    ids = random.integers(1, VOCABULARY, length)
    # The answer follows from the question, so that there is something to learn.
    ids[-num_answer:] = (ids[num_visual] + np.arange(num_answer)) % (VOCABULARY - 1) + 1
    labels = np.full(length, IGNORED_LABEL)
    labels[length - num_answer - 1 : length - 1] = ids[-num_answer:]
    types = (np.arange(length) < num_visual).astype(np.int64)
    return Encoded(
        sample_id=f"sample-{index}",
        input_ids=ids,
        labels=labels,
        positions=np.arange(length)[None],
        token_types=types,
        visual_tokens=(num_visual,) if num_visual else (),
        vision={"pixel_values": random.standard_normal((num_visual, FEATURES)).astype(np.float32)},
    )


def pack(samples: list[Encoded], dropped: tuple[Fault, ...] = ()) -> PackedBatch:
    lengths = [len(sample) for sample in samples]
    return PackedBatch(
        sample_ids=tuple(sample.sample_id for sample in samples),
        input_ids=np.concatenate([sample.input_ids for sample in samples]),
        labels=np.concatenate([sample.labels for sample in samples]),
        positions=np.concatenate([sample.positions for sample in samples], axis=1),
        token_types=np.concatenate([sample.token_types for sample in samples]),
        cu_seqlens=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        visual_tokens=tuple(count for sample in samples for count in sample.visual_tokens),
        vision={"pixel_values": np.concatenate([sample.vision["pixel_values"] for sample in samples])},
        num_supervised=sum(sample.num_supervised for sample in samples),
        dropped=dropped,
    )


class FakeBatches:
    """``samples_per_step`` samples in every step, packed into rows of ``samples_per_row``."""

    def __init__(
        self,
        num_steps: int = 6,
        samples_per_step: int = 8,
        samples_per_row: int = 4,
        seed: int = 0,
        empty_row: list[int] | None = None,
    ) -> None:
        self.num_steps, self._per_step, self._per_row, self._seed = num_steps, samples_per_step, samples_per_row, seed
        self._empty_row = empty_row

    @property
    def plan_hash(self) -> str:
        facts = [self.num_steps, self._per_step, self._per_row, self._seed]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def num_rows(self, step: int) -> int:
        return -(-self._per_step // self._per_row)

    def row(self, step: int, index: int) -> PackedBatch:
        if [step, index] == self._empty_row:
            return assemble([], dropped=(Fault(sample_id="lost", code="truncated", detail="ends early"),))
        start = step * self._per_step + index * self._per_row
        stop = min(start + self._per_row, (step + 1) * self._per_step)
        return pack([make_sample(i, self._seed) for i in range(start, stop)])

    def rows(self, step: int) -> list[PackedBatch]:
        return [self.row(step, index) for index in range(self.num_rows(step))]


class FakeMeasurements:
    """Four rows held out, and a benchmark of six questions that each rank's model answers with a number of its own."""

    def __init__(self, every: int = 2, benchmarks: tuple[str, ...] = ("numbers",)) -> None:
        self.every, self.benchmarks, self.at_start = every, benchmarks, False
        self.held_out = FakeBatches(num_steps=1, samples_per_step=12, samples_per_row=3, seed=9)

    def ask(self, model, rank, size):
        assert not any(part.training for part in model.module.modules()) and not torch.is_grad_enabled()
        torch.rand(3)  # a model may draw: training must not notice
        return [[number, float(model.module.norm.weight[number])] for number in range(rank, 6, size)]

    def summarise(self, shares):
        found = sorted(pair for share in shares for pair in share)
        return {"numbers": {"questions": len(found), "sum": {"value": sum(value for _, value in found)}}}


class FaultyBatches(FakeBatches):
    def row(self, step: int, index: int) -> PackedBatch:
        if step == 2:
            raise DataError("truncated", "a.png: ends early")
        return super().row(step, index)


def main(arguments: list[str]) -> None:
    """Train in a process of its own; arguments: directory, settings (JSON), weights' file, pause per step, dropout."""
    import time

    from safetensors.torch import save_file

    from infimed_core import TrainingContext
    from infimed_plugins.sft.trainer import StagedTrainer

    torch.set_num_threads(1)
    directory, settings, target, pause, dropout = arguments
    options = json.loads(settings)
    batches = FakeBatches(**options.pop("batches", {}))
    own = {name: options.pop(name) for name in ("num_workers", "parallel", "precision") if name in options}
    stop_after = options.pop("stop_after", None)
    measurements = FakeMeasurements(**options.pop("measure")) if "measure" in options else None
    trainer = StagedTrainer(stages=({"name": "one", **options},), **own)

    def emit(kind, payload):
        if kind == "log":
            print("finished", payload["step"] - 1, flush=True)
            time.sleep(float(pause))
            if payload["step"] == stop_after:
                context.stopped.set()

    model = FakeModel(dropout=float(dropout))
    context = TrainingContext(directory=Path(directory), seed=3, emit=emit, measurements=measurements)
    try:
        facts = trainer.train(model, batches, trainer.stages[0], context)
    except KeyboardInterrupt:
        if stop_after is None:
            raise
        return
    if facts["rank"] == 0:
        save_file(model.weights(), target)
        Path(target).with_suffix(".json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1:])
