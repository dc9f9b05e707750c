"""How a run ends when something in it ends the process, or when its directory is not this version's to use."""

import json
from pathlib import Path

import pytest
import typer

from infimed_core import InfimedError, load_plugins, run_file
from infimed_core.testing import run
from infimed_plugins.vlm.baselines import Constant

DOCUMENT = {
    "run": {"name": "r"},
    "model": {"use": "constant", "with": {"text": "yes"}},
    "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 2},
}


def test_a_component_that_calls_sys_exit_fails_the_run_with_a_line(tmp_path: Path, monkeypatch) -> None:
    def leave(self, checkpoint):
        raise SystemExit(3)

    monkeypatch.setattr(Constant, "load", leave)
    with pytest.raises(InfimedError, match=r"called sys\.exit\(3\)"):
        run(DOCUMENT, tmp_path)
    record = json.loads((tmp_path / "runs" / "r" / "run.json").read_text())
    assert record["status"] == "failed" and "sys.exit(3)" in record["error"]


def test_a_run_of_a_later_version_is_left_as_it_is(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "r"
    directory.mkdir(parents=True)
    (directory / "run.json").write_text('{"format": 99, "more": 1}')
    with pytest.raises(InfimedError, match="made by a later version"):
        run(DOCUMENT, tmp_path)
    assert (directory / "run.json").read_text() == '{"format": 99, "more": 1}'


def test_what_failed_in_an_earlier_attempt_is_not_told_of_a_run_that_ended_well(tmp_path: Path, monkeypatch) -> None:
    def fail(self, checkpoint):
        raise ZeroDivisionError("of the model")

    file, log = tmp_path / "run.yaml", tmp_path / "runs" / "r" / "error.log"
    file.write_text(json.dumps(DOCUMENT | {"run": {"name": "r", "directory": str(tmp_path / "runs")}}))
    with monkeypatch.context() as broken:
        broken.setattr(Constant, "load", fail)
        with pytest.raises(typer.Exit) as ended:
            run_file(file, load_plugins(), quiet=True)
    assert ended.value.exit_code == 1 and "ZeroDivisionError" in log.read_text()
    run_file(file, load_plugins(), quiet=True)
    assert not log.exists() and json.loads((log.parent / "run.json").read_text())["error"] is None


def test_what_a_run_computes_on_is_said_once(tmp_path: Path) -> None:
    run(DOCUMENT, tmp_path)
    events = map(json.loads, (tmp_path / "runs" / "r" / "events.jsonl").read_text().splitlines())
    said = [str(event) for event in events if "computes on" in str(event)]
    assert len(said) == 1 and "processors" in said[0] and "processes" in said[0] and "threads" in said[0]
