"""A queue that takes the machine away again and again: reading and scoring go on where they were, and the run ends."""

import contextlib
import json
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import forked

from infimed_core.curate.read_task import KEY_BYTES
from infimed_core.records import open_run

NUM_ROWS = 240
PATIENCE = 120.0
"""Seconds: only a run that stands still reaches them."""
PLUGIN = '''
import time
from pathlib import Path

from infimed_core import Reader, Score, Scorer, hookimpl
from infimed_core.testing import make_sample


def note(name, number):
    with open(Path(__file__).with_name(name), "a") as file:
        file.write(f"{number}\\n")


class Slow(Reader):
    """Twenty milliseconds a row, which a row that is skipped does not take."""

    def read(self, shard):
        return self.read_from(shard, 0)

    def read_from(self, shard, start):
        for number in range(start, 240):
            time.sleep(0.02)
            note("read", number)
            yield make_sample(f"s{number}", question=f"Which plane is number {number}?")

    def fingerprint(self):
        return "slow"


class SlowScorer(Scorer):
    """Faster: a part of scores is what a kill costs."""

    dimensions = ("length",)

    def score(self, samples, media):
        for sample in samples:
            time.sleep(0.005)
            note("scored", 0)
        return [Score(value=0.5, parts={"length": 0.5}) for sample in samples]


@hookimpl
def infimed_readers():
    return {"slow": Slow}


@hookimpl
def infimed_scorers():
    return {"slow": SlowScorer}
'''


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_reads_and_scores_on_and_ends(tmp_path, monkeypatch) -> None:
    (tmp_path / "slow.py").write_text(PLUGIN)
    document = {
        "run": {"name": "r", "directory": str(tmp_path / "runs"), "plugins": [str(tmp_path / "slow.py")]},
        "data": {"sources": [{"use": "slow"}], "executor": {"use": "serial"}, "filters": []},
        "quality": {"scorers": [{"use": "slow"}], "select": {"use": "top-share", "with": {"keep": 0.5}}},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(document))

    def noted(name: str) -> list[int]:
        file = tmp_path / name
        return [int(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []

    def kept() -> int:
        """Rows in pieces that stand: what no later process reads again. A run that reads on may join them meanwhile."""
        size = 0
        for path in forked.files_below(tmp_path / "runs", "part-00000.*.keys"):
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
        return size // (2 * KEY_BYTES)

    codes: list[int] = []
    while not codes or codes[-1]:
        stood, so_far = kept(), len(noted("read"))
        process = forked.start(["-m", "infimed_core", str(tmp_path / "run.yaml")], output=tmp_path / "output.txt")
        # killed in the middle of the piece, or of the scores, that follows the first that this process has ended
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() < begun + PATIENCE:
            if stood < kept() < len(set(noted("read"))) or (noted("scored") and noted("killed-scoring") == []):
                break
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            if noted("scored"):
                (tmp_path / "killed-scoring").write_text("1\n")
        codes.append(process.wait())
        again = noted("read")[so_far:]
        assert not again or again[0] == stood  # what stands is not read again: a kill costs the piece that it cuts
        assert codes[-1] in (0, -signal.SIGKILL), (tmp_path / "output.txt").read_text()
    run = open_run(tmp_path / "runs" / "r")
    assert run.status == "done" and len(codes) > 3, (codes, (tmp_path / "output.txt").read_text())
    rows = [row.sample.id for row in run.samples()]
    assert rows == [f"s{number}" for number in range(NUM_ROWS)] and len(list(run.scores())) == NUM_ROWS
