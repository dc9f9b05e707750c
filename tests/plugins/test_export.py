"""A checkpoint given away: card, merged, GGUF, and the hub, spoken to as a real one over HTTP on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
import yaml
from typer.testing import CliRunner

pytest.importorskip("peft", reason="needs the extra lora")
sys.path.insert(0, str(Path(__file__).parent))
from hub_server import Hub

from infimed_core import InfimedError, load_plugins
from infimed_core.cli import application
from infimed_core.records import open_run
from infimed_core.testing import run as run_document
from infimed_plugins.checkpoints.card import card_of
from infimed_plugins.checkpoints.places import find_place
from infimed_plugins.vlm.checkpoint import Transformers

TOKEN = "hf_verysecretverysecret"
ROWS = [
    {
        "id": f"s{n}",
        "licence": "CC-BY-4.0" if n % 2 else None,
        "turns": [
            {"role": "user", "content": [f"Which plane is number {n}?"]},
            {"role": "assistant", "content": ["axial" if n % 2 else "coronal"]},
        ],
    }
    for n in range(8)
]


def command(*arguments: str):
    return CliRunner().invoke(application(load_plugins(), arguments[0]), list(arguments))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two stages, the last of which keeps its adapter, graded on questions of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    data = folder / "samples.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    stages = [
        {"name": "whole", "learning_rate": 1e-3},
        {"name": "small", "learning_rate": 3e-2, "epochs": 4, "lora": {"rank": 2, "merge": False}},
    ]
    body = {
        "run": {"name": "given", "seed": 1},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(data)}}], "filters": []},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "packing": {"use": "padded", "with": {"row_tokens": 128, "batch_size": 2}},
        "training": {"use": "staged", "with": {"stages": stages}},
        "report": [{"use": "model-card"}],
    }
    run_document(body, folder)
    yield open_run(folder / "runs" / "given")
    torch.set_num_threads(before)


def test_a_card_tells_data_funnel_stages_settings_and_that_it_is_no_device(run, tmp_path):
    text = (run.directory / "model-card.md").read_text(encoding="utf-8")
    front, _, body = text.removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(front)["tags"] == ["medical", "infimed"]
    for part in ("**not a medical device**", "## Data", "CC-BY-4.0 | 4", "not stated | 4", "## Training", "| whole |"):
        assert part in body, part
    assert "learning_rate: 0.03" in body and "was not graded" in body
    assert str(run.directory.parent) not in text  # no path of this machine
    printed = command("card", str(run.directory / "whole"), "--license", "apache-2.0")
    assert "license: apache-2.0" in printed.stdout and "| small |" not in printed.stdout


def test_results_stand_with_their_intervals_beside_base_and_baselines(run):
    from infimed_core.records import MetricValue, ResultRow

    def row(model, value, **group):
        metrics = {"accuracy": MetricValue(value=value, low=value - 0.1, high=value + 0.1, num_scored=40)}
        return ResultRow(benchmark="vqa", version="1", model=model, scoring="strict", group=group, metrics=metrics)

    rows = (row("base", 0.4), row("small", 0.7), row("small", 0.9, plane="axial"), row("whole", 0.5))
    record = run.record.model_copy(update={"results": rows})
    text = card_of(type(run)(run.directory, record), "small")
    assert "| vqa | 1 | **small** | strict | accuracy | 0.7 [0.6, 0.8] | 40 |" in text
    assert "| base |" in text and "0.9 [" not in text and "| whole | strict" not in text


def test_a_checkpoint_of_unknown_making_has_a_card_that_says_so():
    text = card_of(None, "somebody", base="owner/base", is_adapter=True)
    assert "base_model: owner/base" in text and "library_name: peft" in text and "is not known" in text


def test_merged_is_a_whole_model_with_the_adapters_answers(run, tmp_path):
    target = tmp_path / "merged"
    done = command("export", str(run.directory), "--to", "merged", "--output", str(target))
    assert done.exit_code == 0, done.output
    adapter, merged = (
        Transformers(checkpoint=str(place), dtype="float32", attention="sdpa").load(None)
        for place in (find_place(str(run.directory)).name, target)
    )
    ids = torch.arange(20)[None]
    with torch.no_grad():
        one, other = (model.module(input_ids=ids, use_cache=False).logits for model in (adapter, merged))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert not hasattr(merged.module, "peft_config") and (target / "README.md").is_file()
    again = command("export", str(run.directory), "--to", "merged", "--output", str(target))
    assert "is there already and not empty" in str(again.exception)


def test_mistakes_are_one_line(run, tmp_path, monkeypatch):
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for arguments, text in (
        (("export", str(run.directory), "--to", "gguf"), "needs llama.cpp's convert_hf_to_gguf.py"),
        (("export", str(run.directory), "--to", "hub:name"), "write hub:OWNER/NAME, merged or gguf"),
        (
            ("export", str(run.directory / "third"), "--to", "merged"),
            "no finished stage 'third' (finished: whole, small)",
        ),
        (("export", "owner/name", "--to", "merged"), "no such directory"),
        (("export", str(run.directory), "--to", "hub:me/name"), "names its base by a path of this machine"),
    ):
        said = command(*arguments)
        assert isinstance(said.exception, InfimedError) and text in str(said.exception), said.exception
        assert "\n" not in str(said.exception)


def test_gguf_goes_through_the_converter_that_is_there(run, tmp_path, monkeypatch):
    """What llama.cpp's script is called with; the script itself is not on this machine."""
    script = tmp_path / "llama.cpp" / "convert_hf_to_gguf.py"
    script.parent.mkdir()
    script.write_text(
        "import sys, pathlib\nif '--fail' in open(__file__).read().split('#')[-1]:\n    sys.exit('unknown')\n"
        "pathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_text(' '.join(sys.argv[1:]))\n#"
    )
    monkeypatch.setenv("LLAMA_CPP", str(script.parent))
    target = tmp_path / "small"
    done = command("export", str(run.directory), "--to", "gguf", "--output", str(target), "--outtype", "f16")
    assert done.exit_code == 0, done.output
    assert {path.name for path in target.iterdir()} == {"small-f16.gguf", "mmproj-small-f16.gguf"}
    assert "--mmproj" in (target / "mmproj-small-f16.gguf").read_text()
    script.write_text("import sys\nsys.exit('Model Qwen9 is not supported')\n")
    failed = command("export", str(run.directory), "--to", "gguf", "--output", str(tmp_path / "b"))
    assert "could not convert" in str(failed.exception) and "Qwen9 is not supported" in str(failed.exception)


