"""Answers that are good or bad by themselves: the published loss, whatever the split, and TRL's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from rl_fake_model import DrawingModel, Questions
from rl_losses import Trl, answers, assert_close, gradients, log_probabilities, of_rows, padded

from infimed_core import TrainingContext
from infimed_plugins.reinforcement.kto import Kto
from infimed_plugins.reinforcement.rows import packed, with_log_probabilities
from infimed_plugins.sft.trainer import StagedTrainer

SETTINGS = {"beta": 0.3, "desirable_weight": 1.2, "undesirable_weight": 0.7}
GOOD = [True, False, False, True, False]
KINDS = ("kto", "apo-zero")


pytestmark = pytest.mark.usefixtures("one_thread")


def judged():
    """Five answers to as many questions, and to each question the answer to the next."""
    groups = [group for group, _ in answers(5, 2, seed=1)]
    return [group[0] for group in groups], [group[1] for group in groups]


class Stage:
    """What an objective may use of a stage of one process: the weights as they are, and given references."""

    def __init__(self, model, references):
        self._model, self._references = model, references

    def gather(self, value):
        return [value]

    def log_probabilities(self, rows, reference):
        if reference:
            return [np.concatenate([self._references[name] for name in row.sample_ids]) for row in rows]
        return [self._of(row) for row in rows]

    @torch.no_grad()
    def _of(self, row):
        logits = self._model.module.head(self._model.hidden_states(row)[row.positions_with_loss])
        labels = torch.from_numpy(row.labels[row.positions_with_loss])
        return logits.log_softmax(-1).gather(1, labels[:, None])[:, 0].numpy()


def change(model, answer):
    encoded, tokens, _, reference = answer
    return (log_probabilities(model, encoded, tokens, 1.0) - torch.from_numpy(reference)).sum()


def readable(model, own, others, kind):
    """Equation 8 of the paper, answer by answer."""
    divergence = 0.0
    if kind == "kto":
        with torch.no_grad():
            divergence = max(0.0, sum(float(change(model, other)) for other in others) / len(others))
    losses = []
    for answer, good in zip(own, GOOD, strict=True):
        reward = change(model, answer)
        value = torch.sigmoid(0.3 * (reward - divergence) if good else 0.3 * (divergence - reward))
        losses.append((1.2 if good else 0.7) * (1.0 - value))
    return sum(losses) / len(losses), divergence


def rows_of(own, row_tokens, divergence):
    from dataclasses import replace

    items = [[(answer[0], 1.0 if good else -1.0, True)] for answer, good in zip(own, GOOD, strict=True)]
    rows = packed(items, row_tokens)
    references = {answer[0].sample_id: answer[3] for answer in own}
    values = [np.concatenate([references[name] for name in row.sample_ids]) for row in rows]
    return [replace(row, divergence=divergence) for row in with_log_probabilities(rows, "reference", values)]


@pytest.mark.parametrize("shift", [-1.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_equal_the_published_formula_for_any_split_into_rows(kind, shift):
    own, others = judged()
    others = [(*other[:3], other[3] - np.float32(shift)) for other in others]
    model = DrawingModel()
    expected, divergence = readable(model, own, others, kind)
    assert kind != "kto" or (divergence > 0.0) == (shift > 0.0)
    expected.backward()
    wanted = gradients(model)
    objective = Kto(loss=kind, **SETTINGS)
    for row_tokens in (1, 30, 10_000):
        model = DrawingModel()
        stage = Stage(model, {other[0].sample_id: other[3] for other in others})
        measured = objective._divergence(packed([[(other[0], 0.0, True)] for other in others], row_tokens), stage)
        assert kind != "kto" or measured == pytest.approx(divergence, abs=1e-5)
        loss, found, told = of_rows(model, objective, rows_of(own, row_tokens, measured if kind == "kto" else 0.0))
        assert abs(float(loss - expected.detach())) <= 1e-5
        assert_close(found, wanted)
        assert told["good_share"] == pytest.approx(0.4)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_equal_those_of_trl(kind):
    trainer = pytest.importorskip("trl.trainer.kto_trainer", reason="pip install trl==1.16.0").KTOTrainer
    own, others = judged()
    others = [(*other[:3], other[3] - np.float32(1.0)) for other in others]
    model = DrawingModel()
    logs = [log_probabilities(model, encoded, tokens, 1.0) for encoded, tokens, *_ in own]
    mask = padded([torch.ones(len(tokens)) for _, tokens, *_ in own])
    whole = torch.cat([torch.zeros(len(mask), 1), mask], dim=1)
    with torch.no_grad():
        of_others = torch.stack([log_probabilities(model, e, t, 1.0).sum() for e, t, *_ in others])
    inputs = {
        "input_ids": whole.long(), "completion_mask": whole, "attention_mask": torch.ones_like(whole),
        "label": torch.tensor(GOOD), "ref_logps": torch.tensor([float(answer[3].sum()) for answer in own]),
        "ref_KL_logps": torch.tensor([float(other[3].sum()) for other in others]),
    }  # fmt: skip
    zeros = torch.zeros_like(mask)
    outputs = SimpleNamespace(log_probs=padded(logs), entropy=zeros, mean_logits=zeros)
    stub = Trl(
        **SETTINGS, loss_type={"apo-zero": "apo_zero_unpaired"}.get(kind, kind), calculate_KL=kind == "kto",
        _compute_kl_logps=lambda *_: of_others,
    )  # fmt: skip
    expected = trainer._compute_loss(stub, lambda **_: outputs, inputs, False)
    expected.backward()
    wanted, model = gradients(model), DrawingModel()
    objective = Kto(loss=kind, **SETTINGS)
    stage = Stage(model, {other[0].sample_id: other[3] for other in others})
    apart = packed([[(other[0], 0.0, True)] for other in others], 50)
    divergence = objective._divergence(apart, stage) if kind == "kto" else 0.0
    loss, found, _ = of_rows(model, objective, rows_of(own, 50, divergence))
    assert abs(float(loss - expected.detach())) <= 1e-5
    assert_close(found, wanted)


def train(directory, objective, questions):
    options = {"name": "one", "learning_rate": 1e-2, "objective": {"use": "kto", "with": objective}}
    trainer = StagedTrainer(stages=(options,))
    context = TrainingContext(directory=directory, seed=3, emit=lambda *_: None)
    return trainer.train(DrawingModel(), questions, trainer.stages[0], context)


class Labelled(Questions):
    """Questions whose answers have labels; every fourth has none."""

    def samples(self, step):
        found = super().samples(step)
        labels = [{"label": i % 2 == 0} if i % 4 != 3 else {} for i in range(len(found))]
        return [(s.model_copy(update={"meta": label}), cap) for (s, cap), label in zip(found, labels, strict=True)]


def test_good_answers_become_likelier_than_bad_ones_and_what_has_no_label_is_counted(tmp_path):
    facts = train(tmp_path / "labelled", {"beta": 0.5}, Labelled(2))
    assert facts["dropped"] == {"no_label": 2} and facts["samples"] == 10
    facts = train(tmp_path / "pairs", {"beta": 0.5}, Questions(12))
    first, last = facts["curve"][0], facts["curve"][-4:]
    assert first["chosen_reward"] == pytest.approx(0.0, abs=1e-6) and first["divergence"] == pytest.approx(
        0.0, abs=1e-6
    )
    assert sum(entry["chosen_reward"] - entry["rejected_reward"] for entry in last) > 0.0


def test_drawn_answers_are_good_from_the_reward_that_is_set(tmp_path):
    short = {"use": "length", "with": {"most_tokens": 1, "limit": 6}}
    settings = {"rewards": [short], "rollouts": 4, "max_new_tokens": 6, "good_from": 0.2, "beta": 0.5}
    facts = train(tmp_path / "a", settings, Questions(10))
    curve = facts["curve"]
    assert 0.0 < curve[0]["good_share"] < 1.0 and max(entry["divergence"] for entry in curve) > 0.0
    assert np.mean([e["reward"] for e in curve[-3:]]) > np.mean([e["reward"] for e in curve[:3]])
