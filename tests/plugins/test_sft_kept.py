"""Models kept along the way, the best one, early stopping, going on on purpose: each on a real, tiny run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from infimed_core import InfimedError
from infimed_core.testing import make_image
from infimed_core.testing import run as run_document
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.vlm.transformers_model import TransformersModel

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(12):
        picture = folder / f"{number}.png"
        picture.write_bytes(make_image(64, 64, seed=number))
        answer = {"role": "assistant", "content": ["MRI of the head" if number % 2 else "CT of the chest"]}
        turns = [{"role": "user", "content": [0, f"Number {number}?"]}, answer]
        media = [{"kind": "image", "uri": str(picture)}]
        tags = {"split": "validation" if number > 9 else "train"}
        rows.append({"id": f"sample-{number}", "turns": turns, "media": media, "tags": tags})
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def train(data: Path, folder: Path, events=None, until=None, name="kept", **stage):
    """Run the tiny model through the stage `one`; returns its step."""
    folder.mkdir(exist_ok=True)
    settings = {"name": "one", "learning_rate": 1e-3, "mix": [{"where": {"split": "train"}}], **stage}
    trainer = {"stages": [settings], **({"until": until} if until else {})}
    body = {
        "run": {"name": name, "seed": 1},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(data)}}], "filters": []},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "packing": {"use": "padded", "with": {"row_tokens": 64, "batch_size": 1}},
        "training": {"use": "staged", "with": trainer},
    }
    record = run_document(body, folder, events)
    return next(step for step in record.steps if step.kind == "train")


def folder_of(folder: Path, step, name="kept") -> Path:
    return folder / "runs" / name / f"{step.artifact}.steps"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def texts(events) -> str:
    return "\n".join(event.payload["text"] for event in events if event.kind == "message")


EVALUATE = {"every": 2, "held_out": {"split": "validation"}}


def test_models_of_every_so_many_steps_load_in_transformers_and_change_nothing(data, tmp_path):
    plain = train(data, tmp_path / "a")
    step = train(data, tmp_path / "b", keep_checkpoints={"every": 3, "most": 2})
    kept = folder_of(tmp_path / "b", step)
    assert sorted(path.name for path in kept.iterdir()) == ["step-000000006", "step-000000009"]
    assert json.loads((kept / "step-000000006" / "infimed.json").read_text())["step"] == 6
    runs = [tmp_path / "a" / "runs" / "kept" / plain.artifact, tmp_path / "b" / "runs" / "kept" / step.artifact]
    assert equal(weights(runs[0]), weights(runs[1]))
    model = AutoModelForImageTextToText.from_pretrained(kept / "step-000000006")
    assert not equal(weights(kept / "step-000000006"), weights(runs[1]))
    assert sum(parameter.numel() for parameter in model.parameters()) > 0
    link = tmp_path / "b" / "runs" / "kept" / "checkpoints" / "latest"
    assert os.readlink(link) == Path(step.artifact).name and (link / "config.json").is_file()
    assert not (tmp_path / "b" / "runs" / "kept" / "state").exists()


def test_adapters_are_merged_in_what_is_kept_and_train_on_as_if_nothing_was(data, tmp_path):
    lora = {"rank": 2, "groups": ["language"]}
    plain = train(data, tmp_path / "a", lora=lora)
    step = train(data, tmp_path / "b", lora=lora, keep_checkpoints={"every": 5})
    first, second = (tmp_path / n / "runs" / "kept" / s.artifact for n, s in (("a", plain), ("b", step)))
    assert equal(weights(first), weights(second))
    middle = weights(folder_of(tmp_path / "b", step) / "step-000000005")
    assert middle.keys() == weights(second).keys() and not equal(middle, weights(second))


def test_the_first_step_can_be_measured_and_the_best_model_is_kept(data, tmp_path):
    step = train(
        data, tmp_path, evaluate={**EVALUATE, "at_start": True}, keep_checkpoints={"best": True}, learning_rate=1e-2
    )
    losses = {entry["step"]: entry["held_out_loss"] for entry in step.details["evaluations"]}
    assert list(losses) == [0, 2, 4, 6, 8, 10]
    best = min((step for step in losses if step), key=losses.get)
    assert step.details["best"] == {"step": best, "value": losses[best]}
    info = json.loads((folder_of(tmp_path, step) / "best" / "infimed.json").read_text())
    assert info["step"] == best and info["best"]["value"] == losses[best]


def test_a_stage_stops_early_and_ends_with_its_best_weights(data, tmp_path):
    events = []
    stage = {"learning_rate": 0.3, "max_gradient_norm": None, "epochs": 4, "evaluate": {**EVALUATE, "every": 1}}
    stage |= {"patience": 3, "end_with": "best", "keep_checkpoints": {"best": True}}
    step = train(data, tmp_path, events, **stage)
    facts = step.details
    assert facts["steps"] == facts["best"]["step"] + 3 < 40
    assert "stops early after step" in texts(events) and facts["ended_with_step"] == facts["best"]["step"]
    run = tmp_path / "runs" / "kept"
    assert equal(weights(run / step.artifact), weights(folder_of(tmp_path, step) / "best"))
    assert step.num_in == step.num_out == facts["samples"]


def test_a_stage_that_was_stopped_goes_on_to_the_same_best_and_the_same_end(data, tmp_path):
    stage = {"learning_rate": 0.3, "max_gradient_norm": None, "epochs": 4, "evaluate": {**EVALUATE, "every": 1}}
    stage |= {"patience": 6, "end_with": "best"}
    whole = train(data, tmp_path / "a", **stage)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "b", until="5", **stage)
    parts = train(data, tmp_path / "b", **stage)
    assert parts.details["resumed_from"] == 5 and parts.details["best"] == whole.details["best"]
    first, second = (tmp_path / n / "runs" / "kept" / s.artifact for n, s in (("a", whole), ("b", parts)))
    assert equal(weights(first), weights(second))


def test_until_stops_after_a_step_and_the_same_command_without_it_goes_on(data, tmp_path):
    events = []
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, events, until="one:4")
    assert "stops after step 4 of 10, as 'until' says" in texts(events)
    record = json.loads((tmp_path / "runs" / "kept" / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert [path.name for path in (tmp_path / "runs" / "kept" / "state").glob("*/step-*")] == ["step-000000004"]
    with pytest.raises(KeyboardInterrupt):  # again, with no step more
        train(data, tmp_path, events, until="4")
    assert [path.name for path in (tmp_path / "runs" / "kept" / "state").glob("*/step-*")] == ["step-000000004"]
    assert train(data, tmp_path).details["resumed_from"] == 4


def test_a_run_goes_on_from_a_kept_step_with_the_optimizer_as_if_it_had_not_ended(data, tmp_path):
    whole = train(data, tmp_path, keep_checkpoints={"every": 4, "optimizer": True}, schedule="constant")
    source = f"{tmp_path}/runs/kept/one@4"
    events = []
    # save_every decides no weight; continue_from makes it a training of its own
    again = train(
        data,
        tmp_path,
        events,
        name="again",
        schedule="constant",
        continue_from={"checkpoint": source, "optimizer": True},
    )
    assert again.details["resumed_from"] == 4 and "goes on after step 4 of 10" in texts(events)
    first, second = (tmp_path / "runs" / n / s.artifact for n, s in (("kept", whole), ("again", again)))
    assert equal(weights(first), weights(second))
    without = train(data, tmp_path, events, name="without", schedule="constant", continue_from=source)
    assert not equal(weights(first), weights(tmp_path / "runs" / "without" / without.artifact))
    assert "without the optimizer's state" in texts(events)


def test_more_epochs_begin_with_the_weights_of_the_stage_before(data, tmp_path):
    train(data, tmp_path)
    events = []
    more = train(data, tmp_path, events, epochs=2, continue_from=f"{tmp_path}/runs/kept/one", learning_rate=1e-5)
    assert more.details["resumed_from"] == 0 and more.details["steps"] == 20
    assert "begins its own steps with the weights of" in texts(events)
    fresh = train(data, tmp_path, name="fresh", epochs=2, learning_rate=1e-5)
    assert more.details["curve"][0]["loss"] < fresh.details["curve"][0]["loss"] - 0.1


def test_what_cannot_be_gone_on_from_is_one_line_with_what_there_is(data, tmp_path):
    train(data, tmp_path, keep_checkpoints={"every": 4})
    place = f"{tmp_path}/runs/kept/one"
    with pytest.raises(InfimedError, match=r"no such checkpoint; .* holds one@step-000000004, one@step-000000008"):
        train(data, tmp_path, name="b", continue_from=f"{place}@5")
    with pytest.raises(InfimedError, match="holds no optimizer's state; set keep_checkpoints"):
        train(data, tmp_path, name="c", continue_from={"checkpoint": f"{place}@4", "optimizer": True})


def test_best_without_a_measurement_is_refused_when_the_file_is_read():
    for setting in ({"patience": 2}, {"end_with": "best"}, {"keep_checkpoints": {"best": True}}):
        with pytest.raises(ValueError, match="needs evaluate"):
            TrainingStage(name="one", **setting)
        with pytest.raises(ValueError, match=r"give evaluate\.held_out"):
            TrainingStage(name="one", evaluate={"every": 2, "benchmarks": ("b",)}, **setting)
        with pytest.raises(ValueError, match=r"which evaluate\.benchmarks does not"):
            TrainingStage(name="one", evaluate=EVALUATE, best_by="c", **setting)
    with pytest.raises(ValueError, match="keeps nothing"):
        TrainingStage(name="one", keep_checkpoints={"most": 2})


def test_a_full_disk_while_a_model_is_kept_ends_in_one_line_and_the_run_goes_on_from_its_state(
    data, tmp_path, monkeypatch
):
    whole = train(data, tmp_path / "a")
    honest = TransformersModel.save

    def full(self, directory):
        if directory.name.startswith(".writing-step-000000006"):
            raise OSError(28, "No space left on device")
        honest(self, directory)

    monkeypatch.setattr(TransformersModel, "save", full)
    keep = {"save_every": 4, "keep_checkpoints": {"every": 3}}
    with pytest.raises(InfimedError, match=r"step-000000006: this checkpoint could not be written .* free disk space"):
        train(data, tmp_path / "b", **keep)
    monkeypatch.undo()
    step = train(data, tmp_path / "b", **keep)
    assert step.details["resumed_from"] == 4
    names = sorted(path.name for path in folder_of(tmp_path / "b", step).iterdir())
    assert names == ["step-000000003", "step-000000006", "step-000000009"]
    first, second = (tmp_path / n / "runs" / "kept" / s.artifact for n, s in (("a", whole), ("b", step)))
    assert equal(weights(first), weights(second))


def test_adapters_begin_on_the_weights_that_are_gone_on_from(data, tmp_path):
    first = train(data, tmp_path)
    lora = {"rank": 2, "groups": ["language"]}
    step = train(data, tmp_path, name="b", lora=lora, continue_from=f"{tmp_path}/runs/kept/one", learning_rate=1e-12)
    before, after = (
        weights(tmp_path / "runs" / "kept" / first.artifact),
        weights(tmp_path / "runs" / "b" / step.artifact),
    )
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