# -- the hub -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    server = Hub(TOKEN)
    yield server
    server.shutdown()
    server.server_close()


def at_hub(hub, folder: Path, *arguments: str, token: str | None = TOKEN):
    """`infimed` in a process of its own, which takes this machine's hub for the hub."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_TOKEN": token} if token else {}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    program = [sys.executable, "-c", "from infimed_core.cli import main; main()", *arguments]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_a_checkpoint_goes_to_the_hub_and_comes_back_by_its_name(run, hub, tmp_path):
    hub.drop_uploads = 2
    whole = str(run.directory / "whole")
    sent = at_hub(hub, tmp_path, "export", whole, "--to", "hub:me/tiny-vl", "--license", "mit")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    files = hub.files["models", "me/tiny-vl"]
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(files)
    assert not [name for name in files if name.startswith(("artifact", "infimed"))]
    assert (
        hub.private["me/tiny-vl"]
        and "private:" in sent.stdout
        and "not a medical device" in files["README.md"].decode()
    )
    again = at_hub(hub, tmp_path, "export", whole, "--to", "hub:me/tiny-vl", "--public")
    assert again.returncode == 0 and len(hub.sent) == 1  # the weights went once
    adapter = at_hub(hub, tmp_path, "export", str(run.directory), "--to", "hub:me/adapter", "--base", "me/tiny-vl")
    assert adapter.returncode == 0, adapter.stderr
    config = json.loads(hub.files["models", "me/adapter"]["adapter_config.json"])
    assert config["base_model_name_or_path"] == "me/tiny-vl"
    # More than what huggingface_hub holds before it writes (10 MB), else it begins anew.
    more = {"noise": np.frombuffer(os.urandom(24 * 2**20), np.uint8)}
    hub.files["models", "me/tiny-vl"]["more.safetensors"] = safetensors.numpy.save(more)
    hub.drop_downloads |= {"model.safetensors", "more.safetensors"}
    asked = at_hub(hub, tmp_path, "ask", "me/adapter", "Which plane is number 3?", "--max-new-tokens", "4", "--json")
    assert asked.returncode == 0, asked.stderr
    ranges = [wanted for method, path, wanted in hub.asked if wanted and path.endswith("more.safetensors")]
    assert any(re.match(r"bytes=[1-9]\d*-", wanted) for wanted in ranges)  # the rest alone was fetched
    local = command("ask", str(run.directory), "Which plane is number 3?", "--max-new-tokens", "4", "--json")
    assert json.loads(asked.stdout)["text"] == json.loads(local.stdout)["text"]
    for said in (sent, again, adapter, asked):
        assert TOKEN not in said.stdout + said.stderr


@pytest.mark.slow
def test_a_refusal_is_one_line_without_the_token(run, hub, tmp_path):
    wrong = "hf_anotherverysecret"
    refused = at_hub(hub, tmp_path, "export", str(run.directory / "whole"), "--to", "hub:me/x", token=wrong)
    assert refused.returncode == 2 and "the token is not accepted" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1 and wrong not in refused.stderr
    none = at_hub(hub, tmp_path, "export", str(run.directory / "whole"), "--to", "hub:me/x", token=None)
    assert none.returncode == 2 and "set HF_TOKEN" in none.stderr


@pytest.mark.slow
def test_a_run_reads_data_and_model_from_the_hub_by_name(run, hub, tmp_path):
    pytest.importorskip("datasets")
    whole = Path(find_place(str(run.directory / "whole")).name)
    hub.put("models", "me/tiny-vl", {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()})
    rows = [{"question": row["turns"][0]["content"][0], "answer": row["turns"][1]["content"][0]} for row in ROWS]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    hub.put("datasets", "me/planes", {"README.md": b"---\nlicense: mit\n---\n", "data/train.jsonl": lines})
    body = {
        "run": {"name": "from-hub", "seed": 1},
        "data": {"sources": [{"use": "huggingface", "with": {"path": "me/planes", "split": "train"}}], "filters": []},
        "model": {"use": "transformers", "with": {"checkpoint": "me/tiny-vl", "dtype": "float32"}},
        "packing": {"use": "padded", "with": {"row_tokens": 128, "batch_size": 2}},
        "training": {"use": "staged", "with": {"stages": [{"name": "one", "num_steps": 2}]}},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    done = at_hub(hub, tmp_path, "run", "run.yaml", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    record = open_run(tmp_path / "runs" / "from-hub")
    assert record.status == "done" and record.step("read").num_out == 8
    assert TOKEN not in done.stdout + done.stderr + (tmp_path / "runs" / "from-hub" / "run.json").read_text()
