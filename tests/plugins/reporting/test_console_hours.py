"""A step that will take hours is told once and early, with what would shorten it."""

from __future__ import annotations

import io

import pytest

from infimed_core import RunEvent
from infimed_plugins.reporting import console


@pytest.mark.parametrize(
    ("unit", "total", "told"),
    [
        ("steps", 100_000, "about 27.8 hours to go at this rate; fewer samples"),
        ("answer", 50_000, "max_new_tokens"),
        ("row", 900, ""),
    ],
)
def test_hours_are_told_once_with_the_remedy(monkeypatch, unit, total, told):
    clock, stream = [1000.0], io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    shown = console.Console(stream)
    for done in range(90):
        clock[0] += 1.0
        shown(RunEvent("progress", "train-one", "d", {"done": done, "total": total, "unit": unit}))
    shown.close()
    lines = [line for line in stream.getvalue().splitlines() if "hours to go" in line]
    assert len(lines) == bool(told) and told in "".join(lines)


def test_what_an_earlier_run_did_counts_for_nothing_in_the_estimate(monkeypatch):
    clock, stream = [1000.0], io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    shown = console.Console(stream)
    for done in range(90_000, 90_050):
        clock[0] += 1.0
        shown(RunEvent("progress", "train-one", "d", {"done": done, "total": 100_000, "unit": "steps"}))
    shown.close()
    assert "about 2.8 hours to go" in stream.getvalue()
