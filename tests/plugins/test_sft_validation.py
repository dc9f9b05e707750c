"""Measuring within a stage: it changes no weight, survives a stop, and finds what a loop by hand finds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from sft_fake_model import FakeBatches, FakeMeasurements, FakeModel

from infimed_core import IGNORED_LABEL, TrainingContext
from infimed_plugins.sft.trainer import StagedTrainer

pytestmark = pytest.mark.usefixtures("one_thread")


def train(directory, measurements=None, stop_after=None, precision="fp32", **stage):
    events = []

    def emit(kind, payload):
        events.append((kind, dict(payload)))
        if kind == "log" and payload["step"] - 1 == stop_after:
            context.stopped.set()

    context = TrainingContext(directory=directory, seed=3, emit=emit, measurements=measurements)
    trainer = StagedTrainer(stages=({"name": "one", "learning_rate": 1e-2, **stage},), precision=precision)
    model = FakeModel(dropout=0.2)
    facts = None
    try:
        facts = trainer.train(model, FakeBatches(num_steps=7), trainer.stages[0], context)
    except KeyboardInterrupt:
        assert stop_after is not None
    return model, facts, [payload for kind, payload in events if kind == "evaluation"]


LORA = {"lora": {"rank": 2, "dropout": 0.1}}


@pytest.mark.parametrize("stage", [{}, LORA, {"trainable": ["projector"], "precision": "bf16-mixed"}], ids=str)
def test_weights_and_losses_are_bit_equal_with_and_without(tmp_path, stage):
    if "lora" in stage:
        pytest.importorskip("peft", reason="needs the extra lora")
    plain, facts, nothing = train(tmp_path / "plain", **stage)
    measured, found, told = train(tmp_path / "measured", FakeMeasurements(), **stage)
    for name, weight in plain.weights().items():
        assert torch.equal(weight, measured.weights()[name]), name
    assert facts["curve"] == found["curve"]
    assert nothing == [] and "evaluations" not in facts
    assert [entry["step"] for entry in told] == [2, 4, 6, 7], "every second step, and the last"
    assert told == found["evaluations"]
    assert found["evaluation_seconds"] > 0


def test_the_loss_held_out_is_the_mean_over_its_supervised_tokens(tmp_path):
    measurements = FakeMeasurements(every=100)
    model, facts, _ = train(tmp_path, measurements)
    losses = []
    model.module.eval()
    with torch.no_grad():
        for row in measurements.held_out.rows(0):
            place = np.flatnonzero(row.labels != IGNORED_LABEL)
            logits = model.module.head(model.hidden_states(row))[place]
            losses += functional.cross_entropy(logits, torch.from_numpy(row.labels[place]), reduction="none").tolist()
    (entry,) = facts["evaluations"]
    assert entry["held_out_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert (entry["held_out_tokens"], entry["held_out_samples"]) == (len(losses), 12)
    weights = model.module.norm.weight[:6].sum().item()
    assert entry["benchmarks"]["numbers"]["sum"]["value"] == pytest.approx(weights, rel=1e-5)


@pytest.mark.parametrize("stop_after", [2, 3])
def test_a_stop_loses_no_measurement_and_makes_none_twice(tmp_path, stop_after):
    _, whole, _ = train(tmp_path / "whole", FakeMeasurements())
    _, nothing, before = train(tmp_path / "run", FakeMeasurements(), stop_after=stop_after)
    _, facts, after = train(tmp_path / "run", FakeMeasurements())
    assert nothing is None and facts["resumed_from"] == stop_after + 1
    assert before + after == whole["evaluations"] == facts["evaluations"]


def test_what_may_be_measured_can_change_between_a_stop_and_the_next_run(tmp_path):
    train(tmp_path, None, stop_after=2)
    _, facts, _ = train(tmp_path, FakeMeasurements(), save_every=50)
    assert facts["resumed_from"] == 3 and [entry["step"] for entry in facts["evaluations"]] == [4, 6, 7]
