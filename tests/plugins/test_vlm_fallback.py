"""A family that is not known, or whose layers leak, is padded and says so; the doctor says it of any checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pytest
import torch
import transformers
from small_checkpoints import write_small_checkpoint
from typer.testing import CliRunner

from infimed_core.testing import run
from infimed_plugins.vlm.shrinking import shrink
from infimed_plugins.vlm.vocabulary import train_tokenizer
from infimed_plugins.vlm.without_progress_bars import without_progress_bars

TEXTS = ["Which imaging plane is shown in this picture?", "axial coronal sagittal"] * 5
LEAKING = ["gemma3_text", "qwen3_5_text"]


pytestmark = pytest.mark.usefixtures("one_thread")


def write_unknown(model_type: str, directory: Path) -> Path:
    """A small checkpoint of a family that InfiMed does not know."""
    tokenizer = train_tokenizer(TEXTS, 320)
    config = shrink(transformers.AutoConfig.for_model(model_type))
    config.vocab_size = len(tokenizer)
    with without_progress_bars():
        module = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        module.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("model_type", LEAKING)
def test_a_run_that_asks_for_packing_is_padded_and_says_so(tmp_path, model_type):
    checkpoint = write_unknown(model_type, tmp_path / "model")
    lines = []
    for number in range(9):
        turns = [{"role": "user", "content": [f"Plane {number}?"]}, {"role": "assistant", "content": ["axial"]}]
        lines.append(json.dumps({"id": f"s{number}", "turns": turns}))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines) + "\n")
    events = []
    record = run(
        {
            "run": {"name": "unknown"},
            "data": {"sources": [{"use": "jsonl", "with": {"path": str(tmp_path / "samples.jsonl")}}]},
            "model": {"use": "transformers", "with": {"checkpoint": str(checkpoint), "device": "cpu"}},
            "resolution": {"use": "native"},
            "packing": {"use": "best-fit", "with": {"row_tokens": 256}},
            "training": {"use": "staged", "with": {"stages": [{"name": "one", "learning_rate": 1e-3}]}},
        },
        tmp_path,
        events,
    )
    assert record.status == "done"
    isolation = next(step for step in record.steps if step.name == "isolation")
    assert isolation.details["packable"] is False and model_type in isolation.details["verdict"]
    plan = next(step for step in record.steps if step.name == "plan-one")
    trained = next(step for step in record.steps if step.name == "train-one")
    assert plan.details["num_rows"] == 2 and trained.num_out == 9  # batches of eight, and all within the budget
    told = [event.payload["text"] for event in events if event.kind == "message"]
    assert any("PADDED, not packed" in text and model_type in text for text in told)


def doctor(checkpoint: Path, *options: str):
    import typer

    from infimed_plugins.vlm.command import doctor_command

    app = typer.Typer()
    app.command()(doctor_command)
    return CliRunner().invoke(app, [str(checkpoint), *options])


@pytest.mark.parametrize("model_type", ["qwen3_vl", "qwen3_5", "internvl", "qwen3"])
def test_the_doctor_tells_that_a_known_family_may_be_packed(tmp_path, model_type):
    write_small_checkpoint(model_type, tmp_path, TEXTS, weights=False)
    found = json.loads(doctor(tmp_path, "--json").stdout)
    assert found["packable"] is True and found["logits_difference"] <= 1e-5 and found["gradients_difference"] <= 1e-5


@pytest.mark.parametrize(
    "config",
    [
        *LEAKING,
        "gemma3",
        "t5",
    ],
)
def test_the_doctor_tells_of_any_other_that_it_is_padded(tmp_path, config):
    transformers.AutoConfig.for_model(config).save_pretrained(tmp_path)
    result = doctor(tmp_path)
    assert result.exit_code == 0 and "padded" in result.stdout
    found = json.loads(doctor(tmp_path, "--json").stdout)
    pictured = config == "gemma3"
    assert found["packable"] is False and found["takes_images"] is found["known_family"] is pictured
    assert ("sliding window" if pictured else "no family") in result.stdout


def test_the_doctor_says_what_is_wrong_where_there_is_no_readable_checkpoint(tmp_path):
    from infimed_core import DataError

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "never-heard-of"}))
    result = doctor(tmp_path)
    assert isinstance(result.exception, DataError) and "never-heard-of" in str(result.exception)
    (tmp_path / "config.json").write_text("{")
    assert isinstance(doctor(tmp_path).exception, DataError)
