"""What a person sees while a run goes on: what is left out is told with its reasons, and nothing adds up wrongly."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from infimed_core import RunEvent
from infimed_core.errors import NoSampleError
from infimed_core.plugins import load_plugins
from infimed_core.run import run
from infimed_core.runfile.loading import load_run_file
from infimed_plugins.reporting import console as console_module
from infimed_plugins.reporting.console import Console


def test_rows_left_out_are_told_by_reason_with_file_line_and_sample_and_a_source_without_any(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "question": "Which plane?", "answer": "axial"} for n in range(6)]
    rows[1]["answer"], rows[3], rows[4] = " ", {"id": "r3"}, {"id": "r4"}
    (tmp_path / "none.jsonl").write_text("")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = tmp_path / "run.yaml"
    source = {"use": "llava", "with": {"path": str(tmp_path / "rows.jsonl")}}
    where = {"name": "small", "directory": str(tmp_path / "runs")}
    empty = {"use": "llava", "with": {"path": str(tmp_path / "none.jsonl")}}
    file.write_text(json.dumps({"run": where, "data": {"sources": [source, empty]}}), encoding="utf-8")
    said = io.StringIO()
    registry = load_plugins()
    with pytest.raises(NoSampleError, match=r"data\.sources\.1: the reader 'llava' gave NO SAMPLE"):
        run(load_run_file(file, registry), registry, Console(said))
    file.write_text(json.dumps({"run": where, "data": {"sources": [source]}}), encoding="utf-8")
    said = io.StringIO()
    run(load_run_file(file, registry), registry, Console(said))
    lines = said.getvalue().splitlines()
    most, other = (line for line in lines if "left out: " in line)
    assert f"{tmp_path / 'rows.jsonl'}:4: sample 'r3': bad_row: " in most and most.endswith("; 2 such rows")
    assert f"{tmp_path / 'rows.jsonl'}:2: sample 'r1': empty_text: " in other
    assert any("all 3 rows that were left out are in " in line and line.endswith("/faults.jsonl") for line in lines)
    (done,) = (line for line in lines if "read done in" in line)
    assert done.endswith(", 3 of 6 left out (1 empty_text, 2 bad_row)")


def test_who_stops_reading_along_does_not_stop_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = Console(Gone())
    for step in ("read", "score"):
        console(RunEvent(kind="step_started", step=step, directory="runs/x"))


def test_without_a_terminal_progress_is_a_plain_line_a_minute(monkeypatch) -> None:
    now, said = [0.0], io.StringIO()
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    console = Console(said)
    for second in range(181):
        now[0] = float(second)
        console(RunEvent("progress", "score", "runs/x", {"done": 5 * second, "total": 6000, "unit": "sample"}))
    assert said.getvalue().splitlines() == [
        "    score: 300 of 6,000 sample, 5.00/s, 19 min left",
        "    score: 600 of 6,000 sample, 5.00/s, 18 min left",
        "    score: 900 of 6,000 sample, 5.00/s, 17 min left",
    ]
    console(RunEvent("progress", "evaluate-base-x", "runs/x", {"done": 0, "total": 9, "unit": "answer"}))
    assert len(said.getvalue().splitlines()) == 3 and "\r" not in said.getvalue()
