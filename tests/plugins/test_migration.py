"""Recipes of other tools become run files that say the same; every key of theirs is accounted for."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from small_checkpoints import write_small_checkpoint
from typer.testing import CliRunner

from infimed_core import InfimedError
from infimed_core.cli import application
from infimed_core.plugins import load_plugins
from infimed_core.testing import make_image, run
from infimed_plugins.migration import llama_factory, swift
from infimed_plugins.migration.command import Tool, convert_command, converted, rendered
from infimed_plugins.migration.swift_names import RENAMED
from infimed_plugins.migration.table import table_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "migration"
ROOT = Path(__file__).parents[2]

TEXT_YAML = """\
model_name_or_path: CHECKPOINT
stage: sft
do_train: true
finetuning_type: full
dataset_dir: DATA
dataset: notes
template: qwen3_nothink
cutoff_len: 256
max_samples: 6
output_dir: saves/text/sft
report_to: none
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1e-4
num_train_epochs: 1.0
lr_scheduler_type: linear
warmup_ratio: 0.1
weight_decay: 0.05
ddp_timeout: 180000000
resume_from_checkpoint: null
"""
ONE_IMAGE_YAML = """\
model_name_or_path: CHECKPOINT
image_max_pixels: 16384
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 4
lora_target: all
dataset_dir: DATA
dataset: films,notes
template: qwen3_vl_nothink
cutoff_len: 512
output_dir: saves/one/lora
neat_packing: true
per_device_train_batch_size: 1
gradient_accumulation_steps: 1
learning_rate: 1.0e-4
num_train_epochs: 1.0
lr_scheduler_type: cosine
"""
SEVERAL_COMMAND = """\
# started on one card
NPROC_PER_NODE=1 \\
MAX_PIXELS=16384 \\
swift sft \\
    --model CHECKPOINT \\
    --tuner_type full \\
    --freeze_vit true \\
    --freeze_aligner false \\
    --aligner_lr 2e-5 \\
    --dataset DATA/studies.jsonl#4 \\
    --val_dataset DATA/films.jsonl \\
    --max_length 512 \\
    --num_train_epochs 1 \\
    --gradient_accumulation_steps 2 \\
    --eval_steps 1 \\
    --learning_rate 1e-5 \\
    --output_dir output/several
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "Qwen3-VL-tiny"
    return write_small_checkpoint("qwen3_vl", folder, ["What is shown? A film of the chest.", "Yes. No. user"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data as the two tools read it: Alpaca rows, ShareGPT rows with a film, messages with two films."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(4):
        (folder / f"film{number}.png").write_bytes(make_image(64, 64, seed=number))
    notes = [{"instruction": "What is shown?", "input": "", "output": f"A film of the chest, {n}."} for n in range(8)]
    films = [
        {"messages": [{"role": "user", "content": "<image>What is shown?"}, {"role": "assistant", "content": "A film"}],
         "images": [f"film{n}.png"]} for n in range(4)
    ]  # fmt: skip
    studies = [
        {"messages": [{"role": "user", "content": "<image><image>Are they alike?"},
                      {"role": "assistant", "content": "No."}], "images": ["film0.png", "film1.png"]} for _ in range(6)
    ]  # fmt: skip
    (folder / "notes.json").write_text(json.dumps(notes))
    (folder / "films.json").write_text(json.dumps(films))
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in films))
    (folder / "studies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in studies))
    roles = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    info = {
        "notes": {"file_name": "notes.json"},
        "films": {"file_name": "films.json", "formatting": "sharegpt", "columns": columns, "tags": roles},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def write(folder: Path, name: str, text: str, checkpoint: Path, data: Path) -> Path:
    file = folder / name
    file.write_text(text.replace("CHECKPOINT", str(checkpoint)).replace("DATA", str(data)))
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "name", "text", "steps"),
    [
        (Tool.llama_factory, "text.yaml", TEXT_YAML, 3),
        (Tool.llama_factory, "one.yaml", ONE_IMAGE_YAML, None),
        (Tool.ms_swift, "several.sh", SEVERAL_COMMAND, 2),
    ],
)
def test_a_recipe_of_theirs_converts_and_trains(
    tool: Tool, name: str, text: str, steps: int | None, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    recipe, accounts = converted(tool, write(tmp_path, name, text, checkpoint, data), 1)
    written = tmp_path / "run.yaml"
    written.write_text(rendered(recipe, tool, Path(name)))
    registry = load_plugins()
    checked = CliRunner().invoke(application(registry, "check"), ["check", str(written)])
    assert checked.exit_code == 0, checked.output
    theirs = CliRunner().invoke(application(registry, "check"), ["check", str(tmp_path / name)])
    assert theirs.exit_code != 0 and "infimed convert" in f"{theirs.output}{theirs.exception}"
    content = yaml.safe_load(written.read_text())
    content["run"].pop("directory")
    record = run(content, tmp_path)
    assert record.status == "done"
    trained = next(step for step in record.steps if step.kind == "train")
    if steps is not None:
        assert trained.details["steps"] == steps
    assert {account.key for account in accounts} >= {"learning_rate", "output_dir"}


def test_a_step_has_the_samples_that_it_has_there(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    text = TEXT_YAML.replace("per_device_train_batch_size: 1", "per_device_train_batch_size: 4")
    recipe, _ = converted(Tool.llama_factory, write(tmp_path, "t.yaml", text, checkpoint, data), 8)
    content = recipe.run_file()
    stage = content["training"]["with"]["stages"][0]
    assert content["packing"] == {"use": "padded", "with": {"row_tokens": 4 * 256, "batch_size": 4}}
    assert stage["rows_per_step"] * 4 == 4 * 2 * 8
    assert (stage["schedule"], stage["warmup"], stage["weight_decay"], stage["betas"]) == (
        "linear", 0.1, 0.05, [0.9, 0.999],
    )  # fmt: skip
    assert stage["trainable"] == ["language", "embeddings"] and stage["activation_checkpointing"] is True
    packed, _ = converted(Tool.llama_factory, write(tmp_path, "p.yaml", text + "packing: true\n", checkpoint, data), 8)
    content = packed.run_file()
    assert content["packing"] == {"use": "best-fit", "with": {"row_tokens": 256}}
    assert content["training"]["with"]["stages"][0]["rows_per_step"] == 4 * 2 * 8


def test_what_a_tool_does_where_nothing_is_set_is_written_down(tmp_path: Path) -> None:
    file = tmp_path / "t.sh"
    file.write_text("NPROC_PER_NODE=2 swift sft --model Qwen/Qwen2.5-VL-7B-Instruct --dataset me/films:small#100\n")
    recipe, _ = converted(Tool.ms_swift, file, 1)
    content = recipe.run_file()
    stage = content["training"]["with"]["stages"][0]
    assert stage["rows_per_step"] == 16 and stage["learning_rate"] == 1e-4 and stage["weight_decay"] == 0.1
    assert stage["lora"] == {"rank": 8, "alpha": 32.0, "dropout": 0.05, "groups": ["language"], "merge": False}
    assert content["data"]["sources"] == [
        {"use": "huggingface", "with": {"path": "me/films", "name": "small", "max_samples": 100}}
    ]
    assert content["run"] == {"name": "Qwen2.5-VL-7B-Instruct", "directory": "output", "seed": 42}


def test_pixels_become_visual_tokens_of_the_family(tmp_path: Path) -> None:
    twenty_eight = ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/QVQ-72B-Preview", "zai-org/GLM-5.3-Flash")
    for model, tokens in (("Qwen/Qwen3-VL-4B-Instruct", 256), *((name, 334) for name in twenty_eight), ("x/y", None)):
        file = tmp_path / "t.yaml"
        file.write_text(f"model_name_or_path: {model}\ndataset: a\nimage_max_pixels: 262144\n")
        recipe, accounts = converted(Tool.llama_factory, file, 1)
        assert recipe.max_visual_tokens == tokens
        verdict = next(account.verdict for account in accounts if account.key == "image_max_pixels")
        assert verdict == ("none" if tokens is None else "differs")


def test_a_mix_keeps_its_weights_and_its_end(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("model_name_or_path: m\ndataset: a, b\nmix_strategy: interleave_under\ninterleave_probs: 0.7,0.3\n")
    stage = converted(Tool.llama_factory, file, 1)[0].run_file()["training"]["with"]["stages"][0]
    assert stage["mix"] == [{"where": {"dataset": "a"}, "weight": 0.7}, {"where": {"dataset": "b"}, "weight": 0.3}]
    assert stage["mix_epoch"] == "shortest"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_name_or_path: m\nstage: ppo\n", "stage: ppo is not converted; sft, dpo and kto are"),
        ("model_name_or_path: m\nstage: dpo\npref_loss: orpo\n", "pref_loss: orpo is not offered"),
        ("model_name_or_path: m\ncutoff_len: .inf\n", "cutoff_len: inf is no number"),
        ("model_name_or_path: m\nfinetuning_type: oft\n", "finetuning_type: oft is not offered"),
        ("stage: sft\n", "model_name_or_path is missing"),
        ("model_name_or_path: m\nlearning_rate: fast\n", "learning_rate: 'fast' is no number"),
        ("- a\n- b\n", "must hold settings by name"),
        ("a: [\n", "is no YAML"),
    ],
)
def test_what_cannot_be_said_here_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(text)
    with pytest.raises(InfimedError, match=r"t\.yaml: ") as raised:
        converted(Tool.llama_factory, file, 1)
    assert said in str(raised.value)


def test_the_command_tells_every_key_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "t.yaml"
    file.write_text(
        "model_name_or_path: m\ndataset: a\nhf_hub_token: hf_verysecret\npissa_init: true\nlerning_rate: 1e-4\n"
    )
    convert_command(Tool.llama_factory, file)
    said = capsys.readouterr().out
    assert "hf_verysecret" not in said + (tmp_path / "run.yaml").read_text()
    assert "is it misspelt" in said and "5 keys, 3 not taken over" in said
    with pytest.raises(InfimedError, match="is there already"):
        convert_command(Tool.llama_factory, file)


def test_every_key_of_theirs_has_its_place() -> None:
    from transformers import Seq2SeqTrainingArguments

    shared = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)}
    for module, names in ((llama_factory, "llama_factory.txt"), (swift, "ms_swift.txt")):
        theirs = set((FIXTURES / names).read_text().split())
        assert (theirs | shared) - set(module.TABLE) == set()
        assert set(module.DEFAULTS) <= set(module.TABLE)


