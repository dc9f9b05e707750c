"""Checkpoints of a training stage behind ``vllm serve`` and in vLLM's offline engine, beside the local back-end.

``--python`` names an interpreter of an environment that has vLLM (a build for CPUs will do) and ``pluggy``; vLLM's
pins and those of this project need not agree, so that it gets an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))
from common import Results, main, table
from small_checkpoints import write_small_checkpoint

from infimed_core import Answer, MediaLoader, Request, Sample
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.demo.vqa import DemoVqa
from infimed_plugins.endpoint.model import OpenAICompatible
from infimed_plugins.image.modality import Image
from infimed_plugins.vlm.checkpoint import Transformers

ROOT = Path(__file__).parents[1]
MODELS = {
    "qwen2_vl": "qwen2_vl", "qwen2_5_vl": "qwen2_5_vl", "qwen3_vl": "qwen3_vl", "qwen3_vl, LoRA": "qwen3_vl",
    "llava": "llava", "internvl": "internvl", "gemma3": "gemma3", "qwen3_5": "qwen3_5",
    "qwen3": "qwen3", "qwen2": "qwen2", "llama": "llama",
}  # fmt: skip
"""What is trained, and its family."""
TEXT_ALONE = ("qwen3", "qwen2", "llama")
SIDE = 96
TOO_LONG = "too long"
SERVER = {
    "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
}  # fmt: skip
OFFLINE = """
import json, sys
from infimed_core import MediaLoader, Request
from infimed_plugins.image.modality import Image
from infimed_plugins.vllm.model import Vllm

if __name__ == "__main__":
    checkpoint, asked, told = sys.argv[1:]
    requests = [Request.model_validate_json(line) for line in open(asked)]
    model = Vllm(checkpoint=checkpoint, dtype="float32", max_model_len=1024).load(None)
    answers = model.answer(requests, MediaLoader({"image": Image()}))
    open(told, "w").write("".join(answer.model_dump_json() + "\\n" for answer in answers))
"""


def trained(name: str, folder: Path, samples: int) -> Path:
    """The checkpoint that a short stage saves: a small random model, trained on the demo by the command."""
    has_images = MODELS[name] not in TEXT_ALONE
    reader = {"side": SIDE, "include_text": not has_images}
    rows = [row for row in DemoAnatomy(**reader).read("") if isinstance(row, Sample)]
    texts = [turn.text for row in rows for turn in row.turns]
    write_small_checkpoint(MODELS[name], folder / "base", texts)
    source: dict[str, Any] = {"use": "demo-anatomy", "with": reader}
    if not has_images:
        alone = [without_images(row) for row in rows]
        (folder / "text.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in alone), encoding="utf-8")
        source = {"use": "jsonl", "with": {"path": str(folder / "text.jsonl")}}
    stage: dict[str, Any] = {"name": "one", "num_samples": samples, "learning_rate": 3e-3}
    if "LoRA" in name:
        stage["lora"] = {"rank": 8, "groups": ["language", "projector"]}
    body = {
        "run": {"name": "served", "directory": str(folder / "runs")},
        "data": {"sources": [source], "filters": []},
        "model": {"use": "transformers", "with": {"checkpoint": str(folder / "base"), "dtype": "float32"}},
        "resolution": {"use": "native"},
        "packing": {"use": "best-fit", "with": {"row_tokens": 1024}},
        "training": {"use": "staged", "with": {"stages": [stage]}},
    }
    file = folder / "run.yaml"
    file.write_text(json.dumps(body), encoding="utf-8")
    command = [sys.executable, "-m", "infimed_core", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} was not trained:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (checkpoint,) = (folder / "runs" / "served" / "checkpoints").glob("one-*")
    return checkpoint


def without_images(sample: Sample) -> Sample:
    """The sample's texts alone."""
    turns = [
        turn.model_copy(update={"content": tuple(part for part in turn.content if isinstance(part, str))})
        for turn in sample.turns
    ]
    return sample.model_copy(update={"media": (), "turns": tuple(turns)})


