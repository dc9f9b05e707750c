"""``kill -9`` at random steps of a run: the weights that come out are bit for bit those of the run that was not killed.

``survive_kills`` is called by benchmarks/training.py and by the tests; run as a script it kills twenty times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Results, main

from infimed_core.records import open_run
from infimed_core.testing import make_image

STAGE = {"learning_rate": 1e-3, "save_every": 3, "keep": 2}


def write_run_file(folder: Path, plugin: Path | None = None, **stage: Any) -> Path:
    """A run file that trains a tiny Qwen3-VL through two stages on pictures beside it, with a plugin of one file."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(24):
        picture = folder / f"{number}.png"
        picture.write_bytes(make_image(64, 64, seed=number))
        turns = [
            {"role": "user", "content": [0, f"Which modality is picture {number}?"]},
            {"role": "assistant", "content": ["MRI of the head" if number % 2 else "CT of the chest"]},
        ]
        rows.append({"id": f"sample-{number}", "turns": turns, "media": [{"kind": "image", "uri": str(picture)}]})
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    stages = [{**STAGE, **stage, "name": name} for name in ("one", "two")]
    body: dict[str, Any] = {
        "run": {"name": "killed", "directory": str(folder / "runs"), "seed": 1},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(folder / "samples.jsonl")}}]},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 128}},
        "training": {"use": "staged", "with": {"stages": stages}},
    }
    if plugin is not None:
        body["run"]["plugins"] = [str(plugin)]
    file = folder / "run.yaml"
    file.write_text(json.dumps(body), encoding="utf-8")
    return file


def start(file: Path) -> subprocess.Popen[bytes]:
    """``infimed-run FILE`` in a process of its own, with one thread."""
    command = [sys.executable, "-m", "infimed_core", str(file)]
    with (file.parent / "output.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


def finish(file: Path) -> None:
    """Run to the end."""
    code = start(file).wait()
    if code:
        raise RuntimeError(f"the run ended with {code}:\n{(file.parent / 'output.txt').read_text()[-2000:]}")


def steps_done(file: Path) -> int:
    """Training steps that the run has told of so far, those done twice included."""
    path = file.parent / "runs" / "killed" / "events.jsonl"
    return path.read_text(encoding="utf-8").count('"kind": "log"') if path.exists() else 0


def weights(file: Path) -> dict[str, bytes]:
    """The bytes of every tensor of every stage's checkpoint."""
    from safetensors.torch import load_file

    found = {}
    for path in sorted((file.parent / "runs" / "killed" / "checkpoints").glob("*/*.safetensors")):
        stage = path.parent.name.rsplit("-", 1)[0]
        found |= {f"{stage}/{name}": tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    return found


def survive_kills(
    folder: Path, num_kills: int, seed: int = 0, plugin: Path | None = None, **stage: Any
) -> dict[str, Any]:
    """Kill a run ``num_kills`` times, each a random number of steps (and a moment) after it was started again.

    Returns the steps at which it was killed, and whether every tensor of every stage equals that of a run that was
    never killed, bit for bit.
    """
    stage = {"num_steps": 10 * num_kills, **stage}
    whole = write_run_file(folder / "whole", plugin, **stage)
    finish(whole)
    killed = write_run_file(folder / "killed", plugin, **stage)
    chance = random.Random(seed)
    kills: list[dict[str, Any]] = []
    while len(kills) < num_kills:
        before = steps_done(killed)
        wanted, pause = (
            before + chance.randint(1, 2 * stage.get("save_every", STAGE["save_every"])),
            chance.random() / 50,
        )
        process = start(killed)
        while process.poll() is None and steps_done(killed) < wanted:
            time.sleep(0.002)
        time.sleep(pause)
        if process.poll() is not None:
            raise RuntimeError(f"the run was over after {len(kills)} kills: give it more steps")
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills.append({"steps_since_start": steps_done(killed) - before, "pause": round(pause, 4)})
    finish(killed)
    run = open_run(killed.parent / "runs" / "killed")
    one, two = weights(whole), weights(killed)
    equal = bool(one) and one == two
    return {"kills": kills, "equal": equal, "tensors": len(one), "status": run.status}


def measure(results: Results, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = survive_kills(Path(folder), arguments.kills)
    for number, kill in enumerate(found["kills"], start=1):
        print(f"kill {number:>2}: {kill['steps_since_start']} steps after its start, and {kill['pause']:.4f} s")
    results.target(f"weights bit-equal after {len(found['kills'])} kills", found["equal"], "== true")
    results.details["kills"] = found


if __name__ == "__main__":
    main("kills", measure, lambda parser: parser.add_argument("--kills", type=int, default=20))
