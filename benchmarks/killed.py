"""A real training process, killed with SIGKILL and started again: are the batches that follow the same bytes?"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, table

from infimed_core import MediaLoader, PackedBatch, Stage, TrainingContext
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.store.dataset import Dataset
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import LowToHigh
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL

SAVE_EVERY, KILLED_AFTER, COMPARED = 5, 12, 50
SMALL = {"hidden_size": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "intermediate_size": 32,
         "vision_hidden_size": 32, "vision_layers": 1, "vision_heads": 2, "vision_intermediate_size": 32}  # fmt: skip


def digest(row: PackedBatch) -> str:
    """Of everything that a model takes of a row."""
    found = hashlib.sha256()
    arrays = (row.input_ids, row.labels, row.positions, row.token_types, row.cu_seqlens)
    for array in (*arrays, *(row.vision[name] for name in sorted(row.vision))):
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def train(place: Path, name: str, workers: int) -> None:
    """What the process does that is killed: train, and note the digest of every row that the model is given."""
    torch.set_num_threads(1)
    model: Any = TinyQwen3VL(**SMALL).load(place / "model")
    plain, notes = model.hidden_states, place / f"{name}.txt"

    def hidden_states(row: PackedBatch) -> Any:
        with notes.open("a") as file:
            file.write(digest(row) + "\n")
        return plain(row)

    model.hidden_states = hidden_states
    media = MediaLoader({"image": Image()})
    batches = PlannedBatches(Dataset(place / "samples.jsonl"), StagePlan.load(place / "plan.npz"), model.encoder, media)
    stage = {"name": "one", "save_every": SAVE_EVERY}
    trainer = StagedTrainer(stages=(stage,), num_workers=workers)

    def emit(kind: str, payload: Any) -> None:
        if kind == "log":
            print(payload["step"] - 1, flush=True)

    facts = trainer.train(model, batches, trainer.stages[0], TrainingContext(place / f"state-{name}", 0, emit))
    (place / f"{name}.json").write_text(json.dumps(facts))


def started(place: Path, name: str, workers: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, str(place), name, str(workers)], stdout=subprocess.PIPE, text=True
    )


def killed_and_resumed(results: Results, place: Path, dataset: Dataset, index: Any) -> None:
    """Without a kill once; then killed and started again, with rows made by a thread and by two processes."""
    source = TinyQwen3VL(**SMALL)
    texts = [turn.text for row in range(len(dataset)) for turn in dataset[row].turns]
    encoder = source.encoder(source.prepare(place / "model", lambda: texts, 0))
    phases = [{"share": 0.5, "max_visual_tokens": 4}, {"share": 0.5, "max_visual_tokens": 16}]
    wanted = KILLED_AFTER + COMPARED + 2 * SAVE_EVERY
    for row_tokens in (1024, 512, 300):  # until there are steps enough
        plan = plan_stage(
            index, Stage(name="s"), LowToHigh(phases=phases), BestFit(row_tokens=row_tokens), encoder, 0,
            np.ones(len(dataset), dtype=bool),
        )  # fmt: skip
        if len(plan.steps) > wanted:
            break
    plan.save(place / "plan.npz")
    with started(place, "whole", 0) as process:
        process.communicate()
    whole = (place / "whole.txt").read_text().split()
    rows = []
    for workers in (0, 2):
        name = f"killed-{workers}"
        with started(place, name, workers) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= KILLED_AFTER:
                    process.send_signal(signal.SIGKILL)
                    break
        before = len((place / f"{name}.txt").read_text().split())
        with started(place, name, workers) as process:
            process.communicate()
        first = json.loads((place / f"{name}.json").read_text())["resumed_from"]
        after = (place / f"{name}.txt").read_text().split()[before:]
        differ = sum(a != b for a, b in zip(after, whole[first:], strict=True))
        rows.append([workers, before, first, len(after), differ])
        results.target(f"batches that differ after kill -9, {workers} workers", differ, "== 0")
        results.target(f"batches compared, {workers} workers", len(after), f">= {COMPARED}")
    table(["workers", "batches before the kill", "resumed from step", "batches after it", "of them different"], rows)


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
