"""What `infimed runs`, `gc`, `verify` and `example` say of runs, and that they harm none."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from infimed_core import InfimedError, RunEvent, load_plugins, load_run_file
from infimed_core.cli import application
from infimed_core.testing import run
from infimed_plugins.operations import heartbeat
from infimed_plugins.operations.checksums import damaged_files
from infimed_plugins.operations.disk import parts_of, remove
from infimed_plugins.operations.examples import example_text, examples
from infimed_plugins.operations.status import FRESH_SECONDS, WAITING_SECONDS, find_runs, status_of
from infimed_plugins.operations.tables import as_prometheus, size


def document(name: str = "r", text: str = "yes") -> dict:
    evaluation = {"benchmarks": [{"use": "demo-text"}], "limit": 2}
    return {"run": {"name": name}, "model": {"use": "constant", "with": {"text": text}}, "evaluation": evaluation}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    run(document(), tmp_path)
    return tmp_path / "runs" / "r"


def changed(directory: Path, **changes) -> None:
    """Write other values into run.json, as a process that was killed would have left them."""
    file = directory / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def command(*words: str):
    return CliRunner().invoke(application(load_plugins()), list(words))


# ---- runs ----------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_done_and_a_running_one_is_alive_or_dead_by_its_lock(finished: Path) -> None:
    assert status_of(finished).state == "done"
    changed(finished, status="running", finished=None)
    assert status_of(finished).state == "dead"
    with FileLock(finished / "lock"):
        assert status_of(finished).state == "alive"


def test_a_run_whose_reports_are_being_made_is_alive_and_dead_when_that_was_killed(finished: Path) -> None:
    steps = json.loads((finished / "run.json").read_text())["steps"]
    changed(finished, steps=[*steps, {"name": "report-html", "kind": "report", "status": "running"}])
    with FileLock(finished / "lock"):
        assert status_of(finished).state == "alive"
    assert status_of(finished).state == "dead"


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
for words in "runs $1" "gc $1/r --yes" "report $1/r" "check $2"; do
    "$3" -m infimed_core.cli_for_tests $words 2>&1; echo "exit code $?"
done
"""


def test_whoever_may_read_and_not_write_is_told_the_truth_in_one_line_each(finished: Path, tmp_path: Path) -> None:
    changed(finished, status="running", finished=None)
    runs = finished.parent
    (tmp_path / "run.yaml").write_text(json.dumps(document() | {"run": {"name": "new", "directory": str(runs)}}))
    container = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*container, "true"], capture_output=True).returncode:
        pytest.skip("needs unshare, with user namespaces")
    infimed = "import sys; from infimed_core.cli import main; sys.argv[0] = 'infimed'; main()"
    script = READ_ONLY.replace("-m infimed_core.cli_for_tests", f'-c "{infimed}"')
    shell = [*container, "sh", "-c", script, "sh", str(runs), str(tmp_path / "run.yaml"), sys.executable]
    told = subprocess.run(shell, capture_output=True, text=True)
    if told.returncode == 77:
        pytest.skip(f"needs to mount: {told.stderr}")
    assert "Traceback" not in told.stdout, told.stdout
    assert "dead" in told.stdout and "alive" not in told.stdout and "a process works on this run" not in told.stdout
    assert "r/report.html: cannot be used (Read-only file system)" in told.stdout and "run.directory" in told.stdout
    assert [line for line in told.stdout.split("\n") if line.startswith("exit code")] == [
        "exit code 0", "exit code 0", "exit code 2", "exit code 2",
    ], told.stdout  # fmt: skip


