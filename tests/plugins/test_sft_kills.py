"""Killed, stopped, out of disk or damaged: the last good state is intact, the run says so, and goes on from it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import forked
import kills
from kills import finish, steps_done, survive_kills, weights, write_run_file

LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); "
LIMITED += "from infimed_core.cli import run_main; run_main()"


def start(file: Path) -> forked.Forked:
    """What kills.py starts."""
    return forked.start(["-m", "infimed_core", str(file)], output=file.parent / "output.txt")


def record(file: Path) -> dict:
    return json.loads((file.parent / "runs" / "killed" / "run.json").read_text())


def states(file: Path) -> list[Path]:
    """The finished states; what a kill left half written has another name, and the next run clears it away."""
    return sorted((file.parent / "runs" / "killed" / "state").glob("one-*/step-*"))


def stop_after(file: Path, num_steps: int, how: int) -> str:
    """Send a signal once the run has told of so many steps; what it said."""
    process = start(file)
    limit = time.monotonic() + 600
    while process.poll() is None and steps_done(file) < num_steps and time.monotonic() < limit:
        time.sleep(0.002)
    process.send_signal(how)
    process.wait(timeout=300)
    return (file.parent / "output.txt").read_text()


@pytest.fixture(scope="module", autouse=True)
def whole(tmp_path_factory) -> Iterator[dict[str, bytes]]:
    """The weights of a run that was started in full and never stopped; the runs of the tests are forked."""
    file = write_run_file(tmp_path_factory.mktemp("whole"), num_steps=40)
    finish(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kills, "start", start)
        yield weights(file)


@pytest.mark.slow
def test_kill_9_at_random_steps_leaves_the_weights_of_a_run_that_was_not_killed(tmp_path, whole):
    """benchmarks/kills.py does the same twenty times."""
    found = survive_kills(tmp_path, num_kills=2, num_steps=40)
    assert len(found["kills"]) == 2 and all(kill["steps_since_start"] >= 1 for kill in found["kills"])
    assert found["equal"] and found["status"] == "done"
    assert weights(tmp_path / "killed" / "run.yaml") == whole


PLUGIN = """
from infimed_core import augmentation, curriculum, optimizer, schedule

@curriculum
def last_number_first(sample):
    return -int(sample.id.rsplit("-", 1)[1])

@augmentation
def darker(image, generator):
    return image - image // 4 if generator.random() < 0.5 else image

@optimizer
def momentum_descent(groups):
    import torch

    return torch.optim.SGD(groups, momentum=0.9)

@schedule
def square_fall(progress):
    return (1.0 - progress) ** 2
