"""A run that is asked to stop says by which signal, in its record and by its exit code, in whatever phase it is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infimed_core import stopping
from infimed_core.testing import make_sample

DRIVER = """
import sys, time
from infimed_core.cli import run_main
from infimed_plugins.quality.scorer import FiveDimension

phase = sys.argv.pop()


def wait():
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise RuntimeError("the pool is broken") from None  # as libraries do


if phase == "score":
    FiveDimension.score = lambda self, samples, media: wait()
else:
    import infimed_core.curate.read_task as reading
    reading.check_sample = lambda sample: time.sleep(60)
run_main()
"""


def run_file(folder: Path) -> Path:
    rows = (make_sample(f"s{number}", question=f"{number}?").model_dump_json() for number in range(9))
    (folder / "samples.jsonl").write_text("\n".join(rows))
    document = {
        "run": {"name": "r", "directory": str(folder / "runs")},
        "data": {
            "sources": [{"use": "jsonl", "with": {"path": str(folder / "samples.jsonl")}}],
            "executor": {"use": "serial"},
        },
        "quality": {"scorers": [{"use": "five-dimension"}]},
    }
    (folder / "run.yaml").write_text(json.dumps(document))
    return folder / "run.yaml"


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def stopped(folder: Path, step: str, number: int) -> tuple[int, dict]:
    """Start the run, send it a signal in a step, and return its exit code and record."""
    file = run_file(folder)
    (folder / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(folder / "driver.py"), str(file), step]
    with (folder / "output.txt").open("wb") as output:
        # a test that was started by nohup, or in the background, would hand on that a signal is ignored
        process = subprocess.Popen(command, stdout=output, stderr=output, preexec_fn=_default_signals)
    record = folder / "runs" / "r" / "run.json"
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if record.exists() and any(s["name"] == step for s in json.loads(record.read_text())["steps"]):
            break
        time.sleep(0.05)
    time.sleep(0.3)
    try:
        os.kill(process.pid, number)
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()
    return code, json.loads(record.read_text()) | {"said": (folder / "output.txt").read_text()}


@pytest.mark.parametrize(
    ("step", "number"),
    [("read", signal.SIGTERM), ("read", signal.SIGHUP), ("score", signal.SIGTERM), ("score", signal.SIGINT)],
)
def test_a_signal_is_told_in_record_and_exit_code(tmp_path: Path, step: str, number: signal.Signals):
    code, record = stopped(tmp_path, step, number)
    assert code == 128 + number, record["said"]
    assert record["status"] == "interrupted" and record["error"].startswith(f"stopped by {number.name}")
    assert record["steps"][-1]["status"] == "interrupted"
    assert "Traceback" not in record["said"] and "same command goes on" in record["said"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_things_are_imported_is_one_line_and_an_exit_code(tmp_path: Path, number: signal.Signals):
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "infimed_core", "run.yaml"], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=_default_signals,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "stopped\n")
    assert process.returncode == 128 + number


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("/usr/bin/infimed check a.yaml", True), ("-u -m infimed_core a.yaml", True), ("-I infimed-run a", True),
        ("train.py data/infimed", False), ("-m pytest infimed_core", False), ("-c infimed_core.x", False), ("", False),
    ],
)  # fmt: skip
def test_signals_are_taken_in_our_own_commands_alone(words: str, ours: bool):
    assert stopping._is_command(iter(words.split())) is ours
