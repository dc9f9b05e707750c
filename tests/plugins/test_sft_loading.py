"""Rows of worker processes: the same after any kill; a worker that dies ends the training, told in one line."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import forked
from sft_fake_model import FakeBatches, FakeModel, make_sample, pack

from infimed_core import InfimedError
from infimed_plugins.sft.loading import Loader, Rows, in_processes


class LargeBatches(FakeBatches):
    """Rows of 4 MB: none fits into a pipe, so that a worker is always in the middle of handing one over."""

    def row(self, step, index):
        row = super().row(step, index)
        pixels = np.full((len(row.vision["pixel_values"]), 200_000), step, dtype=np.float32)
        return row.__class__(**{**vars(row), "vision": {**row.vision, "more": pixels}})


class Recording(FakeModel):
    """Appends a digest of every row that it is trained on to a file; slow enough to be killed."""

    file = Path()
    pause = 0.0

    def hidden_states(self, batch):
        digest = hashlib.sha256()
        for array in (batch.input_ids, batch.labels, batch.positions, batch.cu_seqlens, *batch.vision.values()):
            digest.update(np.ascontiguousarray(array).tobytes())
        with self.file.open("a") as file:
            file.write(digest.hexdigest() + "\n")
        time.sleep(self.pause)
        return super().hidden_states(batch)


def main(directory: str, workers: str, pause: str, large: str) -> None:
    """Train in a process of its own; one line is printed for each step."""
    import torch

    from infimed_core import TrainingContext
    from infimed_plugins.sft.trainer import StagedTrainer

    torch.set_num_threads(1)
    model = Recording()
    model.file, model.pause = Path(directory) / "rows.txt", float(pause)
    kind = LargeBatches if int(large) else FakeBatches
    trainer = StagedTrainer(stages=({"name": "one", "save_every": 5},), num_workers=int(workers), rows_ahead=2)

    def emit(kind, payload):
        if kind == "log":
            print(payload["step"], flush=True)

    context = TrainingContext(directory=Path(directory) / "state", seed=3, emit=emit)
    batches = kind(num_steps=65, samples_per_step=4, samples_per_row=4)
    try:
        facts = trainer.train(model, batches, trainer.stages[0], context)
    except InfimedError as error:
        sys.exit(f"error: {error}")
    (Path(directory) / "facts.json").write_text(json.dumps(facts))


def command(directory: Path, workers: int, pause: float = 0.0, large: bool = False) -> list[str]:
    directory.mkdir(exist_ok=True)
    return [__file__, str(directory), str(workers), str(pause), str(int(large))]


def start(*arguments: Any, **options: Any) -> subprocess.Popen:
    """A process that is started in full."""
    arguments = [sys.executable, *command(*arguments, **options)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(lines: Iterator[str], step: int) -> None:
    assert any(int(line) >= step for line in lines), "the training ended before"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("whole")
    with start(directory, 0) as process:
        assert process.wait() == 0 or process.communicate()
    rows = (directory / "rows.txt").read_text().split()
    assert len(rows) == 65 and len(set(rows)) == 65
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_after_kill_9_the_following_50_batches_are_byte_equal(tmp_path, whole, workers):
    process = forked.start(command(tmp_path, workers, pause=0.02))
    wait_for_step(process.lines(), 12)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = len((tmp_path / "rows.txt").read_text().split())
    process = forked.start(command(tmp_path, workers))
    assert process.wait() == 0, process.said()
    resumed_from = json.loads((tmp_path / "facts.json").read_text())["resumed_from"]
    after = (tmp_path / "rows.txt").read_text().split()[before:]
    assert resumed_from in (10, 15) and len(after) >= 50
    assert after == whole[resumed_from:]


def children_of(pid: int) -> list[int]:
    """Processes below ``pid``, all levels."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers through /proc")
def test_a_killed_worker_ends_the_training_with_one_line_and_no_process_stays(tmp_path):
    with start(tmp_path, 2, pause=0.05, large=True) as process:
        wait_for_step(process.stdout, 6)
        below = children_of(process.pid)
        # The server that forks the workers and the tracker of resources come first.
        workers = [child for child in below if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1]
                   != str(process.pid)]  # fmt: skip
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.strip()]
    assert len(lines) == 1 and f"(pid {workers[0]})" in lines[0] and "SIGKILL" in lines[0]
    assert not [child for child in below if Path(f"/proc/{child}").exists() and child in children_of(os.getpid())]
    assert list((tmp_path / "state").glob("step-*"))


def test_rows_of_workers_come_in_order_and_closing_early_ends_the_workers():
    batches = LargeBatches(num_steps=20, samples_per_step=4, samples_per_row=4)
    steps = iter(Loader(batches, 3, 0, 1, 3, 2))
    taken = [next(steps) for _ in range(5)]
    assert [step for step, _ in taken] == [3, 4, 5, 6, 7]
    assert [float(row.vision["more"][0, 0]) for _, ((_, row),) in taken] == [3, 4, 5, 6, 7]
    steps.close()
    assert [child.name for child in multiprocessing.active_children() if child.name.startswith("rows-")] == []


def test_a_worker_that_leaves_is_told_also_where_others_go_on():
    rows = in_processes(Rows(LargeBatches(num_steps=40), [(step, 0) for step in range(40)]), 2, 1)
    next(rows)
    victim = next(child for child in multiprocessing.active_children() if child.name == "rows-1")
    victim.terminate()
    with pytest.raises(InfimedError, match=rf"pid {victim.pid}\) ended in the middle of its work \(killed by SIGTERM"):
        list(rows)


def test_no_more_workers_than_rows():
    rows = in_processes(Rows(FakeBatches(num_steps=1), [(0, 0), (0, 1)]), 8, 2)
    first = next(rows)
    assert len([child for child in multiprocessing.active_children() if child.name.startswith("rows-")]) <= 2
    assert (first.sample_ids, *(row.sample_ids for row in rows)) == (
        pack([*map(make_sample, range(4))]).sample_ids, pack([*map(make_sample, range(4, 8))]).sample_ids,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
