"""LoRA: adapters alone learn, the weights beneath stay bit-equal until they are merged, then load anywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

pytest.importorskip("peft", reason="needs the extra lora")
sys.path.insert(0, str(Path(__file__).parent))
from sft_fake_model import FakeBatches, FakeModel
from sft_real_model import Rows, make_source

from infimed_core import InfimedError, TrainingContext
from infimed_plugins.sft.adapters import adapters
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.sft.trainer import StagedTrainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("model"))


def train(model, batches, directory, events=None, context=None, **stage):
    trainer = StagedTrainer(stages=({"name": "one", "learning_rate": 1e-2, "lora": {"rank": 4}, **stage},))
    emit = (lambda kind, payload: events.append((kind, dict(payload)))) if events is not None else lambda *_: None
    context = context or TrainingContext(directory=directory, seed=3, emit=emit)
    return trainer.train(model, batches, trainer.stages[0], context)


def test_the_merged_checkpoint_loads_with_stock_transformers_and_only_its_linear_layers_moved(source, tmp_path):
    from transformers import Qwen3VLForConditionalGeneration

    model, checkpoint = source
    network = model.load(checkpoint)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    kinds = {name: type(part) for name, part in network.module.named_modules()}
    rows = Rows(network.encoder)
    facts = train(network, rows, tmp_path / "state", lora={"rank": 4, "groups": ["language", "projector"]})
    after = network.module.state_dict()
    assert after.keys() == before.keys()
    assert {name: type(part) for name, part in network.module.named_modules()} == kinds
    assert not hasattr(network.module, "peft_config")
    linear = {name + ".weight" for name, part in network.module.named_modules() if type(part) is torch.nn.Linear}
    groups = network.parameter_groups()
    adapted = {name for name in (*groups["language"], *groups["projector"]) if name in linear}
    assert any("deepstack" in name for name in adapted)
    # What the second one adds after the last layer is seen by nobody: it has no gradient here.
    adapted = {name for name in adapted if "deepstack_merger_list.1" not in name}
    for name in before:
        assert torch.equal(before[name], after[name]) is (name not in adapted), name
    network.save(tmp_path / "saved")
    stock = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "saved").state_dict()
    assert all(torch.equal(stock[name], tensor) for name, tensor in after.items())
    again = model.load(tmp_path / "saved")
    with torch.no_grad():
        assert torch.equal(again.hidden_states(rows.row(0, 0)), network.hidden_states(rows.row(0, 0)))
    assert facts["loss_last"] < facts["loss_first"]


def test_what_was_merged_answers_like_the_adapters_beside_the_weights(source):
    model, checkpoint = source
    network = model.load(checkpoint)
    stage = TrainingStage(name="one", lora={"rank": 4, "groups": ("language", "vision")})
    row = Rows(network.encoder).row(0, 0)
    plain = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    with torch.no_grad(), adapters(network, stage, 0) as names:
        for name, parameter in network.module.named_parameters():
            if name in names:
                parameter.normal_(std=0.3)
        held = {name.replace(".base_layer", ""): t for name, t in network.module.state_dict().items()}
        assert all(torch.equal(held[name], tensor) for name, tensor in plain.items())
        beside = network.hidden_states(row)
    with torch.no_grad():
        torch.testing.assert_close(network.hidden_states(row), beside, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(model.load(checkpoint).hidden_states(row), beside, atol=1e-2)


def test_base_weights_are_bit_equal_in_every_step(tmp_path):
    model = FakeModel()
    before = model.weights()

    def check(kind, payload):
        if kind == "log":
            held = {name.replace(".base_layer", ""): p for name, p in model.module.named_parameters()}
            assert all(torch.equal(before[name], held[name]) for name in before)
            steps.append(payload["step"])

    steps = []
    train(model, FakeBatches(), tmp_path, context=TrainingContext(directory=tmp_path, seed=3, emit=check))
    assert steps == list(range(1, 7))
    moved = {name for name, weight in model.weights().items() if not torch.equal(before[name], weight)}
    assert moved == {f"blocks.{block}.{layer}.weight" for block in (0, 1) for layer in ("mix", "out")}


def test_a_group_may_learn_wholly_beside_the_adapters(tmp_path):
    model = FakeModel()
    before = model.weights()
    rates = {"language": 1e-2, "projector": 1e-3}
    train(model, FakeBatches(), tmp_path, trainable=("projector",), learning_rate=rates)
    moved = {name.split(".")[0] for name, weight in model.weights().items() if not torch.equal(before[name], weight)}
    assert moved == {"projector", "blocks"}


def test_a_stopped_lora_stage_leaves_no_trace_and_goes_on_bit_equal(tmp_path):
    whole = FakeModel()
    settings = {"lora": {"rank": 4, "dropout": 0.2}, "save_every": 2}
    train(whole, FakeBatches(), tmp_path / "whole", **settings)
    model, directory = FakeModel(), tmp_path / "stopped"
    before = model.weights()

    def stop(kind, payload):
        if kind == "log" and payload["step"] == 3:
            context.stopped.set()

    context = TrainingContext(directory=directory, seed=3, emit=stop)
    with pytest.raises(KeyboardInterrupt):
        train(model, FakeBatches(), directory, context=context, **settings)
    assert model.weights().keys() == before.keys()
    assert all(torch.equal(before[name], weight) for name, weight in model.weights().items())
    facts = train(model, FakeBatches(), directory, **settings)
    assert facts["resumed_from"] == 3
    assert all(torch.equal(weight, model.weights()[name]) for name, weight in whole.weights().items())


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ValidationError, match="the group 'language' cannot have adapters and learn wholly"):
        TrainingStage(name="one", trainable=("language",), lora={})
    with pytest.raises(ValidationError, match=r"no rate for the trainable group\(s\) language"):
        TrainingStage(name="one", learning_rate={"vision": 1e-3}, lora={})
    with pytest.raises(InfimedError, match="no group 'languge' for lora"):
        train(FakeModel(), FakeBatches(), tmp_path, lora={"groups": ["languge"]})
    with pytest.raises(InfimedError, match="the group 'embeddings' has no linear layer of its own"):
        train(FakeModel(tied=True), FakeBatches(), tmp_path, lora={"groups": ["embeddings"]})
