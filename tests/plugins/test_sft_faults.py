"""Nothing ordinary ends a run: each test breaks a real, tiny run in one way, and it goes on or ends in one line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from infimed_core import InfimedError, load_plugins
from infimed_core.cli import application
from infimed_core.testing import make_image
from infimed_core.testing import run as run_document
from infimed_plugins.reporting.console import Console
from infimed_plugins.sft.loading import told_idle
from infimed_plugins.vlm.transformers_model import TransformersModel

NUM_SAMPLES = 12


pytestmark = pytest.mark.usefixtures("one_thread")


def write_samples(folder: Path, text_alone=(), damaged=()) -> Path:
    """Twelve samples, one picture each but for those of text alone; a damaged picture has a good header and no end."""
    rows = []
    for number in range(NUM_SAMPLES):
        answer = {"role": "assistant", "content": ["MRI of the head" if number % 2 else "CT of the chest"]}
        row = {"id": f"sample-{number}", "turns": [{"role": "user", "content": [f"Number {number}?"]}, answer]}
        if number not in text_alone:
            content = make_image(64, 64, seed=number)
            picture = folder / f"{number}.png"
            picture.write_bytes(content[: len(content) // 2] if number in damaged else content)
            row["turns"][0]["content"].insert(0, 0)
            row["media"] = [{"kind": "image", "uri": str(picture)}]
        rows.append(row)
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def train(folder: Path, events=None, row_tokens=64, **stage):
    """Run the tiny model through one stage, shown on a console as a person sees it; its step and what was said."""
    samples = folder / "samples.jsonl"
    body = {
        "run": {"name": "faulty", "seed": 1},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(samples)}}], "filters": []},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "packing": {"use": "padded", "with": {"row_tokens": row_tokens, "batch_size": 1}},
        "training": {"use": "staged", "with": {"stages": [{"name": "one", "learning_rate": 1e-3, **stage}]}},
    }
    stream = io.StringIO()
    console = Console(stream)
    seen = events if events is not None else []

    class Both(list):
        def append(self, event):
            seen.append(event)
            console(event)

    try:
        record = run_document(body, folder, Both())
    finally:
        console.close()
        said = stream.getvalue()
    return next(step for step in record.steps if step.name == "train-one"), said


def failure(folder: Path) -> str:
    record = json.loads((folder / "runs" / "faulty" / "run.json").read_text())
    assert record["status"] == "failed"
    return record["error"]


def test_a_step_whose_only_image_is_corrupt_is_skipped_and_counted(tmp_path):
    write_samples(tmp_path, damaged=[3, 7])
    step, said = train(tmp_path)
    facts = step.details
    assert facts["steps"] == NUM_SAMPLES and facts["samples"] == NUM_SAMPLES - 2
    assert sum(step.dropped.values()) == 2 and step.num_in == NUM_SAMPLES and step.num_out == NUM_SAMPLES - 2
    assert [skipped["reason"] for skipped in facts["skipped_steps"]] == ["no_supervised_tokens"] * 2
    assert "sample sample-3" in said and "2 of 12 steps skipped (2 for no_supervised_tokens)" in said
    assert len(facts["curve"]) == NUM_SAMPLES and sum(entry["loss"] is None for entry in facts["curve"]) == 2


def test_a_stage_that_loses_most_of_its_steps_ends_in_one_line_with_the_count(tmp_path):
    write_samples(tmp_path, damaged=range(2, 12))
    with pytest.raises(InfimedError, match=r"stage 'one', step \d+: 7 of 12 steps were skipped \(7 for no_supervised"):
        train(tmp_path)
    assert "\n" not in failure(tmp_path)


def breaking(monkeypatch, at, how):
    """Break the model's forward pass in the training rows numbered in ``at``."""
    honest, count = TransformersModel.hidden_states, [0]

    def hidden_states(self, batch):
        if not self.module.training:  # the trial of whether samples may share a row
            return honest(self, batch)
        number = count[0]
        count[0] += 1
        return how(honest, self, batch) if number in at else honest(self, batch)

    monkeypatch.setattr(TransformersModel, "hidden_states", hidden_states)


def not_a_number(honest, self, batch):
    return honest(self, batch) * float("nan")


def no_memory(honest, self, batch):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")


def test_a_loss_that_is_not_a_number_in_the_first_step_is_skipped_where_the_stage_says_so(tmp_path, monkeypatch):
    write_samples(tmp_path)
    breaking(monkeypatch, [0], not_a_number)
    step, said = train(tmp_path, on_bad_loss="skip")
    assert [skipped["step"] for skipped in step.details["skipped_steps"]] == [1]
    assert "1 of 12 steps skipped (1 for the loss is not finite)" in said
    assert step.details["loss_last"] is not None


def test_a_loss_that_is_never_a_number_ends_in_one_line_whatever_the_stage_says(tmp_path, monkeypatch):
    write_samples(tmp_path)
    breaking(monkeypatch, range(1000), not_a_number)
    with pytest.raises(InfimedError, match=r"step 1: the loss is not finite; samples of the step: sample-\d+"):
        train(tmp_path)
    with pytest.raises(InfimedError, match=r"step 7: 7 of 12 steps were skipped \(7 for the loss is not finite\)"):
        train(tmp_path, on_bad_loss="skip")
    assert "\n" not in failure(tmp_path)


def test_a_loss_that_ends_as_no_number_is_not_shown_as_the_last_that_was_one(tmp_path, monkeypatch):
    write_samples(tmp_path)
    breaking(monkeypatch, [11], not_a_number)
    step, _ = train(tmp_path, on_bad_loss="skip")
    assert step.details["loss_first"] is not None and step.details["loss_last"] is None


