"""The staged trainer on the real architecture: Qwen3-VL, tiny, with images."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from infimed_core import Sample, TrainingContext, Turn
from infimed_core.packing import assemble
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
        return assemble([self._encode(sample) for sample in samples])

    def rows(self, step):
        return [self.row(step, index) for index in range(2)]

    def _encode(self, sample):
        count = len(sample.turns[0].media_indices)
        random = np.random.default_rng(int(sample.id[1:]))
        images = [random.integers(0, 255, (64, 64 + 32 * i, 3), dtype=np.uint8) for i in range(count)]
        return self._encoder.encode(sample, images, 9)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    model = TinyQwen3VL(hidden_size=32, layers=2, heads=2, intermediate_size=64, vision_hidden_size=32)
    model = model.model_copy(update={"vision_layers": 4, "vision_heads": 2, "vision_intermediate_size": 64})
    texts = [turn.text for i in range(12) for turn in make_sample(i).turns]
    return model, model.prepare(tmp_path_factory.mktemp("model"), lambda: texts, 0)


def train(source, directory, **stage):
    model, checkpoint = source
    network = model.load(checkpoint)
    before = {name: p.detach().clone() for name, p in network.module.named_parameters()}
    trainer = StagedTrainer(stages=({"name": "one", "learning_rate": 1e-3, **stage},), num_workers=0)
    context = TrainingContext(directory=directory, seed=0, emit=lambda *_: None)
    facts = trainer.train(network, Rows(network.encoder), trainer.stages[0], context)
    return network, before, facts


@pytest.mark.parametrize("group", ["vision", "projector", "language", "embeddings"])
def test_exactly_the_trainable_group_moves(source, tmp_path, group):
    network, before, _ = train(source, tmp_path, trainable=(group,))
    after = dict(network.module.named_parameters())
    for name, members in network.parameter_groups().items():
        moved = [member for member in members if member in before and not torch.equal(before[member], after[member])]
        assert bool(moved) is (name == group), (name, moved[:3])
        if group == "projector" == name:
            assert any("deepstack" in member for member in moved)


def test_recomputed_activations_give_the_same_training(source, tmp_path):
    plain, _, facts = train(source, tmp_path / "plain")
    again, _, recomputed = train(source, tmp_path / "again", activation_checkpointing=True)
    assert not again.module.is_activation_checkpointing
    assert [e["loss"] for e in recomputed["curve"]] == pytest.approx([e["loss"] for e in facts["curve"]], rel=1e-5)
    for name, weight in plain.module.named_parameters():
        torch.testing.assert_close(weight, dict(again.module.named_parameters())[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trainable", [(), ("language",), ("projector", "language"), ("vision",)])
def test_the_operations_by_arithmetic_are_those_that_torch_counts(source, tmp_path, trainable):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network, _, facts = train(source, tmp_path, trainable=trainable)
    # torch counts no attention on the CPU: what is left of our figure is the attention's part, by its formula.
    rows = [row for step in range(2) for row in Rows(network.encoder).rows(step)]
    segments = sum(float(length) ** 2 for row in rows for length in np.diff(row.cu_seqlens))
    images = sum(float(np.prod(grid)) ** 2 for row in rows if row.vision for grid in row.vision["image_grid_thw"])
    language_passes = 3
    vision_passes = 3 if not trainable or "vision" in trainable else 1
    attention = language_passes * 2 * (2 * 32) * segments + vision_passes * 4 * (4 * 32) * images
    assert facts["flops"] - attention == pytest.approx(counter.get_total_flops(), rel=0.03)
    assert facts["images"] == 12 and facts["samples"] == 12
