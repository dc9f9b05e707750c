"""Trackers: every event but progress on disk, others only where asked, and none stops a run."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import sqlite3
import subprocess
import sys
import types

import pytest

from infimed_core import RunEvent
from infimed_plugins.trackers import active, infimed_run_event


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(active.VARIABLE, raising=False)
    monkeypatch.setattr(active, "_open", {})


def run(directory, *payloads):
    infimed_run_event(RunEvent("run_started", "", str(directory)))
    for payload in payloads:
        infimed_run_event(RunEvent("log", "train/general", str(directory), payload))
    infimed_run_event(RunEvent("run_finished", "", str(directory), {"status": "done"}))


def lines(directory):
    return [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]


def test_events_are_lines_of_json_and_progress_is_not_kept(tmp_path):
    infimed_run_event(RunEvent("progress", "score", str(tmp_path), {"done": 1, "total": 2}))
    run(tmp_path, {"step": 1, "loss": 2.5}, {"step": 2, "loss": math.nan, "kind": "x", "list": [1, object]})
    found = lines(tmp_path)
    assert [line["kind"] for line in found] == ["run_started", "log", "log", "run_finished"]
    assert found[1]["loss"] == 2.5 and found[1]["payload_step"] == 1 and found[1]["step"] == "train/general"
    assert found[2]["loss"] == "nan" and found[2]["payload_kind"] == "x"


def test_training_steps_are_written_at_a_bounded_rate_and_the_last_always(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(active.time, "monotonic", lambda: clock[0])
    infimed_run_event(RunEvent("run_started", "", str(tmp_path)))
    for step in range(3000):
        clock[0] += 0.01
        infimed_run_event(RunEvent("log", "train/general", str(tmp_path), {"step": step, "loss": 1.0}))
    infimed_run_event(RunEvent("step_finished", "train/general", str(tmp_path)))
    steps = [line["payload_step"] for line in lines(tmp_path) if line["kind"] == "log"]
    assert steps[:100] == list(range(100)) and steps[-1] == 2999, "the first, and the last"
    assert len(steps) <= 100 + 30 + 1
    assert [line["kind"] for line in lines(tmp_path)][-2:] == ["log", "step_finished"]


def test_the_last_step_is_written_where_no_event_follows(tmp_path, monkeypatch):
    monkeypatch.setattr(active, "BURST", 1)
    infimed_run_event(RunEvent("run_started", "", str(tmp_path)))
    for step in range(3):
        infimed_run_event(RunEvent("log", "train/general", str(tmp_path), {"step": step}))
    assert [line.get("payload_step") for line in lines(tmp_path)] == [None, 0]
    active._write_held()
    assert [line.get("payload_step") for line in lines(tmp_path)] == [None, 0, 2]


def test_a_second_run_of_a_directory_appends(tmp_path):
    run(tmp_path)
    run(tmp_path)
    assert [line["kind"] for line in lines(tmp_path)] == ["run_started", "run_finished"] * 2


class Fake(types.ModuleType):
    """W&B's and Trackio's words, written down."""

    def __init__(self, name, broken=False):
        super().__init__(name)
        self.calls = []
        self.broken = broken

    def init(self, **settings):
        self.calls.append(("init", settings["project"], settings["name"]))

    def log(self, values):
        if self.broken:
            raise ConnectionError("no network")
        self.calls.append(("log", values))

    def finish(self):
        self.calls.append(("finish",))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_is_told_the_numbers_of_every_step_where_asked(tmp_path, monkeypatch, name):
    fake = Fake(name)
    monkeypatch.setitem(sys.modules, name, fake)
    run(tmp_path / "a", {"step": 1, "loss": 2.5})
    assert fake.calls == []
    monkeypatch.setenv(active.VARIABLE, f" {name},")
    run(tmp_path / "b", {"step": 1, "loss": 2.5, "note": "x", "bad": math.inf})
    assert fake.calls == [
        ("init", "infimed", "b"),
        ("log", {"train/general/loss": 2.5, "train/general/step": 1}),
        ("finish",),
    ]
    assert active._open == {}


def test_a_service_that_fails_is_told_of_once_and_left_out(tmp_path, monkeypatch):
    broken, good = Fake("wandb", broken=True), Fake("trackio")
    monkeypatch.setitem(sys.modules, "wandb", broken)
    monkeypatch.setitem(sys.modules, "trackio", good)
    monkeypatch.setenv(active.VARIABLE, "wandb,trackio")
    with pytest.warns(UserWarning, match="'wandb' failed and is off") as told:
        run(tmp_path, {"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5})
    assert len(told) == 1 and [call[0] for call in good.calls] == ["init", "log", "log", "finish"]
    assert len(lines(tmp_path)) == 4


def test_a_missing_package_or_an_unknown_name_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setenv(active.VARIABLE, "wandb")
    with pytest.warns(UserWarning, match="pip install 'wandb'") as told:
        run(tmp_path, {"step": 1, "loss": 1.0})
    assert len(told) == 1
    monkeypatch.setenv(active.VARIABLE, "tensorbord")
    with pytest.warns(UserWarning, match=r"no tracker 'tensorbord' .*tensorboard"):
        run(tmp_path)


def test_a_run_file_names_its_trackers_and_their_project(tmp_path, monkeypatch):
    """In place of the variable, or beside it; a check tells what is not installed."""
    fake = Fake("wandb")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    report = [{"use": "html"}, {"use": "trackers/wandb", "with": {"project": "chest"}}]
    (tmp_path / "run.json").write_text(json.dumps({"config": {"report": report}}))
    run(tmp_path, {"step": 1, "loss": 2.5})
    assert [call[0] for call in fake.calls] == ["init", "log", "finish"] and fake.calls[0][1] == "chest"
    (tmp_path / "run.json").write_text("{")  # a record in the middle of its writing names none
    run(tmp_path, {"step": 1, "loss": 2.5})
    assert len(fake.calls) == 3


def test_a_tracker_of_the_run_file_follows_a_real_run(tmp_path, monkeypatch):
    import infimed_core.testing as testing

    fake = Fake("trackio")
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.setattr("infimed_plugins.trackers.reporters.TrackioTracker.packages", {})
    sections = {"run": {"name": "followed"}, "model": {"use": "constant"}, "report": [{"use": "trackio"}]}
    sections["evaluation"] = {"benchmarks": [{"use": "demo-text"}], "limit": 2}
    assert testing.run(sections, tmp_path).status == "done"
    assert fake.calls[0] == ("init", "infimed", "followed") and fake.calls[-1] == ("finish",)


OFFLINE = """
import sys
from infimed_core import RunEvent
from infimed_plugins.trackers import infimed_run_event
infimed_run_event(RunEvent("run_started", "", sys.argv[1]))
for step in range(3):
    values = {"step": step, "loss": 2.5 - step, "loss_by_source": {"atlas": 1.5}}
    infimed_run_event(RunEvent("log", "train-one", sys.argv[1], values))
