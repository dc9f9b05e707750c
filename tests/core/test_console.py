"""What a person sees while a run goes on: what is left out is told with its reasons, and nothing adds up wrongly."""

from __future__ import annotations

import io
import json
from pathlib import Path

from infimed_core.config import load_run_file
from infimed_core.console import Console
from infimed_core.plugins import load_plugins
from infimed_core.run import run


def test_rows_left_out_are_counted_and_the_first_is_told_with_file_line_sample_and_reason(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "question": "Which plane?", "answer": "axial"} for n in range(5)]
    rows[1]["answer"], rows[3] = " ", {"id": "r3"}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = tmp_path / "run.yaml"
    source = {"use": "llava", "with": {"path": str(tmp_path / "rows.jsonl")}}
    where = {"name": "small", "directory": str(tmp_path / "runs")}
    file.write_text(json.dumps({"run": where, "data": {"sources": [source]}}), encoding="utf-8")
    said = io.StringIO()
    registry = load_plugins()
    run(load_run_file(file, registry), registry, Console(said))
    lines = said.getvalue().splitlines()
    (told,) = (line for line in lines if "left out: " in line)
    assert f"{tmp_path / 'rows.jsonl'}:2: sample 'r1': empty_text: " in told and told.endswith("/faults.jsonl")
    (done,) = (line for line in lines if "read done in" in line)
    assert done.endswith(", 2 of 5 left out (1 empty_text, 1 bad_row)")