def test_the_places_that_keys_are_sent_to_exist() -> None:
    """Every path that the tables name is a setting of a run file, by the schemas."""
    from infimed_core.runfile.sections import run_schema
    from infimed_plugins.sft.stages import TrainingStage
    from infimed_plugins.sft.trainer import StagedTrainer
    from infimed_plugins.vlm.checkpoint import Transformers

    sections = set(run_schema()["properties"])
    for module in (llama_factory, swift):
        for name, key in module.TABLE.items():
            for path in filter(None, key.path.split(", ")):
                assert path.split(".")[0].split("[")[0] in sections, (name, path)
                if path.startswith("training.with.stages[0]."):
                    setting = path.removeprefix("training.with.stages[0].").split(".")[0].split("[")[0]
                    assert setting in TrainingStage.model_fields, (name, path)
                elif path.startswith("model.with."):
                    assert path.split(".")[2] in Transformers.model_fields, (name, path)
                elif path.startswith("training.with."):
                    assert path.split(".")[2].split("[")[0] in StagedTrainer.model_fields, (name, path)


VALUES: list[Any] = [
    True, False, 3, 4, 8, 0.25, 1e-3, 16384, "adafactor", "last_round", "all", "seq", "full", "lora_llm", "linear",
    "interleave_over",
    "all_exhausted", "dpo", "kto", "hinge", "muon", "Be brief.",
    "0.5,0.5", ["0.5", "0.5"], "c,d", ["c.jsonl", "d.jsonl"], "bfloat16", "zero2", "elsewhere/it",
]  # fmt: skip
BASES: dict[Any, list[dict[str, Any]]] = {
    llama_factory: [
        {"model_name_or_path": "Qwen/Qwen3-VL-2B", "dataset": "a,b", "eval_dataset": "e", "finetuning_type": method}
        | more for method in ("lora", "full")
        for more in ({}, {"eval_dataset": None}, {"interleave_probs": "0.9,0.1"},
                     {"lora_rank": 5, "adapter_name_or_path": "it"}, {"stage": "dpo"}, {"stage": "kto"})
    ],
    swift: [
        {"model": "Qwen/Qwen3-VL-2B", "dataset": ["a.jsonl", "b.jsonl"], "val_dataset": ["e.jsonl"]} | more
        for more in ({}, {"val_dataset": None}, {"tuner_type": "full"},
                     {"vit_lr": 1e-4, "freeze_vit": False, "freeze_aligner": False},
                     {"interleave_prob": ["0.9", "0.1"]}, {"packing": True}, {"rlhf_type": "dpo"}, {"rlhf_type": "kto"})
    ],
}  # fmt: skip