found = {"step": 2, "held_out_loss": 1.25, "benchmarks": {"vqa": {"scoring": "strict", "accuracy": {"value": 0.5}}}}
infimed_run_event(RunEvent("evaluation", "train-one", sys.argv[1], found))
infimed_run_event(RunEvent("run_finished", "", sys.argv[1], {"status": "done"}))
"""
"""A run in a process of its own: these packages start services and threads."""


def run_offline(directory, **variables):
    environment = {**os.environ, "HOME": str(directory), **variables}
    subprocess.run([sys.executable, "-c", OFFLINE, str(directory)], check=True, env=environment, capture_output=True)


@pytest.mark.skipif(
    importlib.util.find_spec("trackio") is None, reason="trackio is not installed: it wants pillow < 13"
)
def test_trackio_itself_writes_the_numbers_down_offline(tmp_path):
    run_offline(tmp_path, INFIMED_TRACKERS="trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    (file,) = (tmp_path / "trackio").glob("*.db")
    with contextlib.closing(sqlite3.connect(file)) as store:
        found = [json.loads(row) for (row,) in store.execute("SELECT metrics FROM metrics ORDER BY id")]
    assert [entry["train-one/loss"] for entry in found[:3]] == [2.5, 1.5, 0.5]
    assert {entry["train-one/loss_by_source/atlas"] for entry in found[:3]} == {1.5}
    assert (found[3]["train-one/held_out_loss"], found[3]["train-one/benchmarks/vqa/accuracy/value"]) == (1.25, 0.5)


@pytest.mark.slow
def test_wandb_itself_writes_the_numbers_down_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="optional")
    run_offline(tmp_path, INFIMED_TRACKERS="wandb", WANDB_MODE="offline", WANDB_SILENT="true")
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    found = _wandb_history(file)
    assert [entry["train-one/loss"] for entry in found[:3]] == [2.5, 1.5, 0.5]
    assert [entry["train-one/step"] for entry in found] == [0, 1, 2, 2]
    assert {entry["train-one/loss_by_source/atlas"] for entry in found[:3]} == {1.5}
    assert (found[3]["train-one/held_out_loss"], found[3]["train-one/benchmarks/vqa/accuracy/value"]) == (1.25, 0.5)


def _wandb_history(file):
    """The history of a small offline file: a header of 7 bytes, then records of crc (4), length (2), type (1), data."""
    from wandb.proto import wandb_internal_pb2

    data, place, history = file.read_bytes(), 7, []
    while place < len(data):
        length = int.from_bytes(data[place + 4 : place + 6], "little")
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data[place + 7 : place + 7 + length])
        place += 7 + length
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            history.append(items)
    return history


def test_tensorboard_gets_event_files(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="needs the extra trackers")
    import warnings

    monkeypatch.setenv(active.VARIABLE, "tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tensorboard's own
        run(tmp_path, {"step": 1, "loss": 2.5, "loss_by_source": {"a": 1.0}}, {"step": 2, "loss": 1.5})
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/general/loss")] == [(1, 2.5), (2, 1.5)]
    assert [(event.step, event.value) for event in events.Scalars("train/general/loss_by_source/a")] == [(1, 1.0)]
