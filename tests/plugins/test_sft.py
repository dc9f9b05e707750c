"""What the staged trainer promises: freezing, resuming, accounting, bad losses."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from forked import start
from sft_fake_model import FakeBatches, FakeModel, FaultyBatches, main, make_sample, pack

from infimed_core import DataError, Fault, InfimedError, TrainingContext
from infimed_plugins.sft.flop_counter import peak_by_name
from infimed_plugins.sft.loading import in_a_thread
from infimed_plugins.sft.trainer import StagedTrainer

SCRIPT = Path(__file__).parent / "sft_fake_model.py"


pytestmark = pytest.mark.usefixtures("one_thread")


def train(directory, model=None, batches=None, events=None, context=None, workers=0, trainer=None, **stage):
    trainer = StagedTrainer(
        stages=({"name": "one", "learning_rate": 1e-2, **stage},), num_workers=workers, **(trainer or {})
    )
    emit = (lambda kind, payload: events.append((kind, dict(payload)))) if events is not None else lambda *_: None
    context = context or TrainingContext(directory=directory, seed=3, emit=emit)
    model = model or FakeModel()
    return model, trainer.train(model, batches or FakeBatches(), trainer.stages[0], context)


def messages(events):
    return [payload["text"] for kind, payload in events if kind == "message"]


def assert_equal_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_training_lowers_the_loss_and_leaves_the_model_ready_to_answer(tmp_path):
    model, facts = train(tmp_path, batches=FakeBatches(num_steps=60), schedule="cosine")
    assert facts["loss_last"] < 0.7 * facts["loss_first"]
    assert not model.module.training
    assert all(p.requires_grad and p.grad is None for p in model.module.parameters())


@pytest.mark.parametrize("trainable", [("projector",), ("vision", "language"), ("embeddings",)])
@pytest.mark.parametrize("tied", [False, True])
def test_a_frozen_group_stays_bit_equal_and_a_trainable_one_moves(tmp_path, trainable, tied):
    model = FakeModel(tied=tied)
    before = model.weights()
    train(tmp_path, model=model, trainable=trainable)
    after = model.weights()
    for group, names in model.parameter_groups().items():
        names = [name for name in names if name in before]
        same = [torch.equal(before[name], after[name]) for name in names]
        assert not any(same) if group in trainable else all(same), group


def test_a_tensor_tied_into_a_frozen_group_stays_frozen(tmp_path):
    class Shared(FakeModel):
        def parameter_groups(self):
            groups = super().parameter_groups()
            groups["embeddings"].remove("head.weight")
            return {**groups, "language": [*groups["language"], "head.weight"]}

    model = Shared(tied=True)
    before = model.module.embed.weight.detach().clone()
    train(tmp_path, model=model, trainable=("language",))
    assert torch.equal(before, model.module.embed.weight)


def test_the_same_seed_gives_bit_equal_weights_whatever_the_workers(tmp_path):
    one, facts = train(tmp_path / "a", model=FakeModel(dropout=0.2), workers=0)
    two, _ = train(tmp_path / "b", model=FakeModel(dropout=0.2), workers=1)
    assert_equal_weights(one.weights(), two.weights())
    other, _ = train(tmp_path / "c", model=FakeModel(dropout=0.2), batches=FakeBatches(seed=1))
    assert not torch.equal(one.module.head.weight, other.module.head.weight)
    assert 0.0 <= facts["data_wait_share"] <= 1.0


def test_a_stop_writes_the_state_and_the_next_run_ends_as_if_never_stopped(tmp_path):
    whole, facts = train(tmp_path / "whole", model=FakeModel(dropout=0.2), save_every=2)
    directory = tmp_path / "stopped"
    done = []

    def stop_in_the_middle(kind, payload):
        if kind == "log":
            done.append(payload["step"])
            if payload["step"] == 3:
                context.stopped.set()

    context = TrainingContext(directory=directory, seed=3, emit=stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        train(directory, model=FakeModel(dropout=0.2), context=context, save_every=100)
    assert done == [1, 2, 3]
    events = []
    again, resumed = train(directory, model=FakeModel(dropout=0.2), events=events, save_every=2)
    assert resumed["resumed_from"] == 3
    assert "goes on after step 3 of 6" in messages(events)[0]
    assert_equal_weights(whole.weights(), again.weights())
    for name in ("steps", "rows", "tokens", "samples", "images", "supervised_tokens", "flops", "curve", "loss_last"):
        assert facts[name] == resumed[name], name


def test_a_damaged_state_is_told_and_the_one_before_is_used(tmp_path):
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "run", save_every=2, keep=2)
    newest = sorted((tmp_path / "run").iterdir())[-1]
    assert newest.name == "step-000000004"
    content = bytearray((newest / "weights.safetensors").read_bytes())
    content[-3] ^= 1
    (newest / "weights.safetensors").write_bytes(content)
    events = []
    again, facts = train(tmp_path / "run", save_every=2, events=events)
    assert facts["resumed_from"] == 2
    assert "step-000000004" in messages(events)[0] and "checksum" in messages(events)[0]
    assert_equal_weights(whole.weights(), again.weights())


@pytest.mark.parametrize("damage", ["empty", "missing", "not json", "half"])
def test_no_damage_to_a_state_ends_the_run(tmp_path, damage):
    whole, _ = train(tmp_path / "run", save_every=4)
    (state,) = list((tmp_path / "run").glob("step-*"))
    if damage == "empty":
        (state / "checksums.json").write_bytes(b"")
    elif damage == "missing":
        (state / "optimizer.safetensors").unlink()
    elif damage == "not json":
        (state / "checksums.json").write_text("[1]")
    else:
        content = (state / "state.json").read_bytes()
        (state / "state.json").write_bytes(content[: len(content) // 2])
    events = []
    again, facts = train(tmp_path / "run", save_every=4, events=events)
    assert facts["resumed_from"] == 0 and "cannot be used" in messages(events)[0]
    assert_equal_weights(whole.weights(), again.weights())


def test_a_state_of_another_plan_or_stage_is_not_used(tmp_path):
    train(tmp_path, save_every=4)
    events = []
    _, facts = train(tmp_path, save_every=4, batches=FakeBatches(seed=5), events=events)
    assert facts["resumed_from"] == 0 and "another plan" in messages(events)[0]
    _, facts = train(tmp_path, save_every=4, batches=FakeBatches(seed=5), learning_rate=2e-2)
    assert facts["resumed_from"] == 0


def test_a_full_disk_ends_with_the_last_good_state_intact(tmp_path, monkeypatch):
    import safetensors.torch

    original, calls = safetensors.torch.save_file, []

    def save_file(tensors, path):
        calls.append(path)
        if len(calls) > 2:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    with pytest.raises(InfimedError, match=r"No space left.*last good state is step-000000002"):
        train(tmp_path, save_every=2)
    assert [path.name for path in tmp_path.glob("*step*")] == ["step-000000002"]
    monkeypatch.undo()
    again, facts = train(tmp_path, save_every=2)
    assert facts["resumed_from"] == 2
    whole, _ = train(tmp_path / "whole")
    assert_equal_weights(whole.weights(), again.weights())


def test_nothing_on_disk_is_a_pickle(tmp_path):
    train(tmp_path, save_every=2, keep=1)
    (state,) = list(tmp_path.glob("step-*"))
    names = sorted(path.name for path in state.iterdir())
    assert names == ["checksums.json", "optimizer.safetensors", "state.json", "weights.safetensors"]


def test_kill_9_at_any_step_and_the_same_command_gives_bit_equal_weights(tmp_path):
    from safetensors.torch import load_file

    settings = {"learning_rate": 1e-2, "save_every": 3, "batches": {"num_steps": 12}, "num_workers": 0}
    settings = json.dumps(settings)
    main([str(tmp_path / "whole"), settings, str(tmp_path / "whole.safetensors"), "0", "0.1"])
    command = [str(SCRIPT), str(tmp_path / "killed"), settings, str(tmp_path / "killed.safetensors")]
    kill_after = 7
    process = start([*command, "0.03", "0.1"])
    for line in process.lines():
        if line.startswith(f"finished {kill_after}"):
            process.kill()
            break
    assert process.wait() == -signal.SIGKILL
    assert list((tmp_path / "killed").glob("step-*"))
    process = start([*command, "0", "0.1"])
    assert process.wait() == 0, process.said()
    facts = json.loads((tmp_path / "killed.json").read_text())
    assert facts["resumed_from"] in (6, 9)
    assert_equal_weights(load_file(tmp_path / "whole.safetensors"), load_file(tmp_path / "killed.safetensors"))


def test_what_was_trained_on_is_counted(tmp_path):
    batches = FakeBatches(num_steps=3, samples_per_step=5, samples_per_row=2)
    rows = [row for step in range(3) for row in batches.rows(step)]
    events = []
    _, facts = train(tmp_path, batches=batches, events=events, trainer={"peak_flops": 1e12})
    assert (facts["steps"], facts["rows"], facts["samples"]) == (3, 9, 15)
    assert facts["tokens"] == sum(len(row) for row in rows)
    assert facts["supervised_tokens"] == sum(row.num_supervised for row in rows)
    assert facts["images"] == sum(len(row.visual_tokens) for row in rows)
    assert facts["padding_share"] == 0.0 and facts["dropped"] == {}
    assert [entry["step"] for entry in facts["curve"]] == [1, 2, 3]
    assert facts["curve"][-1]["tokens"] == facts["tokens"]
    assert facts["mfu"] == pytest.approx(facts["flops"] / facts["seconds"] / 1e12)
    assert [p for kind, p in events if kind == "progress"][-1] == {"done": 3, "total": 3, "unit": "steps"}
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 9.89e14),
        ("NVIDIA H100 PCIe", 7.56e14),
        ("NVIDIA H100 NVL", 8.35e14),
        ("NVIDIA H200", 9.89e14),
        ("NVIDIA GH200 480GB", 9.89e14),
        ("NVIDIA H20", 1.48e14),
        ("NVIDIA A100-SXM4-80GB", 3.12e14),
        ("NVIDIA A40", 1.497e14),
        ("NVIDIA L40S", 3.62e14),
        ("NVIDIA L4", 1.21e14),
        ("NVIDIA GeForce RTX 4090", 1.65e14),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA RTX A4000", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA A10G", None),
        ("Tesla T4", None),
    ],
)
def test_the_peak_of_a_device_is_looked_up_by_whole_words_of_its_name(name, peak):
    assert peak_by_name(name) == peak


def test_samples_that_were_left_out_are_counted_and_told(tmp_path):
    class Dropping(FakeBatches):
        def row(self, step, index):
            fault = Fault(sample_id=f"lost-{step}-{index}", code="truncated", detail="ends early", where="a.png")
            return pack([make_sample(step)], (fault,))

    events = []
    _, facts = train(tmp_path, batches=Dropping(num_steps=2), events=events)
    assert facts["dropped"] == {"truncated": 4}
    assert "lost-0-0 (a.png) was left out: truncated: ends early" in messages(events)[0]


def test_a_sample_that_is_left_out_in_every_epoch_is_told_once_and_counted_each_time(tmp_path):
    class Dropping(FakeBatches):
        def row(self, step, index):
            return pack([make_sample(step)], (Fault(sample_id="lost", code="truncated", detail="ends early"),))

    events = []
    _, facts = train(tmp_path, batches=Dropping(num_steps=3), events=events)
    assert facts["dropped"] == {"truncated": 6}
    assert sum("lost was left out" in text for text in messages(events)) == 1


def broken(bad_step):
    class Broken(FakeModel):
        calls = 0

        def hidden_states(self, batch):
            hidden = super().hidden_states(batch)
            self.calls += 1
            return hidden * float("nan") if (self.calls - 1) // 2 == bad_step else hidden

    return Broken()


def test_a_loss_that_is_not_finite_stops_and_names_the_samples(tmp_path):
    with pytest.raises(InfimedError, match=r"stage 'one', step 3: the loss is not finite; .*sample-16, sample-17"):
        train(tmp_path, model=broken(2))


def test_a_loss_that_is_not_finite_is_skipped_where_the_stage_says_so(tmp_path):
    model = broken(2)
    _, facts = train(tmp_path, model=model, on_bad_loss="skip")
    assert [(s["step"], s["reason"]) for s in facts["skipped_steps"]] == [(3, "the loss is not finite")]
    assert facts["skipped_steps"][0]["sample_ids"] == [f"sample-{i}" for i in range(16, 24)]
    assert facts["curve"][2]["loss"] is None
    assert all(torch.isfinite(weight).all() for weight in model.weights().values())
    json.dumps(facts, allow_nan=False)


def test_a_spike_is_a_bad_loss(tmp_path):
    class Spiking(FakeModel):
        def hidden_states(self, batch):
            large = 50.0 if "sample-96" in batch.sample_ids else 1.0
            return super().hidden_states(batch) * large

    _, facts = train(tmp_path, model=Spiking(), batches=FakeBatches(num_steps=15), on_bad_loss="skip", spike=3.0)
    assert [skipped["step"] for skipped in facts["skipped_steps"]] == [13]


def test_a_step_without_supervised_tokens_changes_nothing(tmp_path):
    class Mute(FakeBatches):
        def row(self, step, index):
            row = super().row(step, index)
            return row.__class__(**{**vars(row), "labels": np.full_like(row.labels, -100), "num_supervised": 0})

    model = FakeModel()
    before = model.weights()
    _, facts = train(tmp_path, model=model, batches=Mute(num_steps=2), max_skipped_share=1.0)
    assert_equal_weights(before, model.weights())
    assert [skipped["reason"] for skipped in facts["skipped_steps"]] == ["no_supervised_tokens"] * 2
    assert facts["loss_first"] is None


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_row_keeps_its_type_and_text(tmp_path, workers):
    with pytest.raises(DataError, match=r"a\.png: ends early") as caught:
        train(tmp_path, batches=FaultyBatches(), workers=workers)
    assert caught.value.code == "truncated"


def test_rows_are_made_ahead_but_not_further_than_asked():
    made = []

    def values():
        for i in range(100):
            made.append(i)
            yield i

    rows = in_a_thread(values(), ahead=3)
    assert [next(rows) for _ in range(5)] == [0, 1, 2, 3, 4]
    rows.close()
    assert len(made) <= 5 + 3 + 1
    assert not [thread for thread in threading.enumerate() if thread.name == "rows"]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16", "fp32"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_keep_their_type_and_frozen_ones_their_bits(tmp_path, precision, dtype):
    model = FakeModel(dtype=dtype)
    before = model.weights()
    train(tmp_path, model=model, trainable=("language",), trainer={"precision": precision})
    after = model.weights()
    assert {weight.dtype for weight in after.values()} == {dtype}
    for name, moves in (("vision.weight", False), ("embed.weight", False), ("blocks.0.mix.weight", True)):
        assert torch.equal(before[name], after[name]) is not moves, name


def test_mistakes_in_the_stages_are_told():
    def stages(*stages):
        return StagedTrainer(stages=stages)

    with pytest.raises(ValidationError, match="two stages have the name 'one'"):
        stages({"name": "one"}, {"name": "one"})
    with pytest.raises(ValidationError, match="leave it out of trainable"):
        stages({"name": "one", "learning_rate": {"vision": 0.0}})
    with pytest.raises(ValidationError, match=r"no rate for the trainable group\(s\) projector"):
        stages({"name": "one", "trainable": ["projector"], "learning_rate": {"vision": 1e-4}})
    with pytest.raises(ValidationError, match="a share below 1, or a whole number of steps"):
        stages({"name": "one", "warmup": 1.5})
    with pytest.raises(ValidationError, match="extra"):
        stages({"name": "one", "learnin_rate": 1.0})


def test_mistakes_that_only_the_model_shows_are_told(tmp_path):
    with pytest.raises(InfimedError, match=r"no parameter group 'visoin'.*vision, projector, language, embeddings"):
        train(tmp_path, trainable=("visoin",))
    with pytest.raises(InfimedError, match="no rate for the group 'vision'"):
        train(tmp_path, learning_rate={"language": 1e-3})
    with pytest.raises(InfimedError, match="cannot do activation_checkpointing"):
        train(tmp_path, activation_checkpointing=True)
    assert list(tmp_path.iterdir()) == []
