"""The staged trainer on the real architecture: Qwen3-VL, tiny, with images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from sft_real_model import Rows, make_source

from infimed_core import TrainingContext
from infimed_plugins.sft.parameters import make_optimizer, trainable_parameters
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.sft.trainer import StagedTrainer

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def deep_source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("model"), layers=6)


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


def test_every_group_has_its_rate_deepstack_mergers_the_projectors_and_biases_and_norms_do_not_decay(source):
    model, checkpoint = source
    network = model.load(checkpoint)
    rates = {"vision": 1e-6, "projector": 1e-4, "language": 1e-5, "embeddings": 2e-5}
    stage = TrainingStage(name="one", learning_rate=rates, weight_decay=0.1)
    optimizer = make_optimizer(trainable_parameters(network, stage), stage)
    names = {id(parameter): name for name, parameter in network.module.named_parameters()}
    found = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert sorted(found) == sorted(names.values()), "every parameter once, a tied one too"
    for name, (rate, decay) in found.items():
        group = next(group for group, members in network.parameter_groups().items() if name in members)
        assert rate == rates[group], name
        plain = name.endswith("bias") or "norm" in name.split(".")[-2]
        assert decay == (0.0 if plain else 0.1), name
    mergers = [name for name in found if "deepstack_merger_list" in name]
    assert mergers and {found[name][0] for name in mergers} == {rates["projector"]}
    assert {decay for _, decay in found.values()} == {0.0, 0.1}


def test_recomputed_activations_give_the_same_training(source, tmp_path):
    plain, _, facts = train(source, tmp_path / "plain")
    again, _, recomputed = train(source, tmp_path / "again", activation_checkpointing=True)
    assert not again.module.is_activation_checkpointing
    assert [e["loss"] for e in recomputed["curve"]] == pytest.approx([e["loss"] for e in facts["curve"]], rel=1e-5)
    for name, weight in plain.module.named_parameters():
        torch.testing.assert_close(weight, dict(again.module.named_parameters())[name], rtol=1e-4, atol=1e-5)


LORA = {"lora": {"rank": 4, "groups": ["language", "vision"]}}


@pytest.mark.parametrize(
    "stage",
    [{}, LORA, *({"trainable": names.split()} for names in ("language", "projector language", "vision", "projector"))],
    ids=str,
)
def test_the_operations_by_arithmetic_are_those_that_torch_counts(deep_source, tmp_path, stage):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Of torch's ways on the CPU only the plain one shows the counter its matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network, _, facts = train(deep_source, tmp_path, **stage)
    # It computes causal squares whole: the half that is masked is in torch's figure and not in ours.
    lengths = [np.diff(row.cu_seqlens) for s in range(2) for row in Rows(network.encoder).rows(s)]
    extra = 3 * 4 * (6 * 32) * sum(float((own.astype(float) ** 2).sum()) / 2 for own in lengths)
    assert facts["flops"] + extra == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert facts["images"] == 12 and facts["samples"] == 12