def questions(name: str, number: int) -> list[Request]:
    """Held-out questions of the demo, with their pictures unless the model takes none."""
    benchmark = DemoVqa(side=SIDE)
    samples = [sample for sample in benchmark.samples() if isinstance(sample, Sample)]
    samples = samples[:: max(1, len(samples) // number)][:number]
    if MODELS[name] in TEXT_ALONE:
        samples = [without_images(sample) for sample in samples]
    generation = benchmark.generation()
    asked = [Request(sample_id=s.id, turns=s.turns, media=s.media, generation=generation) for s in samples]
    # One that the server must refuse, and that must not take the others with it.
    turn = samples[0].turns[0].model_copy(update={"content": ("Which plane is this? " * 2000,)})
    return [*asked, Request(sample_id=TOO_LONG, turns=(turn,), media=(), generation=generation)]


@contextmanager
def served(python: str, checkpoint: Path, log: Path) -> Iterator[str]:
    """The address of ``vllm serve CHECKPOINT``, a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "vllm.entrypoints.cli.main", "serve", str(checkpoint), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "float32", "--max-model-len", "1024", "--enforce-eager"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env={**os.environ, **SERVER}, start_new_session=True
        )
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(f"vllm serve ended:\n{log.read_text(errors='replace')[-3000:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def offline(python: str, checkpoint: Path, requests: list[Request], folder: Path) -> list[Answer]:
    """The answers of the model ``vllm`` in the other environment."""
    (folder / "offline.py").write_text(OFFLINE, encoding="utf-8")
    (folder / "asked.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in requests), encoding="utf-8")
    command = [python, "offline.py", str(checkpoint), "asked.jsonl", "told.jsonl"]
    done = subprocess.run(
        command, env={**os.environ, **SERVER}, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"vLLM's offline engine failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return [Answer.model_validate_json(line) for line in (folder / "told.jsonl").open(encoding="utf-8")]


def one(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, save, serve, ask: how many answers differ from those of the local back-end."""
    media = MediaLoader({"image": Image()})
    checkpoint, requests = trained(name, folder, arguments.samples), questions(name, arguments.questions)
    local_model = Transformers(checkpoint=str(checkpoint), device="cpu").load(checkpoint)
    local = {answer.sample_id: answer for answer in local_model.answer(requests[:-1], media)}
    found: dict[str, Any] = {"distinct answers": len({answer.text for answer in local.values()})}
    ways = {"server": lambda: behind_server(arguments.python, checkpoint, requests, media, folder)}
    ways["offline"] = lambda: offline(arguments.python, checkpoint, requests, folder)
    for way, ask in ways.items():
        try:
            answers = ask()
        except RuntimeError as error:
            print(f"{name}, {way}: {error}", file=sys.stderr)
            found[way] = {"error": str(error).strip().splitlines()[-1]}
            continue
        refused = [answer.sample_id for answer in answers if answer.error]
        answers = [answer for answer in answers if answer.sample_id != TOO_LONG]
        found[way] = {
            "refused": len(refused) - (TOO_LONG in refused),
            "too long, and not refused": int(TOO_LONG not in refused),
            "missing": len(requests) - 1 - len(answers),
            "prompts that differ": sum(a.num_prompt_tokens != local[a.sample_id].num_prompt_tokens for a in answers),
            "answers that differ": sum(a.text != local[a.sample_id].text for a in answers),
        }
    return found


def behind_server(
    python: str, checkpoint: Path, requests: list[Request], media: MediaLoader, folder: Path
) -> list[Answer]:
    with served(python, checkpoint, folder / "server.log") as url:
        return list(OpenAICompatible(base_url=url).load(None).answer(requests, media))


def measure(results: Results, arguments: argparse.Namespace) -> None:
    names = arguments.models or list(MODELS)
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = one(name, arguments, Path(folder))
        print(name, found[name], flush=True)
    command = [arguments.python, "-c", "import vllm, transformers; print(vllm.__version__, transformers.__version__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results.details["vllm, its transformers"] = done.stdout.split()[-2:]
    results.details["questions"], results.details["models"] = arguments.questions, found
    keys = ("refused", "too long, and not refused", "missing", "prompts that differ", "answers that differ")
    rows = [
        [name, way, *(found[name][way].get(key, "–") for key in keys), found[name]["distinct answers"]]
        for name in names
        for way in ("server", "offline")
    ]
    table(["model", "vLLM", *keys, "distinct answers"], rows)
    for name in names:
        for way in ("server", "offline"):
            told = found[name][way]
            wrong = None if "error" in told else sum(told[key] for key in keys[:-1])
            results.target(f"{name}, {way}: questions lost, wrongly refused or of another length", wrong, "== 0")
            results.target(f"{name}, {way}: answers that differ", told.get(keys[-1]), "== 0")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has vLLM and pluggy")
    parser.add_argument("--models", nargs="*", choices=list(MODELS), help="some of the models; all by default")
    parser.add_argument("--samples", type=int, default=600, help="samples that each model is trained on")
    parser.add_argument("--questions", type=int, default=200)


if __name__ == "__main__":
    main("serving", measure, arguments)
