"""A run under a launcher: one record, the results of one process, and an end with a clear message where a rank dies."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from forked import Forked, finish, start
from test_run import document, write_samples

from infimed_core import InfimedError
from infimed_core.api.reporting import RunRecord
from infimed_core.distributed.ranks import start_ranks

SHORT = "import sys, infimed_core.distributed.ranks as r; r.SILENT_SECONDS = 4.0; r.GRACE_SECONDS = 3.0; "
SHORT += "from infimed_core.cli import run_main; run_main()"


def write_run_file(folder: Path, data: Path, **training: Any) -> Path:
    body = document(data, rows_per_step=2, save_every=2, num_samples=24, **training)
    body["run"]["directory"] = str(folder / "runs")
    body["evaluation"]["benchmarks"][0]["with"]["max_samples"] = 12
    evaluate = {"every": 3, "held_out": {"split": "validation"}, "benchmarks": ["demo-vqa"], "max_samples": 5}
    body["training"]["with"]["stages"][1]["evaluate"] = evaluate
    del body["quality"], body["report"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(json.dumps(body))
    return folder / "run.yaml"


def record(file: Path) -> RunRecord:
    return RunRecord.model_validate_json((file.parent / "runs" / "small" / "run.json").read_text())


def own_environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def launched(*files: Path) -> list[Forked]:
    """A process for each file, as a launcher starts them, but without a launcher that would look after them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(len(files)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        start(["-c", SHORT, str(file)], own_environment(RANK=str(rank), LOCAL_RANK=str(rank), **shared))
        for rank, file in enumerate(files)
    ]


def wait_for(file: Path, step: str, log: bool = False) -> None:
    """Until a step of the run has begun (``log``: has trained for two steps)."""
    path = file.parent / "runs" / "small" / "events.jsonl"
    limit = time.monotonic() + 600
    while time.monotonic() < limit:
        events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        kinds = [event["kind"] for event in events if event["step"] == step]
        if (kinds.count("log") >= 2) if log else kinds:
            return
        time.sleep(0.02)
    raise AssertionError(f"{step} did not begin in time")


def ends(processes: list[Forked], limit: float = 300) -> list[tuple[int, str]]:
    found = []
    try:
        for process in processes:
            code = process.wait(limit)
            found.append((code, process.said()))
    finally:
        for process in processes:
            process.kill()
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, data: Path) -> RunRecord:
    file = write_run_file(tmp_path_factory.mktemp("alone"), data)
    done = finish(["-m", "infimed_core", file])
    assert done.returncode == 0, done.stderr
    return record(file)


def test_an_environment_that_is_no_launchers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InfimedError, match=r"RANK, MASTER_ADDR, MASTER_PORT is not set: start the run by torchrun"):
        start_ranks()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert (start_ranks().rank, start_ranks().size) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_a_run_under_a_launcher_has_the_results_of_one_process(
    launcher: str, alone: RunRecord, data: Path, tmp_path: Path
) -> None:
    parallel = "fsdp2" if launcher == "accelerate" else "ddp"
    file = write_run_file(tmp_path, data)
    body = json.loads(file.read_text())
    body["training"]["with"]["parallel"] = parallel
    file.write_text(json.dumps(body))
    options = {
        "torchrun": ["--nproc-per-node", "2", "--standalone"],
        "accelerate": [
            "launch",
            "--multi_gpu",
            "--num_machines",
            "1",
            "--num_processes",
            "2",
            "--main_process_port",
            "0",
        ],
    }
    # The launcher is forked; the ranks are processes that it starts in full.
    command = [Path(sys.executable).with_name(launcher), *options[launcher], "-m", "infimed_core", file]
    done = finish(command, own_environment())
    assert done.returncode == 0, done.stderr
    found = record(file)
    assert found.status == "done" and found.environment["ranks"] == 2
    assert found.results == alone.results
    for step, expected in zip(found.steps, alone.steps, strict=True):
        assert (step.name, step.num_in, step.num_out, step.dropped) == (
            expected.name, expected.num_in, expected.num_out, expected.dropped
        )  # fmt: skip
        if step.name.startswith("train"):
            assert (step.details["ranks"], step.details["parallel"]) == (2, parallel)
        for one, other in zip(
            step.details.get("evaluations", ()), expected.details.get("evaluations", ()), strict=True
        ):
            assert one["held_out_loss"] == pytest.approx(other["held_out_loss"], rel=1e-3)
            assert one["held_out_samples"] == 2
            assert one["benchmarks"]["demo-vqa"]["questions"] == 5
    assert done.stdout.count("Record:") == 1, "one process alone shows the summary"


@pytest.mark.slow
@pytest.mark.parametrize(("step", "how"), [("train-one", "killed"), ("train-one", "stopped"), ("model", "killed")])
def test_a_rank_that_dies_ends_the_run_and_the_next_run_goes_on(
    step: str, how: str, alone: RunRecord, data: Path, tmp_path: Path
) -> None:
    file = write_run_file(tmp_path, data)
    processes = launched(file, file)
    wait_for(file, step, log=step.startswith("train"))
    # A process that is stopped (SIGSTOP) holds its connections open: only its silence tells.
    processes[1].send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    (code, output), *_ = ends(processes[:1])
    processes[1].kill()
    processes[1].wait()
    assert code in (1, 2), output
    assert "rank 1 of the run's 2 processes is gone" in output
    found = record(file)
    assert found.status == "failed" and found.error is not None and "rank 1" in found.error
    if (step, how) != ("train-one", "killed"):
        return
    again = ends(launched(file, file), limit=600)
    assert [code for code, _ in again] == [0, 0], again
    assert record(file).results == alone.results


@pytest.mark.slow
def test_a_rank_that_fails_says_why_on_the_first_ranks_record(data: Path, tmp_path: Path) -> None:
    file = write_run_file(tmp_path, data)
    other = write_run_file(tmp_path / "other", data, learning_rate=1e-5)
    first, second = ends(launched(file, other))
    assert first[0] == second[0] == 2, (first, second)
    for said in (first[1], second[1], record(file).error or ""):
        assert "rank 1 runs another run file than the first process: run.directory, training." in said
        assert "training.with.stages.0.learning_rate" in said
