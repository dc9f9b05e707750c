"""Ranks change nothing: a step's gradient, a stage's weights and the state on disk are those of one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gradients
from forked import launch
from gradients import Cell, equal_gradients
from sft_fake_model import main

SCRIPT = Path(__file__).parent / "sft_fake_model.py"


pytestmark = pytest.mark.usefixtures("one_thread")


def train(folder: Path, name: str, processes: int = 1, dropout: str = "0", **options) -> tuple[dict, dict]:
    """Train the fake model under so many ranks; its weights and the facts of the record (nothing if it was stopped)."""
    target = folder / f"{name}.safetensors"
    # A key's bias has no gradient but rounding, which a small epsilon would blow up to whole steps.
    arguments = [
        str(folder / name),
        json.dumps({"learning_rate": 1e-2, "epsilon": 1e-4, **options}),
        str(target),
        "0",
        dropout,
    ]
    if processes == 1:
        main(arguments)
    else:
        launch([sys.executable, str(SCRIPT), *arguments], processes)
    if "stop_after" in options:
        return {}, {}
    return load_file(target), json.loads(target.with_suffix(".json").read_text())


def assert_close(one: dict, two: dict, limit: float = 1e-5) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert (one[name] - two[name]).norm() <= limit * two[name].norm(), name


@pytest.mark.slow
def test_the_gradient_of_a_step_does_not_depend_on_processes_accumulation_or_packs(tmp_path, monkeypatch):
    """A real Qwen3-VL against stock transformers, one sample at a time; in one cell a rank gets text alone.

    A sharded tower that a row of text alone did not run would leave the other rank waiting: the launch has a limit.
    """
    cells = [
        Cell(1, "ddp", 4, 512),
        Cell(2, "ddp", 1, 2048),
        Cell(2, "ddp", 2, 512),
        Cell(2, "fsdp2", 1, 2048),
        Cell(2, "fsdp2", 2, 512),
        Cell(2, "fsdp2", 1, 2048, kinds=True),
    ]
    monkeypatch.setattr(gradients, "launch", launch)
    for row in equal_gradients(tmp_path, cells):
        assert row["difference"] <= 1e-5, row["name"]


@pytest.mark.slow
def test_shares_give_the_weights_of_one_process_with_uneven_ranks_and_rows_that_hold_nothing(tmp_path):
    """Three rows a step on two ranks, frozen groups, clipping and dropout, all at once."""
    options = {
        "batches": {"num_steps": 5, "samples_per_step": 12, "samples_per_row": 4, "empty_row": [2, 1]},
        "trainable": ["vision", "language"],
        "max_gradient_norm": 0.1,
    }
    one, facts_of_one = train(tmp_path, "one", dropout="0.2", **options)
    measure = {"every": 2, "benchmarks": []}
    two, facts_of_two = train(tmp_path, "two", 2, dropout="0.2", parallel="fsdp2", measure=measure, **options)
    assert_close(two, one)
    _, facts_of_three = train(tmp_path, "three", dropout="0.2", measure=measure, **options)
    losses = [[entry["held_out_loss"] for entry in facts["evaluations"]] for facts in (facts_of_two, facts_of_three)]
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert facts_of_one["dropped"] == {"truncated": 1}
    assert (facts_of_two["ranks"], facts_of_two["parallel"]) == (2, "fsdp2")
    for name in ("rows", "tokens", "samples", "images", "supervised_tokens", "dropped", "flops"):
        assert facts_of_two[name] == facts_of_one[name], name
    before, _ = train(tmp_path, "none", batches={"num_steps": 1}, trainable=["projector"], learning_rate=1e-30)
    assert torch.equal(before["head.weight"], two["head.weight"]), "a frozen group stays bit-equal"
    assert not torch.equal(before["vision.weight"], two["vision.weight"])


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("fsdp2", None), ("ddp", "fsdp2")])
def test_a_run_may_go_on_with_other_ranks_than_it_was_stopped_with(tmp_path, first, second):
    steps = {"num_steps": 6, "samples_per_step": 8, "samples_per_row": 4}
    whole, _ = train(tmp_path, "whole", batches=steps)

    def part(parallel, **options):
        return train(tmp_path, "part", 2 if parallel else 1, parallel=parallel or "ddp", batches=steps, **options)

    part(first, save_every=4, stop_after=4)
    state = tmp_path / "part" / "step-000000004"
    assert {path.name for path in state.iterdir()} >= {"weights.safetensors", "optimizer.safetensors"}
    shapes = {name: list(tensor.shape) for name, tensor in load_file(state / "weights.safetensors").items()}
    assert shapes["head.weight"] == [40, 16], "a state holds whole tensors, whoever held the shares"
    found, facts = part(second, save_every=4)
    assert facts["resumed_from"] == 4
    assert_close(found, whole)


@pytest.mark.slow
def test_shares_in_bf16_train_as_one_process_does(tmp_path):
    steps = {"num_steps": 20, "samples_per_step": 8, "samples_per_row": 4}
    _, facts_of_one = train(tmp_path, "one", precision="bf16-mixed", batches=steps)
    two, facts_of_two = train(tmp_path, "two", 2, precision="bf16-mixed", parallel="fsdp2", batches=steps)
    assert facts_of_two["precision"] == "bf16-mixed"
    assert {tensor.dtype for tensor in two.values()} == {torch.float32}
    assert facts_of_two["loss_last"] == pytest.approx(facts_of_one["loss_last"], rel=0.02)
    assert facts_of_two["loss_last"] < 0.9 * facts_of_two["loss_first"]


@pytest.mark.slow
def test_shares_keep_the_checkpoints_and_the_best_weights_that_one_process_keeps(tmp_path):
    options = {
        "batches": {"num_steps": 6, "samples_per_step": 8, "samples_per_row": 4},
        "measure": {"every": 2, "benchmarks": []},
        "evaluate": {"held_out": {"split": "held"}, "every": 2},
        "keep_checkpoints": {"every": 3, "best": True, "optimizer": True},
        "end_with": "best",
    }
    one, facts_of_one = train(tmp_path, "one", **options)
    two, facts_of_two = train(tmp_path, "two", 2, parallel="fsdp2", **options)
    assert_close(two, one)
    assert facts_of_two["best"]["step"] == facts_of_one["best"]["step"]
    for name in ("step-000000003", "best"):
        for file in ("model.safetensors", "infimed-optimizer.safetensors"):
            paths = [tmp_path / run / "kept" / name / file for run in ("one", "two")]
            assert_close(load_file(paths[1]), load_file(paths[0]))