@pytest.mark.parametrize("module", [llama_factory, swift], ids=["llama-factory", "ms-swift"])
def test_a_key_that_is_said_to_be_the_same_is_written(module: Any, tmp_path: Path) -> None:
    """For every such key there is a value that changes the run file; without one the table would claim too much."""
    file = tmp_path / "t.yaml"

    def written(settings: dict[str, Any]) -> Any:
        try:
            return module.recipe_of(settings, 1, file)[0].run_file()
        except (InfimedError, ValueError):
            return None

    def bases(name: str) -> list[dict[str, Any]]:
        """As they are; for an old name without the argument by its name of now."""
        if (new := RENAMED.get(name)) is None or module is llama_factory:
            return BASES[module]
        return [{key: value for key, value in base.items() if key != new} for base in BASES[module]]

    idle = [
        name
        for name, key in module.TABLE.items()
        if key.verdict == "same"
        and not any(
            (changed := written(base | {name: value})) is not None and changed != whole
            for base in bases(name)
            for whole in (written(base),)
            for value in VALUES
        )
    ]
    assert idle == []


@pytest.mark.parametrize("name", ["films.csv", "films.tsv", "films.parquet", "films.json", "films.jsonl", "me/films"])
def test_every_reader_that_is_written_is_one_that_there_is(name: str) -> None:
    registry = load_plugins()
    use = swift._source(f"{name}#5", {}, False)
    registry.make("reader", use["use"], use["with"])


