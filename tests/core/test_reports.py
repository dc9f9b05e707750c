"""Reporters write at the end of a run, whatever its end; a run of an earlier version is made anew and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import forked
import pytest

from infimed_core import InfimedError, Reporter, RunEvent, load_plugins, load_run_file
from infimed_core.records import Run, open_run
from infimed_core.run import run as run_plan
from infimed_core.testing import run

EVALUATION = {"benchmarks": [{"use": "demo-text", "with": {"max_samples": 8}}]}


class Names(Reporter):
    """Writes the names of the steps."""

    wrong: str = ""

    def write(self, run: Run, directory: Path) -> Sequence[Path]:
        """One file."""
        file = directory / "names.txt"
        file.write_text(" ".join([run.status, *(step.name for step in run.steps())]))
        if self.wrong == "run.json":
            (directory / "run.json").write_text("{}")
        if self.wrong == "artifacts":
            next((directory / "answers").iterdir()).unlink()
        returned: dict[str, Any] = {
            "absent": [directory / "absent.txt"], "text": "names.txt", "one": file, "texts": ["names.txt"],
            "none": None, "generator": (path for path in [file]),
        }  # fmt: skip
        return returned.get(self.wrong, [file])


def document(name: str = "told", **changes: Any) -> dict[str, Any]:
    return {"run": {"name": name}, "model": {"use": "constant"}, "evaluation": EVALUATION, **changes}


def with_reporter(body: dict[str, Any], folder: Path, settings: dict[str, Any]) -> tuple[Any, list[RunEvent]]:
    registry = load_plugins()
    file = folder / "run.yaml"
    uses = [{"use": "html"}, {"use": "terminal"}]
    file.write_text(json.dumps(body | {"run": {**body["run"], "directory": str(folder)}, "report": uses}))
    plan = load_run_file(file, registry)
    plan.components["report.0"] = Names(**settings)
    events: list[RunEvent] = []
    return run_plan(plan, registry, events.append), events


def test_each_reporter_is_a_step_that_is_done_again_when_its_file_is_gone(tmp_path: Path) -> None:
    record, _ = with_reporter(document(), tmp_path, {})
    steps = {step.name: step for step in record.steps if step.kind == "report"}
    assert {name: step.subject["reporter"] for name, step in steps.items()} == {
        "report-html": "html", "report-terminal": "terminal",
    }  # fmt: skip
    written = tmp_path / "told" / "names.txt"
    assert written.read_text().startswith("done model evaluate-base-demo-text")
    assert "base" in (tmp_path / "told" / "summary.txt").read_text()
    again, _ = with_reporter(document(), tmp_path, {})
    assert {step.status for step in again.steps} == {"reused"}
    written.unlink()
    once_more, _ = with_reporter(document(), tmp_path, {})
    assert [step.name for step in once_more.steps if step.status == "done"] == ["report-html"] and written.exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("absent", r"returned .*absent.txt, which is not there; return the files that it has written"),
        ("text", "returned a str; return a list with a pathlib.Path for each"),
        ("one", "returned a PosixPath; return a list with a pathlib.Path for each"),
        ("texts", "returned a str at place 0; each must be a pathlib.Path"),
        ("none", "returned None; return a list"),
        ("generator", "returned a generator; return a list"),
        ("run.json", "changed run.json of the run; write to files of its own alone"),
        ("artifacts", r"changed answers/.* of the run; write to files of its own alone"),
    ],
)
def test_a_reporter_that_breaks_its_promise_is_one_line_with_its_method(
    tmp_path: Path, wrong: str, message: str
) -> None:
    with pytest.raises(InfimedError, match=rf"Names.write \(.*test_reports.py:\d+\) {message}") as caught:
        with_reporter(document(), tmp_path, {"wrong": wrong})
    assert "\n" not in str(caught.value)
    record = open_run(tmp_path / "told").record
    assert record.status == "failed" and record.results, "what the run found is kept"


def test_the_report_of_a_run_that_failed_is_written_and_one_that_cannot_be_is_told(tmp_path: Path) -> None:
    broken = {"benchmarks": [{"use": "demo-text"}], "samples": ["no-such-question"]}
    with pytest.raises(InfimedError, match="no benchmark of this run has"):
        with_reporter(document(evaluation=broken), tmp_path, {"wrong": "absent"})
    record = open_run(tmp_path / "told").record
    assert record.status == "failed" and "no benchmark of this run has" in str(record.error)
    assert "the report 'html' was not written: " in str(record.error)
    assert (tmp_path / "told" / "summary.txt").exists(), "the other reporter still writes"


def test_a_run_of_an_earlier_version_is_made_anew_with_one_line(tmp_path: Path) -> None:
    before = run(document(), tmp_path)
    directory = tmp_path / "runs" / "told"
    body = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(body | {"format": 1}))
    for command in ("show", "report"):
        ended = infimed(command, str(directory))
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "earlier version" in ended.stderr
    # what that version left lies under names of its own
    for path in (directory / "artifacts").iterdir():
        path.rename(path.with_name(path.name[:-12] + "0" * 12))
    events: list[RunEvent] = []
    after = run(document(), tmp_path, events)
    told = [event.payload["text"] for event in events if event.kind == "message"]
    kept = "answers in cache/ are read as before, every step is done anew"
    assert told == [f"{directory / 'run.json'}: made by an earlier version (record format 1); {kept}"]
    assert {step.status for step in after.steps} == {"done"} and after.results == before.results


def test_a_report_section_of_an_earlier_version_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InfimedError) as caught:
        run(document(report={}), tmp_path)
    (line,) = str(caught.value).splitlines()
    assert "report: must be a list, as in [{use: NAME}]" in line
    with pytest.raises(InfimedError, match=r"no reporter is named 'htm'; did you mean 'html'\?"):
        run(document(report=[{"use": "htm"}]), tmp_path)


def test_help_lists_the_commands_of_plugins_without_what_they_work_with() -> None:
    code = (
        "import sys; sys.argv = ['infimed', '--help']\n"
        "from infimed_core.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'PIL', 'scipy', 'pyarrow', 'jinja2', 'vl_convert', 'infimed_core.run'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("show", "report", "compare", "serve", "sweep", "check"):
        assert f" {name} " in ended.stdout
    assert "LOADED []" in ended.stdout


def infimed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.finish(["-c", "from infimed_core.cli import main; main()", *arguments])


def test_infimed_run_ends_with_the_summary_whether_or_not_a_report_is_asked_for(tmp_path: Path) -> None:
    body = document() | {"run": {"name": "told", "directory": str(tmp_path)}}
    (tmp_path / "run.yaml").write_text(json.dumps(body))
    ended = infimed("run", str(tmp_path / "run.yaml"))
    assert ended.returncode == 0 and "told: done" in ended.stdout and "demo-text" in ended.stdout, ended.stderr
    assert not (tmp_path / "told" / "report.html").exists() and not (tmp_path / "told" / "summary.txt").exists()
    shown = infimed("show", str(tmp_path / "told"))
    assert shown.stdout.strip() in ended.stdout.strip()