@pytest.mark.parametrize("trainable", [["projector"], ["vision"], ["vision", "projector"]])
def test_rows_of_text_alone_add_nothing_where_the_language_model_is_frozen(tmp_path, trainable):
    write_samples(tmp_path, text_alone=[1, 2, 5])
    step, said = train(tmp_path, trainable=trainable, weight_decay=0.5)
    facts = step.details
    assert facts["rows_without_gradient"] == 3 and facts["samples"] == NUM_SAMPLES
    assert [skipped["reason"] for skipped in facts["skipped_steps"]] == ["no_gradient"] * 3
    assert "3 rows added nothing to the gradient" in said


def test_rows_of_text_beside_rows_with_images_go_on_where_the_language_model_is_frozen(tmp_path):
    write_samples(tmp_path, text_alone=[0, 3, 6, 9])
    step, _ = train(tmp_path, trainable=["projector"], rows_per_step=6)
    assert step.details["rows_without_gradient"] == 4 and step.details["skipped_steps"] == []


def test_out_of_memory_names_stage_step_row_tokens_and_the_setting_to_lower(tmp_path, monkeypatch):
    write_samples(tmp_path)
    breaking(monkeypatch, [4], no_memory)
    with pytest.raises(InfimedError) as caught:
        train(tmp_path)
    told = str(caught.value)
    assert "stage 'one', step 5, row 1: out of memory at a row of" in told and "tokens and 1 images" in told
    assert "activation_checkpointing: true" in told and "packing.row_tokens" in told and "sample-" in told
    assert "\n" not in failure(tmp_path)


def test_any_other_failure_of_the_model_is_one_line_with_step_and_samples(tmp_path, monkeypatch):
    def wrong_shapes(honest, self, batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\n  in a stack of lines")

    write_samples(tmp_path)
    breaking(monkeypatch, [2], wrong_shapes)
    with pytest.raises(
        InfimedError, match=r"step 3, row 1 \(samples sample-\d+\): the model failed: RuntimeError: mat1"
    ):
        train(tmp_path)
    assert "\n" not in failure(tmp_path)


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    write_samples(tmp_path)
    with pytest.raises(InfimedError, match=r"the (weights are|loss is|gradient is) not finite"):
        train(tmp_path, learning_rate=1e30, max_gradient_norm=None, save_every=1, warmup=0.0)
    for state in (tmp_path / "runs" / "faulty" / "state").rglob("weights.safetensors"):
        from safetensors.torch import load_file

        assert all(torch.isfinite(weight).all() for weight in load_file(state).values())
    assert not list((tmp_path / "runs" / "faulty").glob("checkpoints/one-*/model.safetensors"))


def test_the_rate_of_every_group_is_logged(tmp_path):
    write_samples(tmp_path)
    events = []
    train(tmp_path, events, learning_rate={"projector": 1e-3, "language": 1e-5}, trainable=["projector", "language"],
          schedule="constant", warmup=0.0)  # fmt: skip
    logged = [event.payload["learning_rates"] for event in events if event.kind == "log"]
    assert logged == [{"projector": 1e-3, "language": 1e-5}] * NUM_SAMPLES


def test_a_changed_setting_is_told_before_the_stage_is_trained_anew(tmp_path, monkeypatch):
    write_samples(tmp_path)
    _, said = train(tmp_path, num_steps=3)
    assert "trained anew" not in said
    _, said = train(tmp_path, num_steps=3, save_every=1)  # decides nothing: nothing is done again
    assert "trained anew" not in said and "nothing to do" in said
    _, said = train(tmp_path, num_steps=3, learning_rate=2e-3)
    assert "stage 'one' is trained anew from step 0" in said and "checkpoints/one-" in said
    assert "Checkpoints of earlier trainings are kept. To go on" in said and "deleted" not in said
    with monkeypatch.context() as patch:
        breaking(patch, [2], no_memory)
        with pytest.raises(InfimedError, match="out of memory"):
            train(tmp_path, num_steps=3, learning_rate=3e-3, save_every=1)
    with monkeypatch.context() as patch:
        breaking(patch, [0], no_memory)
        with pytest.raises(InfimedError, match="out of memory"):
            train(tmp_path, said := [], num_steps=3, learning_rate=4e-3)
    (told,) = [event.payload["text"] for event in said if "trained anew" in str(event.payload.get("text"))]
    (unfinished,) = {path.strip(",.") for path in told.split() if "/state/" in path}
    assert f"kept; {unfinished} (an unfinished training) is deleted once this stage is finished" in told
    _, said = train(tmp_path, num_steps=3, learning_rate=3e-3, save_every=1)
    assert "goes on after step 2 of 3" in said and "trained anew" not in said


def test_check_warns_of_small_steps_by_the_settings_and_by_the_last_plan(tmp_path):
    write_samples(tmp_path)
    _, said = train(tmp_path, num_steps=3)  # one sample in a batch
    assert "an optimizer step holds about 1 samples" in said and "rows_per_step: 8" in said
    shown = CliRunner().invoke(application(load_plugins(), "check"), ["check", str(tmp_path / "run.yaml")])
    assert shown.exit_code == 0 and "warning: stage 'one': an optimizer step holds about 1 samples" in shown.output
    (tmp_path / "runs" / "faulty" / "run.json").unlink()
    shown = CliRunner().invoke(application(load_plugins(), "check"), ["check", str(tmp_path / "run.yaml")])
    assert shown.exit_code == 0 and "warning: stage 'one': an optimizer step holds at most 1 samples" in shown.output


def test_processes_that_would_have_no_row_are_told():
    batches = SimpleNamespace(num_steps=2, num_rows=lambda step: 3)
    said = told_idle(batches, 8)
    assert "5 of 8 processes have no row in any step" in said and "rows_per_step to 8" in said
    assert told_idle(batches, 3) is None
