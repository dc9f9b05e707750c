"""The gradient of a step is that of its samples, however they are split into rows, chunks and ranks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from forked import launch
from sft_fake_model import FakeBatches, FakeModel, make_sample, pack

from infimed_core import TrainingContext
from infimed_plugins.sft.loss import linear_cross_entropy, supervised
from infimed_plugins.sft.rates import rate_factor
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.sft.trainer import StagedTrainer

SCRIPT = Path(__file__).parent / "sft_fake_model.py"
WEIGHTINGS = ("token", "sample", "square-root")


pytestmark = pytest.mark.usefixtures("one_thread")


def gradients_in(directory: Path) -> dict[str, torch.Tensor]:
    """Gradients of the first step, from the state after it: the first moment is a tenth of the gradient."""
    from safetensors.torch import load_file

    moments = load_file(directory / "step-000000001" / "optimizer.safetensors")
    return {key.split("|")[0]: tensor * 10 for key, tensor in moments.items() if key.endswith("|exp_avg")}


def one_step(directory: Path, samples_per_row: int, weighting: str) -> dict[str, torch.Tensor]:
    stage = {"name": "one", "max_gradient_norm": None, "loss_weighting": weighting, "save_every": 1}
    trainer = StagedTrainer(stages=(stage,), num_workers=0)
    context = TrainingContext(directory=directory, seed=0, emit=lambda *_: None)
    trainer.train(FakeModel(), FakeBatches(2, 12, samples_per_row), trainer.stages[0], context)
    return gradients_in(directory)


def plain(weighting: str) -> dict[str, torch.Tensor]:
    """The same gradients from a hand-written loop over single samples, without anything of the trainer."""
    model = FakeModel()
    samples = [make_sample(i) for i in range(12)]
    shares = {"token": lambda k: k, "sample": lambda k: 1.0, "square-root": np.sqrt}[weighting]
    whole = sum(shares(sample.num_supervised) for sample in samples)
    for sample in samples:
        logits = model.module.head(model.hidden_states(pack([sample])))
        mean = functional.cross_entropy(logits, torch.from_numpy(sample.labels))
        (mean * shares(sample.num_supervised) / whole).backward()
    return {name: parameter.grad for name, parameter in model.module.named_parameters()}


def assert_close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert (one[name] - two[name]).norm() <= 1e-5 * two[name].norm(), name


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_gradient_is_that_of_single_samples_for_any_split_into_rows(tmp_path, weighting):
    expected = plain(weighting)
    for samples_per_row in (1, 3, 5, 12):
        assert_close(one_step(tmp_path / str(samples_per_row), samples_per_row, weighting), expected)


@pytest.mark.slow
def test_the_gradient_is_the_same_on_two_processes(tmp_path):
    stage = {"max_gradient_norm": None, "loss_weighting": "square-root", "save_every": 1}
    # Three rows in a step: the two ranks do not get equally many, and some rows hold no image.
    stage["batches"] = {"num_steps": 2, "samples_per_step": 12, "samples_per_row": 4}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "two"), json.dumps(stage), str(tmp_path / "out"), "0", "0"]
    launch(command, 2)
    assert_close(gradients_in(tmp_path / "two"), plain("square-root"))
    facts = json.loads((tmp_path / "out.json").read_text())
    assert (facts["ranks"], facts["rows"], facts["samples"]) == (2, 6, 24)


def test_every_sample_weighs_what_the_weighting_says():
    samples = [make_sample(i) for i in range(6)]
    row = pack(samples)
    for weighting, share in (("token", lambda k: k), ("sample", lambda k: 1.0), ("square-root", np.sqrt)):
        positions, weights = supervised(row, weighting)
        assert (row.labels[positions] >= 0).all() and len(positions) == row.num_supervised
        for i, sample in enumerate(samples):
            inside = (positions >= row.cu_seqlens[i]) & (positions < row.cu_seqlens[i + 1])
            assert weights[inside].sum() == pytest.approx(share(sample.num_supervised))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["linear", "module"])
def test_a_loss_in_chunks_equals_the_loss_at_once(bias, kind):
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 20, bias=bias, dtype=torch.float64).float()
    head = head if kind == "linear" else torch.nn.Sequential(head)
    hidden = torch.randn(13, 8, requires_grad=True)
    labels, weights = torch.randint(0, 20, (13,)), torch.rand(13)
    results = []
    for logits_at_once in (10**9, 20 * 5, 1):
        if kind == "module":
            logits_at_once = max(logits_at_once, 2**17 * 5)
        loss = linear_cross_entropy(hidden, head, labels, weights, logits_at_once)
        results.append([loss, *torch.autograd.grad(2.0 * loss, [hidden, *head.parameters()])])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_chunks_leave_a_frozen_head_without_gradient():
    head = torch.nn.Linear(8, 20).requires_grad_(False)
    hidden = torch.randn(13, 8, requires_grad=True)
    linear_cross_entropy(hidden, head, torch.zeros(13, dtype=torch.int64), torch.ones(13), 40).backward()
    assert hidden.grad is not None and head.weight.grad is None


@settings(max_examples=100, deadline=None)
@given(
    schedule=st.sampled_from(["cosine", "linear", "polynomial", "constant", "warmup-stable-decay"]),
    num_steps=st.integers(1, 300),
    warmup=st.floats(0.0, 0.99),
    decay=st.floats(0.01, 1.0),
    lowest=st.floats(0.0, 1.0),
)
def test_a_rate_rises_once_then_never_rises_and_ends_at_its_lowest(schedule, num_steps, warmup, decay, lowest):
    stage = TrainingStage(name="one", schedule=schedule, warmup=warmup, decay=decay, min_learning_rate_ratio=lowest)
    factors = [rate_factor(stage, step, num_steps) for step in range(num_steps)]
    assert all(0.0 < factor <= 1.0 for factor in factors)
    top = int(np.argmax(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    num_warmup = int(np.ceil(warmup * num_steps))
    assert num_warmup == 0 or factors[num_warmup - 1] == pytest.approx(1.0)
    if schedule != "constant" and lowest > 0.0 and num_warmup < num_steps:
        assert factors[-1] == pytest.approx(lowest)


def test_the_schedules_have_their_known_shapes():
    def factors(**settings):
        stage = TrainingStage(**{"name": "one", "warmup": 0.2, **settings})
        return [rate_factor(stage, step, 10) for step in range(10)]

    assert factors(schedule="constant") == [0.5] + [1.0] * 9
    assert factors(schedule="constant", warmup=4) == [0.25, 0.5, 0.75] + [1.0] * 7
    stable = factors(schedule="warmup-stable-decay", decay=0.3, min_learning_rate_ratio=0.1)
    assert stable == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.7, 0.4, 0.1])
    cosine = factors(schedule="cosine", min_learning_rate_ratio=0.1)
    assert cosine[5] == pytest.approx(0.55) and cosine[9] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("ours", "theirs", "more"),
    [
        ("linear", "linear", {}),
        ("cosine", "cosine", {}),
        ("polynomial", "polynomial", {"power": 2.0, "lr_end": 1e-7}),
        ("cosine-with-restarts", "cosine_with_restarts", {"num_cycles": 2}),
    ],
)
def test_schedules_fall_as_those_of_transformers(ours, theirs, more):
    from transformers import get_scheduler

    num_steps, warmup = 400, 40
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    reference = get_scheduler(theirs, optimizer, warmup, num_steps, scheduler_specific_kwargs=more)
    stage = TrainingStage(name="one", schedule=ours, warmup=warmup, power=2.0, cycles=2)
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    # transformers' first step has the rate 0 and ours moves; a step's difference is all that is between the two.
    here = [rate_factor(stage, step, num_steps) for step in range(num_steps)]
    assert max(abs(ours - after) for ours, after in zip(here[:-1], rates[1:], strict=True)) < 0.003
