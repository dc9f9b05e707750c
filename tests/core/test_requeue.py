"""A queue that takes the machine away again and again: reading and scoring go on where they were, and the run ends."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import forked

from infimed_core.records import open_run

NUM_ROWS = 240
PLUGIN = '''
import time
from pathlib import Path

from infimed_core import Reader, Score, Scorer, hookimpl
from infimed_core.testing import make_sample


def note(name):
    with open(Path(__file__).with_name(name), "a") as file:
        file.write("x")


class Slow(Reader):
    """Twenty milliseconds a row, which a row that is skipped does not take."""

    def read(self, shard):
        return self.read_from(shard, 0)

    def read_from(self, shard, start):
        for number in range(start, 240):
            time.sleep(0.02)
            note("read")
            yield make_sample(f"s{number}", question=f"Which plane is number {number}?")

    def fingerprint(self):
        return "slow"


class SlowScorer(Scorer):
    """Faster: a part of scores is what a kill costs."""

    dimensions = ("length",)

    def score(self, samples, media):
        for sample in samples:
            time.sleep(0.005)
            note("scored")
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

    def done(name: str) -> int:
        file = tmp_path / name
        return file.stat().st_size if file.exists() else 0

    codes: list[int] = []
    while len(codes) < 40 and 0 not in codes:
        before = done("read") + done("scored")
        process = forked.start(["-m", "infimed_core", str(tmp_path / "run.yaml")], output=tmp_path / "output.txt")
        while process.poll() is None and done("read") + done("scored") == before:
            time.sleep(0.01)
        until = time.monotonic() + 2.0  # of the five seconds that reading takes
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        codes.append(process.wait())
    run = open_run(tmp_path / "runs" / "r")
    assert codes[-1] == 0 and run.status == "done" and len(codes) > 2, (tmp_path / "output.txt").read_text()
    rows = [row.sample.id for row in run.samples()]
    assert rows == [f"s{number}" for number in range(NUM_ROWS)] and len(list(run.scores())) == NUM_ROWS
    assert done("read") < 2 * NUM_ROWS  # what a kill costs is the last piece
