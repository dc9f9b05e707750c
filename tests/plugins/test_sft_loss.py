"""Which kernel computes the loss, that each gives the same, and the loss of each source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from sft_fake_model import FakeBatches, FakeModel

from infimed_core import InfimedError, TrainingContext
from infimed_plugins.sft.kernels import choose_kernel, is_installed
from infimed_plugins.sft.loss import linear_cross_entropy, row_loss
from infimed_plugins.sft.sources import MOST_SOURCES, OTHERS, SourceLosses
from infimed_plugins.sft.trainer import StagedTrainer

HEAD = torch.nn.Linear(8, 20, bias=False)
BOTH, NONE = (lambda name: True), (lambda name: False)


@pytest.fixture(autouse=True)
def ordinary(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("device", "weighting", "installed", "expected"),
    [
        ("cuda", "token", BOTH, "liger"),
        ("cuda", "square-root", BOTH, "cut-cross-entropy"),
        ("cuda", "sample", lambda name: name == "liger_kernel", "chunked"),
        ("cuda", "token", lambda name: name == "cut_cross_entropy", "cut-cross-entropy"),
        ("cuda", "token", NONE, "chunked"),
        ("cpu", "token", BOTH, "chunked"),
    ],
)
def test_the_fastest_kernel_that_fits_is_taken(device, weighting, installed, expected):
    assert choose_kernel("auto", device, HEAD, weighting, installed) == expected
    assert choose_kernel("chunked", device, HEAD, weighting, installed) == "chunked"


def test_a_head_that_is_no_plain_linear_takes_our_chunks():
    class Head(torch.nn.Linear):
        pass

    assert choose_kernel("auto", "cuda", Head(8, 20), "token", BOTH) == "chunked"
    assert choose_kernel("auto", "cuda", torch.nn.Linear(8, 20), "sample", BOTH) == "chunked"  # cut takes no bias


@pytest.mark.parametrize(
    ("wanted", "device", "weighting", "installed", "message"),
    [
        ("liger", "cuda", "token", NONE, "pip install 'liger-kernel'"),
        ("cut-cross-entropy", "cuda", "token", NONE, "pip install 'cut-cross-entropy'"),
        ("liger", "cpu", "token", BOTH, "needs a CUDA device"),
        ("liger", "cuda", "sample", BOTH, "cannot weigh by 'sample'"),
    ],
)
def test_a_kernel_asked_for_by_name_that_cannot_be_used_is_an_error(wanted, device, weighting, installed, message):
    with pytest.raises(InfimedError, match=message):
        choose_kernel(wanted, device, HEAD, weighting, installed)


def test_the_trainer_says_which_kernel_it_used(tmp_path):
    trainer = StagedTrainer(stages=({"name": "one"},))
    context = TrainingContext(directory=tmp_path, seed=0, emit=lambda *_: None)
    assert trainer.train(FakeModel(), FakeBatches(), trainer.stages[0], context)["loss_kernel"] == "chunked"
    trainer = StagedTrainer(stages=({"name": "one"},), loss_kernel="liger")
    with pytest.raises(InfimedError, match="loss_kernel 'liger' cannot be used"):
        trainer.train(FakeModel(), FakeBatches(), trainer.stages[0], context)


def test_a_missing_package_of_lora_is_told_before_anything_starts(monkeypatch):
    stages = ({"name": "one"}, {"name": "two", "lora": {"rank": 4}})
    assert StagedTrainer(stages=stages).problems({}) == {}
    monkeypatch.setattr("infimed_plugins.sft.trainer.is_installed", lambda name: name != "peft")
    told = StagedTrainer(stages=stages).problems({})
    assert list(told) == ["stages.1.lora"] and "pip install 'infimed[lora]'" in told["stages.1.lora"]


def compare(kernel: str, tolerance: float) -> None:
    """``row_loss`` by a kernel against plain cross-entropy: value, gradients, sums by part."""
    random = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(16, 40, bias=False)
    hidden = torch.randn(23, 16, generator=random)
    labels = torch.randint(0, 40, (23,), generator=random)
    parts = torch.randint(0, 3, (23,), generator=random)
    weights = torch.full((23,), 0.25) if kernel == "liger" else torch.rand(23, generator=random)
    found = []
    for name in (kernel, "plain"):
        own, sums = hidden.clone().requires_grad_(), torch.zeros(3)
        head.weight.grad = None
        if name == "plain":
            losses = functional.cross_entropy(head(own), labels, reduction="none")
            sums.index_add_(0, parts, losses.detach())
            loss = weights @ losses
        else:
            loss = row_loss(name, own, head, labels, weights, parts, sums)
        loss.backward()
        found.append((loss.detach(), sums, own.grad, head.weight.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_our_chunks_give_value_gradients_and_parts():
    compare("chunked", 1e-6)


@pytest.mark.parametrize("kernel", ["liger", "cut-cross-entropy"])
def test_another_packages_kernel_gives_the_same(kernel):
    pytest.importorskip({"liger": "liger_kernel", "cut-cross-entropy": "cut_cross_entropy"}[kernel], reason="optional")
    if not is_installed("triton"):
        pytest.skip("triton is not installed")
    # In a process of its own: triton reads its variable when it is imported. The CPU runs what a GPU would, by steps.
    command = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_sft_loss as t; "
    command += f"t.compare({kernel!r}, 1e-5)"
    subprocess.run([sys.executable, "-c", command], check=True, env={**os.environ, "TRITON_INTERPRET": "1"})


def test_losses_of_positions_are_the_same_in_one_chunk_and_in_many():
    hidden, labels = torch.randn(30, 8), torch.randint(0, 20, (30,))
    wanted = functional.cross_entropy(HEAD(hidden), labels, reduction="none")
    for head in (HEAD, torch.nn.Sequential(HEAD)):
        for logits in (2**20, 60):
            each = torch.empty(30)
            loss = linear_cross_entropy(hidden.requires_grad_(), head, labels, torch.ones(30), logits, losses=each)
            torch.testing.assert_close(each, wanted)
            torch.testing.assert_close(loss, wanted.sum())


class Sourced(FakeBatches):
    """Samples with an even number come from a, with an odd one from b; answers of b are noise."""

    def row(self, step, index):
        row = super().row(step, index)
        sources = tuple("ab"[int(identity.split("-")[1]) % 2] for identity in row.sample_ids)
        random = np.random.default_rng([step, index])
        noisy = np.array([sources[s] == "b" for s in np.searchsorted(row.cu_seqlens, np.arange(len(row)), "right") - 1])
        labels = np.where((row.labels >= 0) & noisy, random.integers(0, 40, len(row)), row.labels)
        return replace(row, sources=sources, labels=labels)


def test_the_loss_of_each_source_is_told_and_they_add_up_to_the_whole(tmp_path):
    events = []
    trainer = StagedTrainer(stages=({"name": "one", "learning_rate": 1e-2},))
    emit = lambda kind, payload: events.append((kind, dict(payload)))  # noqa: E731
    batches = Sourced(num_steps=60)
    context = TrainingContext(directory=tmp_path, seed=0, emit=emit)
    facts = trainer.train(FakeModel(), batches, trainer.stages[0], context)
    sources = facts["sources"]
    assert set(sources) == {"a", "b"}
    assert sources["a"]["loss_last"] < 0.9 * sources["a"]["loss_first"]
    assert sources["b"]["loss_last"] > sources["a"]["loss_last"] + 0.2
    assert sum(one["supervised_tokens"] for one in sources.values()) == facts["supervised_tokens"]
    for step, entry in enumerate(facts["curve"]):
        tokens = {"a": 0, "b": 0}
        for row in batches.rows(step):
            owners = np.searchsorted(row.cu_seqlens, np.flatnonzero(row.labels >= 0), side="right") - 1
            for owner in owners:
                tokens[row.sources[owner]] += 1
        parts = entry["loss_by_source"]
        whole = sum(parts[name] * tokens[name] for name in tokens) / sum(tokens.values())
        assert whole == pytest.approx(entry["loss"], rel=1e-5)
    assert [p["loss_by_source"] for kind, p in events if kind == "log"] == [e["loss_by_source"] for e in facts["curve"]]


def test_a_loss_that_is_not_finite_stays_out_of_the_sources(tmp_path):
    class Broken(FakeModel):
        calls = 0

        def hidden_states(self, batch):
            self.calls += 1
            return super().hidden_states(batch) * (float("nan") if self.calls == 3 else 1.0)

    trainer = StagedTrainer(stages=({"name": "one", "on_bad_loss": "skip"},))
    context = TrainingContext(directory=tmp_path, seed=0, emit=lambda *_: None)
    facts = trainer.train(Broken(), Sourced(), trainer.stages[0], context)
    assert [skipped["step"] for skipped in facts["skipped_steps"]] == [2]
    assert all(np.isfinite(source["loss"]) for source in facts["sources"].values())
    json.dumps(facts, allow_nan=False)


def test_sources_survive_a_stop(tmp_path):
    def train(directory, stop_at=None):
        def emit(kind, payload):
            if kind == "log" and payload["step"] == stop_at:
                context.stopped.set()

        trainer = StagedTrainer(stages=({"name": "one", "learning_rate": 1e-2},))
        context = TrainingContext(directory=directory, seed=0, emit=emit)
        return trainer.train(FakeModel(), Sourced(), trainer.stages[0], context)

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", stop_at=2)
    assert train(tmp_path / "stopped")["sources"] == whole["sources"]


def test_many_sources_are_counted_together_after_the_first():
    losses = SourceLosses("cpu")
    step = {f"source-{number:03}": (2, 1.0) for number in range(MOST_SOURCES + 5)}
    by_source = losses.merged([step, step])
    assert len(by_source) == MOST_SOURCES + 1 and by_source[OTHERS] == 0.5
    assert losses.totals[OTHERS] == (20, 10.0)
    assert losses.merged([{"late": (1, 3.0)}]) == {OTHERS: 3.0}