def test_a_beat_from_another_machine_says_alive_where_its_lock_is_not_seen(finished: Path) -> None:
    changed(finished, status="running", finished=None)
    beat = {"host": "node7", "process": 12, "time": time.time(), "last_event": time.time(), "step": ""}
    (finished / "heartbeat.json").write_text(json.dumps(beat))
    status = status_of(finished)
    assert (status.state, status.owner) == ("alive", "process 12 on node7")
    beat["last_event"] -= WAITING_SECONDS + 1
    (finished / "heartbeat.json").write_text(json.dumps(beat))
    assert status_of(finished).state == "waiting"
    beat["time"] -= FRESH_SECONDS + 1
    (finished / "heartbeat.json").write_text(json.dumps(beat))
    assert status_of(finished).state == "dead"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"time": "x"}', '{"time": null}', '{"time": 1'])
def test_a_damaged_heartbeat_is_none(finished: Path, content: str) -> None:
    (finished / "heartbeat.json").write_text(content)
    assert heartbeat.read(finished) is None
    assert status_of(finished).state == "done"


def test_a_run_that_cannot_be_read_is_listed_with_its_problem(tmp_path: Path, finished: Path) -> None:
    other = tmp_path / "runs" / "later"
    other.mkdir()
    (other / "run.json").write_text('{"format": 99}')
    by_name = {Path(s.path).name: s for s in map(status_of, find_runs(tmp_path / "runs"))}
    assert by_name["later"].state == "unreadable" and "later version" in by_name["later"].problem
    assert by_name["r"].state == "done"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_cannot_be_looked_into_is_listed_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    (status,) = map(status_of, find_runs(tmp_path))
    assert status.state == "unreadable" and status.problem.endswith("locked: cannot be read (permission denied)")


def test_a_beat_of_wrong_values_or_of_the_far_future_breaks_nothing(finished: Path) -> None:
    record = json.loads((finished / "run.json").read_text())
    record |= {"status": "running", "steps": [{**record["steps"][0], "status": "running"}]}
    (finished / "run.json").write_text(json.dumps(record))
    beat = {"time": time.time(), "host": 5, "step": record["steps"][0]["name"], "done": "x", "total": [], "rate": "q"}
    for more in (
        {"seconds_left": "z"},
        {"seconds_left": 1e300},
        {"time": 1e30},
        {"time": time.time() + 1e6, "host": "x"},
    ):
        (finished / heartbeat.FILE).write_text(json.dumps({**beat, **more}))
        status = status_of(finished)
        assert (status.state, status.done, status.total, status.rate, status.ends) == ("dead", None, None, None, None)


def test_fifty_runs_are_listed_within_two_seconds_and_nothing_within_a_run_is_one(tmp_path: Path, finished: Path):
    (finished / "artifacts" / "deep").mkdir()
    (finished / "artifacts" / "deep" / "run.json").write_text("{}")
    for number in range(49):
        place = tmp_path / "runs" / "team" / f"{number:02d}"
        place.mkdir(parents=True)
        (place / "run.json").write_text((finished / "run.json").read_text())
    start = time.process_time()
    found = [status_of(path) for path in find_runs(tmp_path / "runs")]
    assert time.process_time() - start < 2.0
    assert len(found) == 50 and {status.state for status in found} == {"done"}


def test_the_command_prints_a_table_json_and_metrics(tmp_path: Path, finished: Path) -> None:
    told = command("runs", str(tmp_path))
    assert told.exit_code == 0 and "1 done" in told.stdout and "runs/r" in told.stdout
    rows = json.loads(command("runs", str(tmp_path), "--json").stdout)
    assert rows[0]["state"] == "done" and rows[0]["num_bytes"] > 1000 and rows[0]["ends"]
    text = command("runs", str(tmp_path), "--prometheus").stdout
    assert f'infimed_run_state{{run="{finished}",state="done"}} 1' in text
    assert isinstance(command("runs", str(tmp_path / "none")).exception, InfimedError)


def test_metrics_quote_what_a_name_may_hold(finished: Path) -> None:
    odd = finished.with_name('a"b\\c\nd')
    finished.rename(odd)
    text = as_prometheus([status_of(odd)])
    assert 'a\\"b\\\\c\\nd"' in text and all(line.startswith(("#", "infimed_run_")) for line in text.splitlines())


def test_a_beat_tells_step_progress_and_rate_and_ends_with_its_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS", 0.02)
    (tmp_path / heartbeat.OWNER).write_text("process 1")
    heartbeat.take(RunEvent("run_started", "", str(tmp_path), {"name": "r"}))
    for done in range(0, 30, 10):
        heartbeat.take(RunEvent("progress", "score", str(tmp_path), {"done": done, "total": 100, "unit": "sample"}))
        time.sleep(0.05)
    beat = heartbeat.read(tmp_path)
    assert beat is not None and beat["process"] == os.getpid()
    assert (beat["step"], beat["done"], beat["total"], beat["unit"]) == ("score", 20, 100, "sample")
    assert beat["rate"] > 0 and beat["seconds_left"] == pytest.approx(80 / beat["rate"])
    (tmp_path / heartbeat.OWNER).unlink()  # the run has failed: it lets go of its directory and tells no event
    time.sleep(0.2)
    (tmp_path / heartbeat.FILE).unlink()
    time.sleep(0.1)
    assert heartbeat.read(tmp_path) is None


# ---- gc ------------------------------------------------------------------------------------------------------------


def test_what_another_version_of_the_run_file_left_may_go_and_the_run_is_as_it_was(tmp_path: Path) -> None:
    run(document(text="no"), tmp_path)
    record = run(document(text="yes"), tmp_path)
    place = tmp_path / "runs" / "r"
    (place / "artifacts" / ".x.123.tmp").write_bytes(b"1" * 500)
    parts = parts_of(place)
    spare = [part for part in parts if part.reason]
    assert sum(part.num_bytes for part in parts) >= sum(part.num_bytes for part in spare) > 500
    assert not {place / str(step.artifact) for step in record.steps} & {part.path for part in spare}
    told = command("gc", str(place))
    assert told.exit_code == 0 and "may go" in told.stdout and all(part.path.exists() for part in spare)
    assert command("gc", str(place), "--yes").exit_code == 0
    assert not any(part.path.exists() for part in spare)
    again = run(document(text="yes"), tmp_path)
    assert {step.status for step in again.steps} == {"reused"} and again.results == record.results


def test_nothing_goes_of_a_run_that_works_and_only_leftovers_of_one_that_is_not_done(finished: Path) -> None:
    (finished / "artifacts" / "old-1").mkdir()
    (finished / "artifacts" / ".left.1.tmp").write_text("")
    changed(finished, status="interrupted")
    assert [part.path.name for part in parts_of(finished) if part.reason] == [".left.1.tmp"]
    spare = [part for part in parts_of(finished) if part.reason]
    changed(finished, status="running")
    with FileLock(finished / "lock"):
        with pytest.raises(InfimedError, match="works on this run"):
            parts_of(finished)
        with pytest.raises(InfimedError, match="has begun to work"):
            remove(finished, spare)


def test_links_to_one_file_weigh_it_once(finished: Path) -> None:
    (finished / "big").write_bytes(b"1" * 100_000)
    before = status_of(finished).num_bytes
    (finished / "same").hardlink_to(finished / "big")
    assert status_of(finished).num_bytes == before


def test_sizes_are_told_in_the_unit_that_fits() -> None:
    assert [size(number) for number in (0, 999, 1000, 2_500_000, 3.2e9, 7e12)] == [
        "0 bytes", "999 bytes", "1.0 kB", "2.5 MB", "3.2 GB", "7.0 TB",
    ]  # fmt: skip


# ---- verify --------------------------------------------------------------------------------------------------------


def test_a_file_of_another_size_or_none_is_named_with_what_mends_it(finished: Path) -> None:
    assert not damaged_files(finished)[2]
    answers = next(finished.glob("artifacts/evaluate-*/answers.jsonl"))
    answers.write_text(answers.read_text() + "\n")
    (damage,) = damaged_files(finished)[2]
    assert damage.startswith(str(answers)) and f"remove {answers.parent}" in damage
    assert command("verify", str(finished)).exit_code == 1
    answers.unlink()
    assert len(damaged_files(finished)[2]) == 1


# ---- examples ------------------------------------------------------------------------------------------------------


def test_every_example_is_listed_with_a_title_and_is_a_run_file_that_can_be_read(tmp_path: Path) -> None:
    assert {"full", "recipes/qwen3-vl-4b-sft"} <= set(examples()) and all(examples().values())
    assert example_text("qwen3-vl-4b-sft") == example_text("recipes/qwen3-vl-4b-sft")
    file = tmp_path / "full.yaml"
    file.write_text(command("example", "full").stdout)
    assert load_run_file(file, load_plugins()).file.run.name == "full"
    with pytest.raises(InfimedError, match="there are: ablation, "):
        example_text("fall")


# ---- check ---------------------------------------------------------------------------------------------------------


def test_a_package_that_a_run_file_needs_and_that_is_missing_is_told_before_anything_starts(tmp_path, monkeypatch):
    document = {
        "run": {"name": "r"},
        "data": {"sources": [{"use": "demo-anatomy"}], "executor": {"use": "ray"}},
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [{"use": "demo-text"}]},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(document))
    found = importlib.util.find_spec
    absent = {"ray", "nilearn", "simple_icd_10_cm"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else found(name, *rest))
    with pytest.raises(InfimedError) as caught:
        load_run_file(tmp_path / "run.yaml", load_plugins())
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and all("pip install 'infimed[" in line for line in lines)
    assert "data.executor" in str(caught.value) and "nilearn, simple-icd-10-cm" in str(caught.value)