def test_the_documented_table_is_the_one_that_is_used() -> None:
    text = (ROOT / "docs" / "moving-in.md").read_text(encoding="utf-8")
    for module in (llama_factory, swift):
        assert table_of(module.TABLE) in text, "run python docs/moving_in.py"


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(0, 2), st.floats(), st.text(max_size=8),
    st.lists(st.text(max_size=3)), st.dictionaries(st.sampled_from(["min_lr", "a"]), st.lists(st.text(max_size=2))),
)  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "least"),
    [
        (Tool.llama_factory, {"model_name_or_path": "m", "dataset": "a"}),
        (Tool.ms_swift, {"model": "m", "dataset": "a.jsonl"}),
    ],
)
@bounded(max_examples=30, deadline=None)
@given(drawn=st.data())
def test_no_value_breaks_the_conversion(tool: Tool, least: dict[str, Any], drawn: st.DataObject) -> None:
    import tempfile

    module = llama_factory if tool is Tool.llama_factory else swift
    names = st.sampled_from([*sorted(module.TABLE), "nonsense"])
    settings = least | drawn.draw(st.dictionaries(names, values, max_size=8))
    folder = Path(tempfile.mkdtemp())
    try:
        file = folder / "t.json"
        file.write_text(json.dumps(settings))
        recipe, accounts = converted(tool, file, 1)
        assert len(accounts) == len(settings)
        assert yaml.safe_load(rendered(recipe, tool, file))["model"]["use"] == "transformers"
    except InfimedError:
        pass
    finally:
        shutil.rmtree(folder)
