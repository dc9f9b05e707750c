"""The state of a stage is saved by the clock as well: more often after an attempt that was killed early."""

import os
from pathlib import Path

import pytest

from infimed_plugins.sft import saving
from infimed_plugins.sft.saving import SaveTimer


class Clock:
    """Both clocks of the module, moved by hand; files are touched by the same clock."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(saving.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(saving.time, "time", lambda: self.now)
        touch = os.utime
        monkeypatch.setattr(saving.os, "utime", lambda path: touch(path, (self.now, self.now)))


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def live(timer: SaveTimer, clock: Clock, seconds: float, step: float = 0.5) -> list[float]:
    """The moments at which a state was saved."""
    saved = []
    start = clock.now
    while clock.now < start + seconds:
        clock.now += step
        if timer.due():
            saved.append(clock.now - start)
            timer.saved()
    return saved


def test_a_first_attempt_saves_after_the_seconds_of_its_stage(tmp_path: Path, clock: Clock) -> None:
    assert live(SaveTimer(tmp_path, 300.0), clock, 700.0) == [300.0, 600.0]


def test_an_attempt_as_short_as_the_one_before_saves_at_least_twice(tmp_path: Path, clock: Clock) -> None:
    for length in (2.0, 6.0, 12.0, 30.0, 90.0):
        first = tmp_path / str(length)
        assert live(SaveTimer(first, 300.0), clock, length) == []
        assert len(live(SaveTimer(first, 300.0), clock, length)) >= 2


def test_an_attempt_that_outlives_the_one_before_saves_less_and_less_often(tmp_path: Path, clock: Clock) -> None:
    live(SaveTimer(tmp_path, 300.0), clock, 3.0)
    saved = live(SaveTimer(tmp_path, 300.0), clock, 7200.0)
    assert len(saved) < 40 and saved[-1] - saved[-2] == pytest.approx(300.0, abs=1.0)


def test_a_place_that_cannot_be_written_only_loses_the_memory_of_attempts(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("")
    assert live(SaveTimer(tmp_path / "file" / "below", 5.0), clock, 11.0) == [5.0, 10.0]
