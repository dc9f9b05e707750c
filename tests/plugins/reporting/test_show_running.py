"""`infimed show` of a live run tells its step and loss so far; skipped steps stand in the table."""

from __future__ import annotations

import io
import json

from rich.console import Console

from infimed_core.records import open_run
from infimed_core.testing import make_image
from infimed_core.testing import run as run_document
from infimed_plugins.reporting.page.live import with_running_curves
from infimed_plugins.reporting.summary import summary_text


def told(run) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(summary_text(with_running_curves(run)))
    return console.export_text()


def test_a_live_run_shows_its_step_and_loss_and_a_finished_one_its_skipped_steps(tmp_path):
    rows = []
    for number in range(6):
        content = make_image(64, 64, seed=number)
        picture = tmp_path / f"{number}.png"
        picture.write_bytes(content[: len(content) // 2] if number == 2 else content)
        turns = [{"role": "user", "content": [0, f"{number}?"]}, {"role": "assistant", "content": ["CT"]}]
        rows.append({"id": f"s-{number}", "turns": turns, "media": [{"kind": "image", "uri": str(picture)}]})
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    body = {
        "run": {"name": "live"},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(tmp_path / "samples.jsonl")}}], "filters": []},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "packing": {"use": "padded", "with": {"row_tokens": 64, "batch_size": 1}},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "training": {"use": "staged", "with": {"stages": [{"name": "one"}]}},
    }
    run_document(body, tmp_path)
    run = open_run(tmp_path / "runs" / "live")
    line = next(line for line in told(run).splitlines() if line.strip().startswith("one  ") and "1" in line.split()[2])
    assert line.split()[:3] == ["one", "6", "1"]
    losses = {entry["step"]: entry["loss"] for entry in run.step("train").details["curve"] if entry["loss"] is not None}
    # as it was after four of its steps
    record = json.loads((run.directory / "run.json").read_text())
    step = next(step for step in record["steps"] if step["kind"] == "train")
    step |= {"status": "running", "details": {}}
    (run.directory / "run.json").write_text(json.dumps(record))
    events = [json.loads(line) for line in (run.directory / "events.jsonl").read_text().splitlines()]
    kept = [event for event in events if event["kind"] != "log" or event["payload_step"] <= 4]
    (run.directory / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in kept))
    shown = next(line for line in told(open_run(run.directory)).splitlines() if "one (running)" in line)
    assert shown.split()[2] == "4" and f"{losses[max(step for step in losses if step <= 4)]:.3f}" in shown
