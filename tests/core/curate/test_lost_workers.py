"""Scoring that is killed goes on within a part; a worker that dies at a row, read or scored, costs that row alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import forked
import numpy as np
import pytest
from pydantic import PrivateAttr

from infimed_core import Executor, Fault, Media, MediaLoader, Reader, Sample, Score, Scorer, Turn
from infimed_core.contracts import CheckedExecutor
from infimed_core.curate.joining import join_parts
from infimed_core.curate.lost_workers import each_part
from infimed_core.curate.read_task import ReadTask
from infimed_core.curate.score_shards import ScoringJob
from infimed_core.curate.scoring import CALL_SIZE, ScoreTask
from infimed_core.errors import WorkerDiedError
from infimed_core.store.broadcast import Broadcast
from infimed_core.store.dataset import Dataset, write_samples
from infimed_core.store.scores import ScoreTable, num_rows
from infimed_plugins.executors.local import Processes, Serial
from infimed_plugins.filters.pictures import fingerprints

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
        parts = list(each_part(executor, tasks, tmp_path))
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
        list(each_part(executor, tasks_of(tmp_path, FatalAtOnce(), 150), tmp_path))


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
    assert next(each_part(Serial(), [task], tmp_path)).num_scored == 100 - 2 * CALL_SIZE
    values = [score.value for _, score in ScoreTable(tmp_path / "scores")]
    assert values == [0.25] * 2 * CALL_SIZE + [0.5] * (100 - 2 * CALL_SIZE)
    begun.write_bytes(b"damaged")  # of another part's time: scored anew
    (tmp_path / "scores").joinpath(next((tmp_path / "scores").glob("part-*")).name).unlink()
    assert next(each_part(Serial(), [task], tmp_path)).num_scored == 100


class FatalRows(Reader):
    """Twelve rows a shard; the process that reads some of them is killed."""

    fatal: tuple[str, ...] = ()
    _row: int = PrivateAttr(0)

    def shards(self) -> tuple[str, ...]:
        return ("one.x", "two.x", "three.x")

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        for row in range(12):
            if f"{shard}-{row}" in self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            self._row = row
            if row == 3:
                yield Fault(sample_id=f"{shard}-3", code="bad_row", detail="as it is", where=f"{shard}:3")
            else:
                yield made(1)[0].model_copy(update={"id": f"{shard}-{row}"})

    def place(self) -> str:
        return f"line {self._row}"


class FatalRowsThatAreSkipped(FatalRows):
    """The same, where a row is skipped without reading it."""

    def read_from(self, shard: str, start: int) -> Iterator[Sample | Fault]:
        own = self.model_copy(update={"fatal": tuple(row for row in self.fatal if int(row.split("-")[1]) >= start)})
        for row in islice(own.read(shard), start, None):
            self._row = own._row
            yield row


def rows_read(folder: Path, reader: Reader) -> tuple[list[str], list[dict[str, str]]]:
    """The ids of the samples, and the faults that are no ``bad_row``, read by two processes and joined."""
    (folder / "read").mkdir()
    tasks = [
        ReadTask(reader, "fatal-rows", shard, folder / "read" / f"part-{number}", folder / "media")
        for number, shard in enumerate(reader.shards())
    ]
    executor = Processes(num_processes=2)
    with executor.opened():
        assert len(list(each_part(executor, tasks, folder / "read"))) == len(tasks)
    join_parts(folder / "read", tasks)
    ids = [json.loads(line)["id"] for line in (folder / "read" / "samples.jsonl").read_text().splitlines()]
    faults = [json.loads(line) for line in (folder / "read" / "faults.jsonl").read_text().splitlines()]
    assert not (folder / "read" / ".part-tried").exists()
    return ids, [fault for fault in faults if fault["code"] != "bad_row"]


@pytest.mark.slow
def test_a_row_at_which_a_worker_dies_while_it_reads_is_one_fault_and_every_other_is_read(tmp_path: Path) -> None:
    reader = FatalRowsThatAreSkipped(fatal=("one.x-5", "one.x-6", "three.x-0"))
    ids, faults = rows_read(tmp_path, reader)
    wanted = [f"{shard}-{row}" for shard in reader.shards() for row in range(12) if row != 3]
    assert ids == [row for row in wanted if row not in reader.fatal]
    assert [(fault["code"], fault["sample_id"]) for fault in faults] == [
        ("worker_died", "one-5"), ("worker_died", "one-6"), ("worker_died", "three-0"),
    ]  # fmt: skip
    assert faults[0]["where"] == "one.x: row 6, the one after line 4" and faults[2]["where"] == "three.x: row 1"


@pytest.mark.slow
def test_where_a_fatal_row_cannot_be_skipped_the_rest_of_its_file_is_one_fault(tmp_path: Path) -> None:
    ids, faults = rows_read(tmp_path, FatalRows(fatal=("two.x-7",)))
    assert len(ids) == 11 + 6 + 11 and "two.x-6" in ids
    (fault,) = faults
    assert fault["where"] == "two.x: row 8, the one after line 6"
    assert fault["code"] == "rest_unread" and "what comes after it was not read" in fault["detail"]


def process_number(item: int) -> int:
    return os.getpid()


@pytest.mark.slow
def test_after_a_death_a_single_part_is_done_in_a_worker_too() -> None:
    for apart in (False, True):
        (number,) = CheckedExecutor(inner=Processes(num_processes=2), apart=apart).map(process_number, [0])
        assert (number == os.getpid()) is not apart


class FatalPicture(MediaLoader):
    """Ends the process that opens one picture."""

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> Any:
        if media.uri == "fatal":
            os._exit(9)
        return np.full((8, 8, 3), len(str(media.uri)), dtype=np.uint8)


@pytest.mark.slow
def test_a_picture_at_which_a_worker_dies_is_one_that_cannot_be_opened(tmp_path: Path) -> None:
    media = [Media(uri="x" * (row + 1) if row != 40 else "fatal") for row in range(70)]
    executor = Processes(num_processes=2)
    with executor.opened():
        prints = fingerprints(media, FatalPicture({}), executor)
    assert [row for row, made in enumerate(prints) if made.pixels is None] == [40]
    assert "worker died" in prints[40].fault and len({made.pixels for made in prints}) == 70


class Dying(Executor):
    """Whose workers die whatever they are given."""

    def map(self, function: Any, items: Any) -> Any:
        raise WorkerDiedError(0, "a worker died")
        yield


def test_workers_that_die_whatever_they_are_given_end_the_step(tmp_path: Path) -> None:
    with pytest.raises(WorkerDiedError):
        fingerprints([Media(uri="a"), Media(uri="b")], MediaLoader({}), Dying())


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
            now = max(
                (num_rows(path) or 0 for path in forked.files_below(tmp_path / "runs", ".part-*.begun")), default=0
            )
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
