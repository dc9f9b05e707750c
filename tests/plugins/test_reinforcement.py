"""Learning from drawn answers and from pairs: the published losses, whatever the split, and a kill loses nothing."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from forked import launch, start
from rl_fake_model import DrawingModel, Questions
from rl_losses import Trl, answers, assert_close, gradients, log_probabilities, of_rows, padded

from infimed_core import TrainingContext
from infimed_plugins.reinforcement.dpo import Dpo
from infimed_plugins.reinforcement.grpo import Grpo
from infimed_plugins.reinforcement.policy import advantages
from infimed_plugins.reinforcement.rows import packed, with_log_probabilities
from infimed_plugins.sft.reward_watch import told_hollow
from infimed_plugins.sft.trainer import StagedTrainer

SCRIPT = Path(__file__).parent / "rl_fake_model.py"
SHORT = {"use": "length", "with": {"most_tokens": 1, "limit": 6}}
GRPO = {"rollouts": 4, "max_new_tokens": 6, "rewards": [SHORT]}
KINDS = ("grpo", "dapo", "dr-grpo", "gspo")


pytestmark = pytest.mark.usefixtures("one_thread")


def train(directory, objective, use="grpo", events=None, questions=None, **stage):
    options = {"name": "one", "learning_rate": 1e-2, "objective": {"use": use, "with": objective}, **stage}
    trainer = StagedTrainer(stages=(options,))
    emit = (lambda kind, payload: events.append((kind, dict(payload)))) if events is not None else lambda *_: None
    context = TrainingContext(directory=directory, seed=3, emit=emit, checkpoints=Path(f"{directory}.steps"))
    model = DrawingModel()
    return model, trainer.train(model, questions or Questions(), trainer.stages[0], context)


def readable_grpo(model, groups, kind, clip, kl, temperature, longest):
    """The published formulas, token by token."""
    per_answer, num_tokens = [], 0
    for group, rewards in groups:
        mean = sum(rewards) / len(rewards)
        deviation = (sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1)) ** 0.5
        for (encoded, tokens, old, reference), reward in zip(group, rewards, strict=True):
            advantage = reward - mean if kind == "dr-grpo" else (reward - mean) / (deviation + 1e-4)
            logs = log_probabilities(model, encoded, tokens, temperature)
            ratios = (logs - torch.from_numpy(old)).exp()
            if kind == "gspo":
                ratios = (logs - torch.from_numpy(old)).mean().exp().expand(len(tokens))
            terms = []
            for t in range(len(tokens)):
                limited = ratios[t].clamp(1 - clip[0], 1 + clip[1])
                apart = float(reference[t]) - logs[t]
                terms.append(
                    -torch.minimum(ratios[t] * advantage, limited * advantage) + kl * (apart.exp() - apart - 1)
                )
            num_tokens += len(tokens)
            per_answer.append(torch.stack(terms))
    if kind == "dapo":
        return torch.cat(per_answer).sum() / num_tokens
    if kind == "dr-grpo":
        return sum(terms.sum() for terms in per_answer) / (len(per_answer) * longest)
    return sum(terms.mean() for terms in per_answer) / len(per_answer)


def grpo_rows(objective, groups, row_tokens):
    items = [
        [
            (encoded, value, True)
            for (encoded, *_), value in zip(group, advantages(rewards, objective.loss != "dr-grpo"), strict=True)
        ]
        for group, rewards in groups
    ]
    flat = [answer for group, _ in groups for answer in group]
    rows = packed([[answer] for item in items for answer in item], row_tokens)
    for name, place in (("old", 2), ("reference", 3)):
        values, start = [], 0
        for row in rows:
            count = len(row.lengths)
            values.append(np.concatenate([answer[place] for answer in flat[start : start + count]]))
            start += count
        rows = with_log_probabilities(rows, name, values) if name == "old" or objective.kl else rows
    return rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kl", [0.0, 0.05])
def test_loss_and_gradient_equal_the_published_formulas_for_any_split_into_rows(kind, kl):
    groups, clip = answers(), (0.1, 0.15)
    objective = Grpo(**GRPO | {"loss": kind, "kl": kl, "clip": clip, "temperature": 0.9})
    model = DrawingModel()
    expected = readable_grpo(model, groups, kind, clip, kl, 0.9, 6)
    expected.backward()
    wanted = gradients(model)
    for row_tokens in (1, 30, 10_000):
        model = DrawingModel()
        loss, found, told = of_rows(model, objective, grpo_rows(objective, groups, row_tokens))
        assert abs(float(loss - expected.detach())) <= 1e-5
        assert_close(found, wanted)
        assert 0.0 < told["clip_share"] < 1.0 and told["entropy"] > 0.0 and ("kl" in told) == (kl > 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_equal_those_of_trl(kind):
    trainer = pytest.importorskip("trl.trainer.grpo_trainer", reason="pip install trl==1.16.0").GRPOTrainer
    groups, clip = answers(), (0.1, 0.15)
    flat = [answer for group, _ in groups for answer in group]
    model = DrawingModel()
    logs = padded([log_probabilities(model, encoded, tokens, 0.9) for encoded, tokens, *_ in flat])
    rewards = torch.tensor([own for _, own in groups])
    apart = rewards - rewards.mean(1, keepdim=True)
    apart = apart if kind == "dr-grpo" else apart / (rewards.std(1, keepdim=True) + 1e-4)
    mask = padded([torch.ones(len(tokens)) for _, tokens, *_ in flat])
    inputs = {
        "prompt_ids": mask, "prompt_mask": mask, "completion_ids": mask, "completion_mask": mask,
        "advantages": apart.flatten(), "num_items_in_batch": mask.sum(),
        "old_per_token_logps": padded([torch.from_numpy(old) for *_, old, _ in flat]),
        "ref_per_token_logps": padded([torch.from_numpy(reference) for *_, reference in flat]),
    }  # fmt: skip
    stub = Trl(
        beta=0.05, epsilon_low=clip[0], epsilon_high=clip[1], max_completion_length=6,
        loss_type={"dr-grpo": "dr_grpo", "gspo": "grpo"}.get(kind, kind),
        importance_sampling_level="sequence" if kind == "gspo" else "token",
        _get_per_token_logps_and_entropies=lambda *_, **__: (logs, torch.zeros_like(logs), None),
    )  # fmt: skip
    expected = trainer._compute_loss(stub, None, inputs)
    expected.backward()
    wanted, model = gradients(model), DrawingModel()
    objective = Grpo(**GRPO | {"loss": kind, "kl": 0.05, "clip": clip, "temperature": 0.9})
    loss, found, _ = of_rows(model, objective, grpo_rows(objective, groups, 50))
    assert abs(float(loss - expected.detach())) <= 1e-5
    assert_close(found, wanted)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge"])
def test_preferences_equal_those_of_trl(kind):
    trainer = pytest.importorskip("trl.trainer.dpo_trainer", reason="pip install trl==1.16.0").DPOTrainer
    groups = [group for group, _ in answers(5, 2, seed=1)]
    flat = [group[side] for side in (0, 1) for group in groups]
    model = DrawingModel()
    logs = padded([log_probabilities(model, encoded, tokens, 1.0) for encoded, tokens, *_ in flat])
    mask = padded([torch.ones(len(tokens)) for _, tokens, *_ in flat])
    whole = torch.cat([torch.zeros(len(mask), 1), mask], dim=1)
    sums = torch.tensor([float(answer[3].sum()) for answer in flat])
    inputs = {
        "input_ids": whole.long(), "completion_mask": whole, "attention_mask": torch.ones_like(whole),
        "ref_chosen_logps": sums[:5], "ref_rejected_logps": sums[5:],
    }  # fmt: skip
    zeros = torch.zeros_like(logs)
    outputs = SimpleNamespace(log_probs=logs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    stub = Trl(beta=0.3, loss_types=[kind])
    expected = trainer._compute_loss(stub, lambda **_: outputs, inputs, False)
    expected.backward()
    wanted, model = gradients(model), DrawingModel()
    items = [[(group[0][0], 1.0, True), (group[1][0], -1.0, True)] for group in groups]
    rows = packed(items, 10_000)
    references = [np.concatenate([answer[3] for group in groups for answer in group])]
    objective = Dpo(beta=0.3, loss=kind)
    loss, found, _ = of_rows(model, objective, with_log_probabilities(rows, "reference", references))
    assert abs(float(loss - expected.detach())) <= 1e-5
    assert_close(found, wanted)


def test_equal_rewards_give_no_advantage_and_few_answers_a_finite_one():
    assert advantages([0.3, 0.3, 0.3], True) == pytest.approx([0.0] * 3)
    assert advantages([1.0, 0.0], True) == pytest.approx([0.5 / (0.5**0.5 + 1e-4), -0.5 / (0.5**0.5 + 1e-4)])
    assert advantages([1.0, 0.0], False) == [0.5, -0.5]


def readable_dpo(model, pairs, references, beta, kind, sft_weight=0.0):
    losses, own = [], []
    for (chosen, rejected), (of_chosen, of_rejected) in zip(pairs, references, strict=True):
        own.append(-sft_weight * log_probabilities(model, *chosen, 1.0).mean())
        margins = []
        for (encoded, tokens), reference in ((chosen, of_chosen), (rejected, of_rejected)):
            change = log_probabilities(model, encoded, tokens, 1.0) - torch.from_numpy(reference)
            margins.append(change.mean() if kind == "ipo" else change.sum())
        margin = margins[0] - margins[1]
        if kind == "ipo":
            losses.append((margin - 1 / (2 * beta)) ** 2)
        else:
            losses.append(
                -torch.log(torch.sigmoid(beta * margin)) if kind == "sigmoid" else torch.relu(1 - beta * margin)
            )
    return sum(losses + own) / len(losses)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge"])
@pytest.mark.parametrize("sft_weight", [0.0, 0.7])
def test_preferences_equal_the_published_formula_for_any_split_into_rows(kind, sft_weight):
    groups = [group for group, _ in answers(5, 2, seed=1)]
    pairs = [tuple((encoded, tokens) for encoded, tokens, *_ in group) for group in groups]
    references = [(group[0][3], group[1][3]) for group in groups]
    model = DrawingModel()
    expected = readable_dpo(model, pairs, references, 0.3, kind, sft_weight)
    expected.backward()
    wanted = gradients(model)
    for row_tokens in (1, 60, 10_000):
        rows = packed([[(a[0], 1.0, True), (b[0], -1.0, True)] for a, b in pairs], row_tokens)
        values, start = [], 0
        for row in rows:
            count = len(row.lengths) // 2
            values.append(np.concatenate([one for pair in references[start : start + count] for one in pair]))
            start += count
        model = DrawingModel()
        objective = Dpo(beta=0.3, loss=kind, sft_weight=sft_weight)
        loss, found, _ = of_rows(model, objective, with_log_probabilities(rows, "reference", values))
        assert abs(float(loss - expected.detach())) <= 1e-5
        assert_close(found, wanted)


def first_moments(directory: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    moments = load_file(directory / "step-000000001" / "optimizer.safetensors")
    return {key.split("|")[0]: tensor * 10 for key, tensor in moments.items() if key.endswith("|exp_avg")}


ONE_STEP = {"max_gradient_norm": None, "save_every": 1}


@pytest.mark.parametrize("use", ["grpo", "dpo", "kto"])
def test_a_step_is_the_same_for_any_rows_and_batches_of_questions(tmp_path, use):
    found = {}
    for row_tokens, at_once in ((40, 1), (10_000, 6)):
        settings = GRPO if use == "grpo" else {}
        settings = settings | {"row_tokens": row_tokens, "questions_at_once": at_once}
        directory = tmp_path / f"{row_tokens}"
        train(directory, settings, use, questions=Questions(2), **ONE_STEP)
        found[row_tokens] = first_moments(directory)
    assert_close(found[40], found[10_000])


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
@pytest.mark.parametrize("use", ["grpo", "dpo", "kto"])
def test_a_step_is_the_same_on_two_processes_that_hold_all_weights_or_shares(tmp_path, use, parallel):
    settings = (GRPO | {"questions_at_once": 4, "kl": 0.1}) if use == "grpo" else {}
    train(tmp_path / "one", settings, use, questions=Questions(2), **ONE_STEP)
    stage = {
        "learning_rate": 1e-2,
        "objective": {"use": use, "with": settings},
        "questions": {"num_steps": 2},
        "parallel": parallel,
        **ONE_STEP,
    }
    command = [sys.executable, str(SCRIPT), str(tmp_path / "two"), json.dumps(stage), str(tmp_path / "out"), "0"]
    launch(command, 2, limit=600.0)
    assert_close(first_moments(tmp_path / "two"), first_moments(tmp_path / "one"))
    lines = [(tmp_path / f"{name}.steps" / "rollouts.jsonl") for name in ("one", "two")]
    if use == "grpo":
        told = [sorted(path.read_text().splitlines()) for path in lines]
        assert [json.loads(line)["id"] for line in told[0]] == [json.loads(line)["id"] for line in told[1]]


def test_reward_rises_and_what_is_lost_is_counted(tmp_path):
    events = []
    _, facts = train(tmp_path / "a", GRPO | {"rollouts": 8}, events=events, questions=Questions(25, 8))
    curve = facts["curve"]
    assert np.mean([e["reward"] for e in curve[-5:]]) > np.mean([e["reward"] for e in curve[:5]]) + 0.1
    assert facts["dropped"] == {"truncated": 18} and len(curve) == 25
    assert all(e["reward_parts"]["length"] == pytest.approx(e["reward"]) for e in curve)
    lines = [json.loads(line) for line in (tmp_path / "a.steps" / "rollouts.jsonl").read_text().splitlines()]
    assert len(lines) == 200 - 18 and all(len(line["rollouts"]) == 8 for line in lines)
    for line in lines:
        assert sum(answer["advantage"] for answer in line["rollouts"]) == pytest.approx(0.0, abs=1e-6)


def test_groups_without_a_difference_are_left_out_and_questions_are_asked_until_enough_differ(tmp_path):
    _, facts = train(tmp_path / "a", GRPO | {"dynamic_sampling": 2}, questions=Questions(3, 8))
    assert all(2 <= entry["questions"] <= 8 for entry in facts["curve"])
    always = {"use": "repetition", "with": {"run": 50}}  # 1 for every answer
    events = []
    settings = GRPO | {"rewards": [always], "dynamic_sampling": True}
    model, facts = train(tmp_path / "b", settings, events=events, questions=Questions(2, 4), max_skipped_share=1.0)
    assert [step["reason"] for step in facts["skipped_steps"]] == ["nothing_to_learn_from"] * 2
    assert all(
        torch.equal(a, b) for a, b in zip(model.weights().values(), DrawingModel().weights().values(), strict=True)
    )


def test_the_reference_is_what_the_stage_began_with_and_weights_come_back_bit_equal(tmp_path):
    _, facts = train(tmp_path / "a", GRPO | {"kl": 0.5, "updates_per_rollout": 2}, questions=Questions(3))
    first, second = facts["curve"][0], facts["curve"][1]
    assert first["kl"] == pytest.approx(0.0, abs=1e-9) and second["kl"] > 0.0
    assert first["clip_share"] == 0.0
    plain, _ = train(tmp_path / "b", GRPO, questions=Questions(3))
    zero, _ = train(tmp_path / "c", GRPO | {"kl": 1e-30}, questions=Questions(3))
    for name, weight in plain.weights().items():
        assert torch.equal(weight, zero.weights()[name]), name


MOMENTS = {
    "grpo": ("finished 1", "drawing 3/question-9", "finished 5", "drawing 2/question-14", "finished 9"),
    "dpo": ("finished 1", "drawing 3/question-21", "finished 5", "drawing 2/question-50", "finished 9"),
}
"""When a run is killed: after optimizer steps that end a step of the plan or do not, and among the draws for one."""


@pytest.mark.parametrize("use", ["grpo", "dpo"])
def test_killed_anywhere_it_ends_with_the_weights_of_the_run_that_was_not(tmp_path, use):
    settings = (
        {"updates_per_rollout": 2, "minibatches": 2, "kl": 0.1} | GRPO
        if use == "grpo"
        else {"rewards": [SHORT], "max_new_tokens": 6}
    )
    stage = {"learning_rate": 1e-2, "save_every": 3, "objective": {"use": use, "with": settings}}
    stage["questions"] = {"num_steps": 5 if use == "grpo" else 12}

    def command(name, pause="0"):
        return [
            str(SCRIPT),
            str(tmp_path / name),
            json.dumps(stage),
            str(tmp_path / f"{name}.out"),
            pause,
        ]

    whole = start(command("whole"))
    assert whole.wait() == 0, whole.said()
    for last in MOMENTS[use]:
        process = start(command("killed", "0.04"))
        for line in process.lines():
            if line.strip() == last:
                process.kill()
                break
        assert process.wait() == -signal.SIGKILL
    again = start(command("killed"))
    assert again.wait() == 0, again.said()
    assert (tmp_path / "whole.out").read_bytes() == (tmp_path / "killed.out").read_bytes()
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "killed"))
    assert two["resumed_from"] > 0 and one["curve"] == two["curve"]
    lines = [(tmp_path / f"{name}.steps" / "rollouts.jsonl").read_text() for name in ("whole", "killed")]
    assert lines[0] == lines[1]


def test_a_reward_that_rises_alone_is_told():
    rising = [{"reward": 0.1 * step + 0.01 * (step % 2)} for step in range(12)]

    def asked(*values):
        return [{"benchmarks": {"vqa": {"questions": 9, "accuracy": {"value": value}}}} for value in values]

    assert "became no better (vqa 0.400 to 0.300)" in told_hollow(rising, asked(0.4, 0.5, 0.3))
    assert "at_start" in told_hollow(rising, [])
    assert told_hollow(rising, asked(0.4, 0.45)) is None
    noise = [{"reward": 0.5 + 0.1 * (-1) ** step} for step in range(12)]
    assert told_hollow(noise, []) is None and told_hollow(rising[:5], []) is None


def test_pairs_without_a_rejected_answer_are_counted_faults(tmp_path):
    class Half(Questions):
        def samples(self, step):
            return [
                (s.model_copy(update={"meta": {}}) if i % 2 else s, cap)
                for i, (s, cap) in enumerate(super().samples(step))
            ]

    _, facts = train(tmp_path / "a", {"beta": 0.5}, "dpo", questions=Half(12))
    assert facts["dropped"] == {"no_pair": 36} and facts["samples"] == 72
    assert facts["curve"][0]["reward_margin"] == pytest.approx(0.0, abs=1e-6)
    assert np.mean([entry["preference_accuracy"] for entry in facts["curve"][-4:]]) > 0.6


def test_a_stage_that_names_cross_entropy_is_the_stage_that_names_nothing():
    plain = StagedTrainer(stages=({"name": "one"},))
    named = StagedTrainer(stages=({"name": "one", "objective": {"use": "cross-entropy"}},))
    assert named.stages[0].packing is None
    assert "objective" not in plain.result_identity(plain.stages[0])
    drawn = StagedTrainer(stages=({"name": "one", "objective": {"use": "grpo", "with": GRPO}},))
    assert drawn.stages[0].packing.settings["batch_size"] == 1
    assert drawn.result_identity(drawn.stages[0]) != plain.result_identity(plain.stages[0])