"""


@pytest.mark.slow
def test_kill_9_of_a_run_with_an_order_images_optimizer_and_schedule_of_a_plugin_changes_no_weight(tmp_path, whole):
    (tmp_path / "mine.py").write_text(PLUGIN)
    chosen = {
        "curriculum": {"use": "last-number-first", "with": {"bands": 2}},
        "augmentations": [{"use": "darker"}, {"use": "intensity"}],
        "optimizer": {"use": "momentum-descent"},
        "schedule": {"use": "square-fall"},
    }
    found = survive_kills(tmp_path, num_kills=2, plugin=tmp_path / "mine.py", num_steps=30, **chosen)
    assert len(found["kills"]) == 2 and all(kill["steps_since_start"] >= 1 for kill in found["kills"])
    assert found["equal"] and found["status"] == "done"
    assert weights(tmp_path / "killed" / "run.yaml") != whole


@pytest.mark.slow
def test_sigterm_writes_the_state_says_so_and_the_same_command_goes_on(tmp_path, whole):
    file = write_run_file(tmp_path, num_steps=40, save_every=1000)
    said = stop_after(file, 5, signal.SIGTERM)
    assert "stopping after this step" in said and "The same command goes on from there" in said
    assert record(file)["status"] == "interrupted"
    (state,) = states(file)
    assert int(state.name.removeprefix("step-")) >= 5
    finish(file)
    found = next(step for step in record(file)["steps"] if step["name"] == "train-one")
    assert found["details"]["resumed_from"] == int(state.name.removeprefix("step-"))
    assert weights(file) == whole


@pytest.mark.slow
def test_a_corrupt_state_is_told_with_its_file_and_the_one_before_is_used(tmp_path, whole):
    file = write_run_file(tmp_path, num_steps=40)
    stop_after(file, 8, signal.SIGKILL)
    older, newest = states(file)[-2:]
    content = bytearray((newest / "optimizer.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "optimizer.safetensors").write_bytes(content)
    finish(file)
    said = (file.parent / "output.txt").read_text()
    assert f"{newest.name}: this training state cannot be used (optimizer.safetensors" in said
    found = next(step for step in record(file)["steps"] if step["name"] == "train-one")
    assert found["details"]["resumed_from"] == int(older.name.removeprefix("step-"))
    assert weights(file) == whole


def run_limited(file: Path) -> str:
    """Run with a limit on the size of a file, which the system enforces: no weights fit. What was said."""
    size = max(path.stat().st_size for path in file.parent.rglob("*.safetensors")) // 2
    process = forked.start(["-c", LIMITED.format(size=size), str(file)])
    assert process.wait() == 2, process.said()
    assert record(file)["status"] == "failed" and "could not be written" in record(file)["error"]
    assert "free disk space and run the same command again" in process.said()
    return process.said()


@pytest.mark.slow
def test_a_disk_full_at_a_state_leaves_the_one_before_says_so_and_the_same_command_goes_on(tmp_path, whole):
    file = write_run_file(tmp_path, num_steps=40, save_every=4)
    stop_after(file, 8, signal.SIGKILL)
    before = {path.name: [p.read_bytes() for p in sorted(path.iterdir())] for path in states(file)}
    said = run_limited(file)
    assert f"last good state is {max(before)}" in said
    assert {path.name: [p.read_bytes() for p in sorted(path.iterdir())] for path in states(file)} == before
    finish(file)
    assert weights(file) == whole


@pytest.mark.slow
def test_a_disk_full_at_a_checkpoint_leaves_the_newest_state_says_so_and_the_same_command_goes_on(tmp_path):
    """Only the embeddings learn, so that a state fits where the whole checkpoint does not."""
    file = write_run_file(tmp_path, num_steps=40, save_every=10, trainable=["embeddings"])
    stop_after(file, 2, signal.SIGKILL)
    said = run_limited(file)
    assert "the checkpoint of stage 'one' could not be written" in said and "is kept" in said
    assert states(file)[-1].name == "step-000000030"
    assert not list((file.parent / "runs" / "killed" / "checkpoints").glob("one-*"))
    finish(file)
    assert next(step for step in record(file)["steps"] if step["name"] == "train-one")["details"]["resumed_from"] == 30


@pytest.mark.slow
def test_a_damaged_checkpoint_of_a_stage_is_told_and_never_trained_on(tmp_path):
    file = write_run_file(tmp_path, num_steps=40)
    stop_after(file, 42, signal.SIGKILL)
    (checkpoint,) = (file.parent / "runs" / "killed" / "checkpoints").glob("one-*/model.safetensors")
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    process = start(file)
    assert process.wait(timeout=600) == 2
    said = (file.parent / "output.txt").read_text()
    assert f"{checkpoint}: is not as it was written" in said and "remove" in said


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_ends_finished_by_the_clock_alone(tmp_path, whole):
    """No state is due by steps: each attempt gets on because the one before was killed early."""
    file = write_run_file(tmp_path, num_steps=40, save_every=1000)
    began = time.monotonic()
    process = start(file)
    while process.poll() is None and not steps_done(file):
        time.sleep(0.01)
    allowed = (
        1.5 * (time.monotonic() - began) + 1.0
    )  # an attempt has this long, as a queue that takes machines away has
    attempts, until = 1, began + allowed
    while attempts < 60:
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
        if process.wait() == 0:
            break
        attempts, until, process = attempts + 1, time.monotonic() + allowed, start(file)
    assert record(file)["status"] == "done" and 1 < attempts < 60
    assert weights(file) == whole
