"""How much the staged trainer adds to a bare loop over the same rows, on the demo's model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from infimed_core import Sample, TrainingContext, Turn
from infimed_core.plan.rows import assemble
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL

NUM_STEPS = 8


class Rows:
    """One row of about 1,000 tokens in each step, made before the clock starts."""

    plan_hash = "rows"
    num_steps = NUM_STEPS

    def __init__(self, encoder) -> None:
        random = np.random.default_rng(0)
        sample = Sample.model_construct(
            id="s",
            turns=(
                Turn(role="user", content=(0, "In which plane is this slice of the head seen?")),
                Turn(role="assistant", content=("It is an axial slice.",)),
            ),
            media=(),
        )
        self._rows = []
        for _ in range(NUM_STEPS):
            images = [random.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(16)]
            self._rows.append(assemble([encoder.encode(sample, [image], 9) for image in images]))

    def num_rows(self, step):
        return 1

    def row(self, step, index):
        return self._rows[step]

    def rows(self, step):
        return [self._rows[step]]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    model = TinyQwen3VL()
    checkpoint = model.prepare(tmp_path_factory.mktemp("model"), lambda: ["which plane is the slice seen in"], 0)
    network = model.load(checkpoint)
    return network, Rows(network.encoder)


def bare_loop(network, rows) -> None:
    module = network.module.train()
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    for step in range(NUM_STEPS):
        for row in rows.rows(step):
            hidden = network.hidden_states(row)
            place = torch.from_numpy(np.flatnonzero(row.labels >= 0))
            labels = torch.from_numpy(row.labels)[place]
            torch.nn.functional.cross_entropy(network.output_embedding()(hidden[place]), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    module.eval()


@pytest.mark.parametrize("loop", ["bare", "staged"])
def test_a_step_of_the_staged_trainer_beside_a_bare_one(benchmark, parts, tmp_path, loop):
    network, rows = parts
    trainer = StagedTrainer(stages=({"name": "one"},), num_workers=0)
    context = TrainingContext(directory=tmp_path, seed=0, emit=lambda *_: None)

    def staged():
        trainer.train(network, rows, trainer.stages[0], context)

    benchmark.extra_info["steps"] = NUM_STEPS
    benchmark.pedantic(staged if loop == "staged" else lambda: bare_loop(network, rows), rounds=5, warmup_rounds=1)
