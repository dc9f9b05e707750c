"""Scoring that is killed goes on within a part, and a worker that dies at a sample costs that sample alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import forked
import pytest

from infimed_core import MediaLoader, Sample, Score, Scorer, Turn
from infimed_core.curate.score_shards import ScoringJob
from infimed_core.curate.scoring import CALL_SIZE, ScoreTask, each_part
from infimed_core.errors import WorkerDiedError
from infimed_core.store.broadcast import Broadcast
from infimed_core.store.dataset import Dataset, write_samples
from infimed_core.store.scores import ScoreTable, num_rows
from infimed_plugins.executors.local import Processes, Serial

SLOW = """
import time
from infimed_core import scorer


@scorer
def slow(sample):
    \"\"\"Takes its time, and notes what it scored.\"\"\"
    time.sleep(0.02)
    with open({log!r}, "a") as log:
        log.write(sample.id + "\\n")
    return 0.5
"""


class Fatal(Scorer):
    """Ends the process that scores some samples."""

    dimensions: ClassVar[tuple[str, ...]] = ("truth",)
    prefix: str = "fatal"

    def score(self, samples: list[Sample], media: MediaLoader) -> list[Score]:
        for sample in samples:
            if sample.id.startswith(self.prefix):
                os._exit(9)
        return [Score(value=0.5, parts={"truth": 0.5}) for _ in samples]


class FatalAtOnce(Fatal):
    """Ends its process before there is a sample."""

    def given_dimensions(self) -> tuple[str, ...]:
        os._exit(9)


def made(number: int, *fatal: int) -> list[Sample]:
    turns = (Turn(role="user", content=("Why?",)), Turn(role="assistant", content=("So.",)))
    return [Sample(id=f"{'fatal' if row in fatal else 's'}-{row}", turns=turns) for row in range(number)]


def tasks_of(folder: Path, scorer: Scorer, number: int, *fatal: int) -> list[ScoreTask]:
    write_samples(folder / "samples.jsonl", made(number, *fatal))
    (folder / "scores").mkdir()
    job = Broadcast(ScoringJob(scorer, Dataset(folder / "samples.jsonl"), MediaLoader({}), folder / "scores", ""))
    return [ScoreTask(job, start, min(start + 100, number)) for start in range(0, number, 100)]


@pytest.mark.slow
def test_a_sample_at_which_a_worker_dies_is_an_error_and_every_other_has_its_score(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, Fatal(), 230, 7, 150, 151)
    executor = Processes(num_processes=2)
    with executor.opened():
        parts = list(each_part(executor, tasks))
    assert [part.num_samples for part in parts] == [100, 100, 30]
    found = dict(ScoreTable(tmp_path / "scores"))
    assert len(found) == 230
    assert [name for name, score in found.items() if score.status == "error"] == ["fatal-7", "fatal-150", "fatal-151"]
    assert "worker died" in found["fatal-7"].note and found["fatal-7"].reasons == ("scorer_failed",)
    assert not [path for path in (tmp_path / "scores").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_worker_that_dies_before_any_sample_ends_the_step(tmp_path: Path) -> None:
    executor = Processes(num_processes=2)
    with pytest.raises(WorkerDiedError, match="died"):
        list(each_part(executor, tasks_of(tmp_path, FatalAtOnce(), 150)))


def test_a_part_goes_on_after_what_was_kept_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infimed_core.curate.scoring.SAVE_SECONDS", 0.0)
    (task,) = tasks_of(tmp_path, Fatal(), 100)
    calls: list[str] = []

    def score(samples: list[Sample]) -> list[Score]:
        if len(calls) >= 2 * CALL_SIZE:
            raise KeyboardInterrupt
        calls.extend(sample.id for sample in samples)
        return [Score(value=0.25, parts={"truth": 0.25}) for _ in samples]

    with pytest.raises(KeyboardInterrupt):
        task.work(score)
    (begun,) = (tmp_path / "scores").glob(".*.begun")
    assert num_rows(begun) == 2 * CALL_SIZE
    assert next(each_part(Serial(), [task])).num_scored == 100 - 2 * CALL_SIZE
    values = [score.value for _, score in ScoreTable(tmp_path / "scores")]
    assert values == [0.25] * 2 * CALL_SIZE + [0.5] * (100 - 2 * CALL_SIZE)
    begun.write_bytes(b"damaged")  # of another part's time: scored anew
    (tmp_path / "scores").joinpath(next((tmp_path / "scores").glob("part-*")).name).unlink()
    assert next(each_part(Serial(), [task])).num_scored == 100


@pytest.mark.slow
def test_scoring_that_is_killed_again_and_again_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "slow.py").write_text(SLOW.format(log=str(log)))
    rows = [{"id": f"s{n}", "question": "Why?", "answer": f"So {n}."} for n in range(500)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    body = {
        "run": {"name": "slow", "directory": str(tmp_path / "runs"), "plugins": [str(tmp_path / "slow.py")]},
        "data": {
            "sources": [{"use": "llava", "with": {"path": str(tmp_path / "rows.jsonl")}}],
            "executor": {"use": "serial"},
        },
        "quality": {"scorers": [{"use": "slow"}]},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(body))
    command = ["-m", "infimed_core", str(tmp_path / "run.yaml")]
    kept = 0
    for _ in range(2):  # each as soon as it has kept more than the one before
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < until:
            now = max((num_rows(path) or 0 for path in (tmp_path / "runs").rglob(".part-*.begun")), default=0)
            if now > kept:
                process.send_signal(signal.SIGKILL)
                kept = now
            time.sleep(0.02)
        process.wait()
    assert 0 < kept < 500, "no kill came in time"
    done = forked.finish(command)
    assert done.returncode == 0, done.stderr
    scored = log.read_text().split()
    assert len(set(scored)) == 500
    assert len(scored) - 500 <= 2 * (3 * CALL_SIZE + 200), "hardly more than what came after the last save"
    assert scored.count(scored[0]) == 1, "what was kept is not scored again"
