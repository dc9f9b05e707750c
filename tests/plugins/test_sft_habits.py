"""Habits of other tools: noise on embeddings, other optimizers, and a pointer for files that are none of ours."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from sft_fake_model import FakeBatches, FakeModel
from sft_real_model import Rows, make_source

from infimed_core import InfimedError, TrainingContext
from infimed_plugins.reporting.check import recipe_of_another_tool
from infimed_plugins.sft.noise import noisy_embeddings
from infimed_plugins.sft.stages import Lora, TrainingStage
from infimed_plugins.sft.trainer import StagedTrainer

pytestmark = pytest.mark.usefixtures("one_thread")


def train(model, directory, context=None, **stage):
    trainer = StagedTrainer(stages=({"name": "one", "learning_rate": 1e-2, **stage},))
    context = context or TrainingContext(directory=directory, seed=3, emit=lambda kind, payload: None)
    return trainer.train(model, FakeBatches(), trainer.stages[0], context)


def test_noise_is_within_its_bound_by_the_length_of_each_sample(tmp_path):
    model, checkpoint = make_source(tmp_path)
    network = model.load(checkpoint)
    row = Rows(network.encoder).row(0, 0)
    seen = []
    stage = TrainingStage(name="one", neftune_alpha=5.0)
    embeddings = network.module.get_input_embeddings()
    plain = embeddings(torch.from_numpy(row.input_ids))
    with noisy_embeddings(network, stage):
        # Registered later, so that it sees what the noise left.
        late = embeddings.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
        network.module.eval()
        quiet = network.hidden_states(row)
        network.module.train()
        torch.manual_seed(0)
        noisy = network.hidden_states(row)
        late.remove()
    assert torch.equal(seen[0].reshape(plain.shape), plain)  # nothing is added where nothing learns
    assert not torch.allclose(quiet, noisy)
    difference = (seen[1].reshape(plain.shape) - plain).detach().abs()
    lengths = np.diff(row.cu_seqlens)
    bounds = torch.from_numpy(5.0 / np.sqrt(np.repeat(lengths, lengths) * plain.shape[-1]))[:, None]
    assert (difference <= bounds * 1.0001).all() and (difference.max(dim=1).values > 0.5 * bounds[:, 0]).all()
    assert "hidden_states" not in vars(network) and not embeddings._forward_hooks


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adafactor"},
        {"optimizer": "sgd"},
        {"optimizer": "muon", "schedule": "inverse-square-root"},
        {"neftune_alpha": 5.0},
    ],
)
def test_a_stopped_stage_goes_on_bit_equal_whatever_the_habit(tmp_path, settings):
    whole, model = FakeModel(), FakeModel()
    facts = train(whole, tmp_path / "whole", **settings)
    assert facts["loss_last"] < facts["loss_first"]
    assert any(not torch.equal(weight, FakeModel().weights()[name]) for name, weight in whole.weights().items())

    def stop(kind, payload):
        if kind == "log" and payload["step"] == 3:
            context.stopped.set()

    context = TrainingContext(directory=tmp_path / "stopped", seed=3, emit=stop)
    with pytest.raises(KeyboardInterrupt):
        train(model, tmp_path / "stopped", context, **settings)
    assert train(model, tmp_path / "stopped", **settings)["resumed_from"] == 3
    assert all(torch.equal(weight, model.weights()[name]) for name, weight in whole.weights().items())


def test_settings_that_are_not_set_change_no_identity():
    stage = TrainingStage(name="one", lora=Lora(rank=4))
    said = StagedTrainer(stages=(stage,)).result_identity(stage)
    for name in ("neftune_alpha", "optimizer", "dora", "targets", "merge", "augmentations"):
        assert name not in said
    other = TrainingStage(name="one", lora=Lora(rank=4, merge=False, dora=True), neftune_alpha=5.0)
    told = StagedTrainer(stages=(other,)).result_identity(other)
    assert all(name in told for name in ("neftune_alpha", "dora", "merge"))


RECIPES = {
    "model_name_or_path: Qwen/Qwen3-VL-4B\nstage: sft\ndataset: a\n": "LLaMA-Factory",
    "CUDA_VISIBLE_DEVICES=0 \\\nswift sft --model Qwen --dataset a.jsonl\n": "ms-swift",
    "NPROC_PER_NODE=2 swift sft --model Qwen\n": "ms-swift",
    "run: {name: a}\ndata: {sources: []}\nmodel: {use: x}\n": None,
    "dataset: mine\n": None,
}


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_of_another_tool_is_known_by_what_no_run_file_has(tmp_path, text):
    file = tmp_path / "file"
    file.write_text(text)
    assert recipe_of_another_tool(file) == RECIPES[text]


def test_check_names_the_command_that_converts(tmp_path):
    from typer.testing import CliRunner

    from infimed_core import load_plugins
    from infimed_core.cli import application

    file = tmp_path / "train.yaml"
    file.write_text(next(iter(RECIPES)))
    result = CliRunner().invoke(application(load_plugins(), "check"), ["check", str(file)])
    assert isinstance(result.exception, InfimedError)
    assert f"infimed convert llama-factory {file}" in str(result.exception)
