"""The losses of answers in the tests: random answers, their log-probabilities one by one, and TRL's trainers."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import torch
from rl_fake_model import prompt_of, with_answer
from sft_fake_model import pack

from infimed_plugins.sft.row_losses import ObjectiveRows


class Trl:
    """What TRL's losses ask of their trainer, for answers whose log-probabilities are given."""

    loss_weights, aux_loss_enabled, top_entropy_quantile, off_policy_mask_threshold = [1.0], False, 1.0, None
    use_vllm, _entropy_bonus_enabled, current_gradient_accumulation_steps = False, False, 1
    precompute_ref_logps, ld_alpha, f_divergence_type, use_weighting, label_smoothing = (
        True,
        None,
        "reverse_kl",
        False,
        0.0,
    )

    def __init__(self, **settings):
        self.__dict__ |= settings
        self._metrics = defaultdict(lambda: defaultdict(list))
        self.model, self._total_train_tokens, self._tp_size = SimpleNamespace(training=True), 0, 1
        self.args = SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1)
        same = {name: lambda value, **_: value for name in ("gather", "gather_for_metrics", "reduce")}
        self.accelerator = SimpleNamespace(num_processes=1, device=torch.device("cpu"), **same)


def padded(values, filler=0.0):
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=filler)


def answers(num_questions=3, each=4, seed=0):
    """Answers of random tokens, with random rewards and log-probabilities of an older model and of a reference."""
    random = np.random.default_rng(seed)
    found = []
    for index in range(num_questions):
        prompt = prompt_of(f"q{index}", index)
        group = []
        for _ in range(each):
            tokens = random.integers(1, 40, random.integers(1, 7)).tolist()
            old, reference = (random.normal(-3.6, 0.4, len(tokens)).astype(np.float32) for _ in range(2))
            group.append((with_answer(prompt, tokens), tokens, old, reference))
        found.append((group, random.random(each).tolist()))
    return found


def log_probabilities(model, encoded, tokens, temperature):
    """Of an answer's tokens, from the answer run alone."""
    logits = model.module.head(model.hidden_states(pack([encoded]))) / temperature
    start = len(encoded) - len(tokens) - 1
    return torch.stack([logits[start + i].log_softmax(-1)[token] for i, token in enumerate(tokens)])


def of_rows(model, objective, rows):
    """Loss and gradient of rows as the trainer sums them."""
    losses = ObjectiveRows(model, "chunked", objective, torch.device("cpu"))
    targets = [losses.targets(row) for row in rows]
    whole = sum(amount for *_, amount in targets)
    total = torch.zeros(())
    for row, (positions, weights, _) in zip(rows, targets, strict=True):
        share = losses.of_row(row, positions, weights / whole, True)()
        share.backward()
        total += share.detach()
    return total, gradients(model), losses.merged([losses.of_step()])


def gradients(model):
    return {name: p.grad.clone() for name, p in model.module.named_parameters() if p.grad is not None}


def assert_close(one, two, tolerance=1e-5):
    assert one.keys() == two.keys()
    for name in one:
        assert (one[name] - two[name]).norm() <= tolerance * max(float(two[name].norm()), 1e-3), name
