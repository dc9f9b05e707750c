"""Qwen3-VL, tiny, and rows with images for it."""

from __future__ import annotations

import hashlib

import numpy as np

from infimed_core import Sample, Turn
from infimed_core.plan.rows import assemble
from infimed_plugins.vlm.tiny import TinyQwen3VL


def make_sample(index: int) -> Sample:
    images = index % 3
    question = (*range(images), f"which plane is slice {index} of the head seen in?")
    answer = ("axial", "coronal and oblique", "it is the sagittal plane")[index % 3]
    return Sample.model_construct(
        id=f"s{index}",
        turns=(Turn(role="user", content=question), Turn(role="assistant", content=(answer,))),
        media=(),
    )


class Rows:
    """Two steps of two rows of three samples; text alone, one image, two images."""

    plan_hash = hashlib.sha256(b"rows").hexdigest()
    num_steps = 2

    def __init__(self, encoder) -> None:
        self._encoder = encoder

    def num_rows(self, step):
        return 2

    def row(self, step, index):
        samples = [make_sample(6 * step + 3 * index + i) for i in range(3)]
        sources = tuple("ab"[int(sample.id[1:]) % 2] for sample in samples)
        return assemble([self._encode(sample) for sample in samples], sources=sources)

    def rows(self, step):
        return [self.row(step, index) for index in range(2)]

    def _encode(self, sample):
        count = len(sample.turns[0].media_indices)
        random = np.random.default_rng(int(sample.id[1:]))
        images = [random.integers(0, 255, (64, 64 + 32 * i, 3), dtype=np.uint8) for i in range(count)]
        return self._encoder.encode(sample, images, 9)


def make_source(directory, layers=2, hidden_size=32):
    """A small model and its checkpoint below ``directory``."""
    model = TinyQwen3VL(hidden_size=hidden_size, layers=layers, heads=2, intermediate_size=64, vision_hidden_size=32)
    model = model.model_copy(update={"vision_layers": 4, "vision_heads": 2, "vision_intermediate_size": 64})
    texts = [turn.text for i in range(12) for turn in make_sample(i).turns]
    return model, model.prepare(directory, lambda: texts, 0)