def test_every_part_of_a_run_file_tells_the_packages_that_it_lacks_and_what_installs_them(tmp_path, monkeypatch):
    document = {
        "run": {"name": "r"},
        "data": {"sources": [{"use": "parquet", "with": {"path": str(tmp_path / "x.parquet")}}]},
        "quality": {"scorers": [{"use": "five-dimension"}]},
        "model": {"use": "tiny-qwen3-vl"},
        "packing": {"use": "best-fit", "with": {"row_tokens": 256}},
        "training": {"use": "staged", "with": {"stages": [{"name": "one"}]}},
        "report": [{"use": "html"}],
    }
    (tmp_path / "run.yaml").write_text(json.dumps(document))
    (tmp_path / "x.parquet").write_text("")
    found = importlib.util.find_spec
    absent = {"torch", "transformers", "accelerate", "cv2", "pyarrow", "vl_convert"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else found(name, *rest))
    with pytest.raises(InfimedError) as caught:
        load_run_file(tmp_path / "run.yaml", load_plugins())
    told = str(caught.value)
    for place, needs, wanted in [
        ("data.sources.0", "pyarrow", "score"), ("quality.scorers.0", "cv2, pyarrow", "score"),
        ("model", "torch, transformers", "train"), ("training", "accelerate, torch", "train"),
        ("report.0", "vl_convert", "report"),
    ]:  # fmt: skip
        line = f": {place}: needs {needs}, not installed here; run: pip install 'infimed[{wanted}]'"
        assert line in told, told


def test_media_of_a_kind_whose_package_is_missing_end_the_run_with_the_remedy(tmp_path, monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "nibabel" else found(name, *rest)
    )
    medium = {"kind": "nifti", "uri": str(tmp_path / "x.nii")}
    turns = [{"role": "user", "content": [0, "Which?"]}, {"role": "assistant", "content": ["this"]}]
    (tmp_path / "samples.jsonl").write_text(json.dumps({"id": "a", "turns": turns, "media": [medium]}))
    source = {"use": "jsonl", "with": {"path": str(tmp_path / "samples.jsonl")}}
    with pytest.raises(InfimedError, match=r"media of kind 'nifti': needs nibabel.*pip install 'infimed\[score\]'"):
        run({"run": {"name": "r"}, "data": {"sources": [source], "executor": {"use": "serial"}}}, tmp_path)
