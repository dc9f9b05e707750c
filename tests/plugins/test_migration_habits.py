"""Scripts, judged answers, adapters and system prompts of other tools, as their users have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from infimed_core import Fault, InfimedError, Reader, load_plugins
from infimed_plugins.migration import llama_factory
from infimed_plugins.migration.command import Tool, converted
from infimed_plugins.migration.recipe import pixels_of_token
from infimed_plugins.migration.shell import commands
from infimed_plugins.migration.swift_names import with_new_names
from infimed_plugins.reporting.check import recipe_of_another_tool

SCRIPT = """\
#!/bin/bash
nproc_per_node=4   # cards
export CUDA_VISIBLE_DEVICES=0,1,2,3 RATE=1e-4
NPROC_PER_NODE=$nproc_per_node \\
swift sft \\
    --model Qwen/Qwen3-VL-2B-Instruct --dataset 'a.jsonl#5' b.jsonl \\
    --gradient_accumulation_steps $(expr 32 / ${nproc_per_node}) --max_length $((2 * 1024)) \\
    --learning_rate $RATE --lora_rank ${RANK:-16} --output_dir output > train.log 2>&1 &
"""


def test_variables_and_sums_of_a_script_are_worked_out(tmp_path: Path) -> None:
    file = tmp_path / "train.sh"
    file.write_text(SCRIPT)
    recipe, _ = converted(Tool.ms_swift, file)
    assert (recipe.devices, recipe.accumulation, recipe.longest) == (4, 8, 2048)
    assert (recipe.learning_rate, recipe.name, len(recipe.sources)) == (1e-4, "output", 2)
    assert recipe.lora is not None and recipe.lora.rank == 16
    for word in ("$(nproc)", "$UNSET", "`date`", "$(expr 4 / 0)", "$(( x ))"):
        file.write_text(f"swift sft --model m --dataset a.jsonl --max_length {word}\n")
        with pytest.raises(InfimedError, match="only a shell knows its value"):
            converted(Tool.ms_swift, file)


@pytest.mark.parametrize(
    ("start", "devices"),
    [
        ("llamafactory-cli train", 1), ("CUDA_VISIBLE_DEVICES=0,1,2 llamafactory-cli train", 3),
        ("FORCE_TORCHRUN=1 NNODES=2 NPROC_PER_NODE=4 llamafactory-cli train", 8),
        ("torchrun --nproc_per_node 4 --nnodes=2 src/train.py", 8),
        ("accelerate launch --config_file c.yaml --num_processes 6 --num_machines 2 /opt/lf/src/train.py", 6),
    ],
)  # fmt: skip
def test_a_command_of_llama_factory_is_read_as_its_yaml_is(start: str, devices: int, tmp_path: Path) -> None:
    settings = {"model_name_or_path": "m", "dataset": "a,b", "lora_rank": 4, "bf16": True, "save_only_model": False}
    script, recipe_file = tmp_path / "train.sh", tmp_path / "train.yaml"
    words = (f"--{key}" if value is True else f"--{key.replace('_', '-')} {value}" for key, value in settings.items())
    script.write_text(f"{start} \\\n  " + " \\\n  ".join(words) + "\n")
    recipe_file.write_text(json.dumps(settings))
    of_script, of_file = (converted(Tool.llama_factory, file)[0] for file in (script, recipe_file))
    assert of_script.devices == devices and of_file.devices == 1
    of_script.devices = 1
    assert of_script == of_file
    assert converted(Tool.llama_factory, script, 5)[0].devices == 5


def test_devices_that_only_a_shell_knows_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "train.sh"
    file.write_text("NPROC_PER_NODE=$WORLD_SIZE swift sft --model m --dataset a.jsonl\n")
    with pytest.raises(InfimedError, match="give --devices"):
        converted(Tool.ms_swift, file)
    assert converted(Tool.ms_swift, file, 1)[0].devices == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("template: qwen3\ninfer_backend: vllm\n", "infimed ask CHECKPOINT"),
        ("export_dir: out\nadapter_name_or_path: a\n", "infimed export CHECKPOINT --to merged"),
        ("do_predict: true\neval_dataset: a\n", "it evaluates"),
        ("do_train: true\nstage: sft\n", "dataset is missing"),
    ],
)
def test_a_file_that_trains_nothing_is_no_run_file(settings: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("model_name_or_path: m\n" + settings)
    with pytest.raises(InfimedError, match=said):
        converted(Tool.llama_factory, file)


def test_files_of_llama_factorys_v1_and_commands_without_data_are_told(tmp_path: Path) -> None:
    (tmp_path / "v1.yaml").write_text("model: m\ntrain_dataset: data.yaml\npeft_config: {name: lora}\n")
    with pytest.raises(InfimedError, match="of LLaMA-Factory's v1"):
        converted(Tool.llama_factory, tmp_path / "v1.yaml")
    (tmp_path / "a.sh").write_text("swift sft --model m\n")
    with pytest.raises(InfimedError, match="dataset is missing"):
        converted(Tool.ms_swift, tmp_path / "a.sh")


def test_json_over_several_lines_is_one_word_of_a_command(tmp_path: Path) -> None:
    json_over_lines = """--model_kwargs '{"a": 1,\n  "b": 2}' --dataset a.jsonl\n"""
    (tmp_path / "a.sh").write_text("echo start # it's a comment\nswift sft --model m " + json_over_lines)
    recipe, _ = converted(Tool.ms_swift, tmp_path / "a.sh")
    assert [source["with"]["path"] for source in recipe.sources] == ["a.jsonl"]
    (tmp_path / "a.sh").write_text("swift sft --model 'm\n--dataset a\n")
    with pytest.raises(InfimedError, match="No closing quotation"):
        converted(Tool.ms_swift, tmp_path / "a.sh")


@pytest.mark.parametrize(
    "line",
    [
        "cd /data && {}", "conda activate a; {} && echo done", "if true; then {}; fi", "{} | tee log",
        "{} > log 2>&1 &", "{} &> log", "nohup {} 2> log",
    ],
)  # fmt: skip
def test_a_command_among_others_is_found_whole(line: str) -> None:
    own = "swift sft --model 'm;n' --system '|begin|' --learning_rate 1e-4"
    found = [words for words, _ in commands(line.format(own)) if words[:2] == ["swift", "sft"]]
    assert found == [["swift", "sft", "--model", "m;n", "--system", "|begin|", "--learning_rate", "1e-4"]]


@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("a.yaml", "# was NPROC_PER_NODE=4 swift sft --model x\nrun: {name: a}\n", None),
        ("a.yaml", "word word word\n" * 5000, None),
        ("a.sh", SCRIPT, "ms-swift"),
        ("a.sh", "torchrun --nproc_per_node 2 ../swift/cli/sft.py --model m\n", "ms-swift"),
        ("a.sh", "FORCE_TORCHRUN=1 llamafactory-cli train \\\n  --stage sft\n", "LLaMA-Factory"),
        ("a.sh", "CUDA_VISIBLE_DEVICES=0 swift rlhf --rlhf_type dpo --model m\n", "ms-swift"),
        ("a.yaml", "model: m\ndataset: [a.jsonl]\ntuner_type: full\n", "ms-swift"),
        ("a.yaml", "model_name_or_path: m\nstage: dpo\n", "LLaMA-Factory"),
        ("a.yaml", "run: {name: a}\nmodel: {use: constant}\n", None),
    ],
)
def test_check_names_the_tool_of_a_recipe(name: str, text: str, tool: str | None, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert recipe_of_another_tool(tmp_path / name) == tool


def test_preferences_of_theirs_are_read_and_learned_from(tmp_path: Path) -> None:
    """Files of judged answers as both tools have them: every row is a pair or a labelled answer."""
    said = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "left"}]
    rows: dict[str, list[dict[str, Any]]] = {
        "pairs": [{"talk": said[:1], "good": said[1], "rejected": {"role": "assistant", "content": "right"}}],
        "marked": [{"messages": said, "label": True}],
        "swift": [{"messages": said, "rejected_response": "right"},
                  {"messages": said, "rejected_messages": [said[0], {"role": "assistant", "content": "right"}]}],
    }  # fmt: skip
    for name, content in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    roles = {"role_tag": "role", "content_tag": "content"}
    info = {
        "pairs": {"file_name": "pairs.jsonl", "formatting": "sharegpt", "ranking": True, "tags": roles,
                  "columns": {"messages": "talk", "chosen": "good", "rejected": "rejected"}},
        "marked": {"file_name": "marked.jsonl", "formatting": "sharegpt", "tags": roles,
                   "columns": {"messages": "messages", "kto_tag": "label"}},
    }  # fmt: skip
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    registry = load_plugins()
    texts = {
        "dpo.yaml": f"model_name_or_path: m\nstage: dpo\ndataset: pairs\ndataset_dir: {tmp_path}\npref_beta: 0.3\n",
        "kto.yaml": f"model_name_or_path: m\nstage: kto\ndataset: marked\ndataset_dir: {tmp_path}\n",
        "dpo.sh": f"swift rlhf --model m --dataset {tmp_path}/swift.jsonl --beta 0.3 --loss_type hinge\n",
    }
    expected = {
        "dpo.yaml": {"use": "dpo", "with": {"beta": 0.3}},
        "kto.yaml": {"use": "kto"},
        "dpo.sh": {"use": "dpo", "with": {"beta": 0.3, "loss": "hinge"}},
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        tool = Tool.ms_swift if name.endswith(".sh") else Tool.llama_factory
        run_file = converted(tool, tmp_path / name)[0].run_file()
        (stage,) = run_file["training"]["with"]["stages"]
        assert stage["objective"] == expected[name]
        registry.make("objective", stage["objective"]["use"], stage["objective"].get("with", {}))
        (source,) = run_file["data"]["sources"]
        reader = cast(Reader, registry.make("reader", source["use"], source["with"]))
        assert not [row for row in reader.read(source["with"]["path"]) if isinstance(row, Fault)]
        assert reader.doubts() == ()


def test_an_adapter_stays_one_and_the_system_prompt_goes_to_rows_without(tmp_path: Path) -> None:
    ours = [
        (
            Tool.llama_factory,
            "a.yaml",
            "model_name_or_path: m\ndataset: a\ndefault_system: Be brief.\nuse_muon: true\n",
        ),
        (Tool.ms_swift, "a.sh", "swift sft --model m --dataset a.jsonl --system 'Be brief.' --optimizer muon\n"),
    ]
    for tool, name, text in ours:
        (tmp_path / name).write_text(text)
        run_file = converted(tool, tmp_path / name)[0].run_file()
        (stage,) = run_file["training"]["with"]["stages"]
        assert stage["lora"]["merge"] is False
        assert stage["optimizer"] == {"use": "muon"}
        assert run_file["data"]["sources"][0]["with"]["system"] == "Be brief."
    (tmp_path / "b.sh").write_text("swift sft --model m --dataset a.jsonl --tuner_type lora_llm\n")
    assert (
        "merge"
        not in converted(Tool.ms_swift, tmp_path / "b.sh")[0].run_file()["training"]["with"]["stages"][0]["lora"]
    )


def test_a_system_prompt_is_that_of_rows_without_one(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "left"}]
    rows = [{"messages": said}, {"messages": said, "system": "Own."}, {"instruction": "Which?", "output": "left"},
            {"messages": [{"role": "system", "content": "Own."}, *said]}]  # fmt: skip
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = cast(Reader, load_plugins().make("reader", "llava", {"path": str(file), "system": "Be brief."}))
    turns = [sample.turns for sample in reader.read(str(file)) if not isinstance(sample, Fault)]
    assert [[turn.role for turn in one] for one in turns] == [["system", "user", "assistant"]] * 4
    assert [one[0].text for one in turns] == ["Be brief.", "Own.", "Be brief.", "Own."]


def test_a_checkpoint_on_disk_says_itself_what_a_token_covers(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    vision = {"patch_size": 14, "spatial_merge_size": 2}
    (tmp_path / "mine" / "config.json").write_text(json.dumps({"vision_config": vision}))
    assert pixels_of_token(str(tmp_path / "mine")) == 784
    for broken in ("{", "[]", '{"vision_config": null}', '{"vision_config": {"patch_size": 14}}'):
        (tmp_path / "mine" / "config.json").write_text(broken)
        assert pixels_of_token(str(tmp_path / "mine")) is None
    assert pixels_of_token("models/Qwen3_VL-2B") == 1024


@pytest.mark.parametrize("value", ["false", "null", "", "none", "no"])
def test_what_is_off_there_is_not_lost(value: str, tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    off = {
        "use_swanlab": value,
        "use_galore": value,
        "trust_remote_code": value,
        "use_unsloth": "true",
        "misspelt": value,
    }
    lines = [f"{key}: {text}" for key, text in off.items()]
    file.write_text("\n".join(["model_name_or_path: m", "dataset: a", *lines]))
    told = {account.key: account.verdict for account in converted(Tool.llama_factory, file, 1)[1]}
    assert told["use_swanlab"] == told["use_galore"] == told["trust_remote_code"] == "always"
    assert told["use_unsloth"] == told["misspelt"] == "none"


def test_evaluation_by_steps_is_taken_over_and_by_epochs_is_not(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    for strategy, verdict in (("steps", "same"), ("epoch", "by hand"), ("no", "always")):
        file.write_text(f"model_name_or_path: m\ndataset: a\nval_size: 0.1\neval_steps: 5\neval_strategy: '{strategy}'")
        recipe, accounts = converted(Tool.llama_factory, file, 1)
        assert {account.key: account.verdict for account in accounts}["eval_strategy"] == verdict
        assert recipe.evaluate_every == 5


def test_a_command_of_ms_swift_2_and_3_is_the_one_of_today(tmp_path: Path) -> None:
    def recipe(command: str) -> tuple[dict[str, Any], dict[str, Any]]:
        (tmp_path / "train.sh").write_text(f"swift sft {command}")
        made, accounts = converted(Tool.ms_swift, tmp_path / "train.sh")
        return made.run_file(), {account.key: account for account in accounts}

    now, _ = recipe(
        "--tuner_type full --model Qwen/Qwen3-VL-2B --dataset a.jsonl --per_device_train_batch_size 2 "
        "--torch_dtype bfloat16 --split_dataset_ratio 0.05"
    )
    second, told = recipe(
        "--sft_type full --model_id_or_path Qwen/Qwen3-VL-2B --custom_train_dataset_path a.jsonl --batch_size 2 "
        "--dtype bf16 --dataset_test_ratio 0.05 --do_sample false"
    )
    third, _ = recipe(
        "--train_type full --model Qwen/Qwen3-VL-2B --dataset a.jsonl --per_device_train_batch_size 2 "
        "--torch_dtype bfloat16 --split_dataset_ratio 0.05"
    )
    assert now == second == third
    assert now["data"]["split"] == {"held_out": 0.05, "seed": 42}
    assert now["training"]["with"]["stages"][0]["evaluate"]["held_out"] == {"split": "held-out"}
    assert told["sft_type"].verdict == "same" and told["sft_type"].note.startswith("now tuner_type")
    assert told["do_sample"].verdict == "by hand" and not [a for a in told.values() if a.verdict == "none"]
    adapted, _ = recipe("--sft_type lora --model_id_or_path m --dataset a.jsonl --lora_target_modules ALL")
    assert adapted["training"]["with"]["stages"][0]["lora"].get("targets") is None  # every linear layer
    assert with_new_names({"train_type": "lora", "tuner_type": "full"}) == ({"tuner_type": "full"}, {})


def test_trackers_and_a_random_part_held_out_stand_in_the_run_file(tmp_path: Path) -> None:
    base = {"model_name_or_path": "m", "dataset": "a", "dataset_dir": str(tmp_path), "finetuning_type": "full"}
    file = tmp_path / "t.yaml"
    made = llama_factory.recipe_of(base | {"report_to": ["wandb", "tensorboard"], "val_size": 0.1}, 1, file)[0]
    assert made.run_file()["report"] == [{"use": "tensorboard"}, {"use": "wandb"}]
    assert made.run_file()["data"]["split"]["held_out"] == 0.1
    made, told = llama_factory.recipe_of(base | {"report_to": "mlflow", "val_size": 200}, 1, file)
    assert "report" not in made.run_file() and "split" not in made.run_file()["data"]
    assert told["report_to"].verdict == "none" and told["val_size"].verdict == "by hand"


def test_a_sign_of_comments_within_quotes_is_none_and_an_open_quote_is_read_in_linear_time() -> None:
    text = "run --system 'use # here' --a '{\n\"b\": 1}' # it's a comment\n# don't\nrun --b \"it's\"\n"
    assert [words for words, _ in commands(text)] == [
        ["run", "--system", "use # here", "--a", '{\n"b": 1}'],
        ["run", "--b", "it's"],
    ]
    with pytest.raises(ValueError, match="quotation"):  # some hours where each line is read with all before it
        commands("echo 'a\n" + "x y --learning_rate 1e-4\n" * 20_000)
