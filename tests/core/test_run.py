"""A run: bad samples are counted rows, a killed run gives the figures of one that was not, nothing is done twice."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from forked import start

from infimed_core import RunEvent, Trainer
from infimed_core.api.reporting import RunRecord
from infimed_core.testing import make_image, run

KEEP_ALL = {"keep": 1.0, "hard_minimums": False}
PHASES = [{"share": 0.5, "max_visual_tokens": 1}, {"share": 0.5, "max_visual_tokens": 4}]
TEXT = [{"role": "user", "content": [0, "Which modality?"]}, {"role": "assistant", "content": ["MRI"]}]


def write_samples(folder: Path, num_good: int = 24) -> Path:
    """Good samples, and one of each bad kind that a data set can hold."""
    from PIL import Image

    media = folder / "media"
    media.mkdir(parents=True)
    rows: list[dict[str, Any]] = []

    def add(name: str, kind: str = "image", turns: list[Any] | None = None, file: str | None = None) -> None:
        uri = str(media / (file or f"{name}.png"))
        tags = {"modality": "MR", "split": "validation" if name in ("good-5", "good-6") else "train"}
        rows.append({"id": name, "turns": turns or TEXT, "media": [{"kind": kind, "uri": uri}], "tags": tags})

    for number in range(num_good):
        (media / f"good-{number}.png").write_bytes(make_image(64, 64, seed=number))
        add(f"good-{number}")
    (media / "corrupt.png").write_bytes(make_image()[:400])
    add("corrupt")
    add("missing")
    add("empty", file="good-0.png", turns=[TEXT[0], {"role": "assistant", "content": ["  "]}])
    Image.new("1", (20_000, 5_001)).save(media / "huge.png")
    add("huge")
    scan = Path(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    (media / "cut.dcm").write_bytes(scan[:-20_000])
    add("cut", kind="dicom", file="cut.dcm")
    path = folder / "samples.jsonl"
    lines = [json.dumps(row) for row in rows]
    lines.insert(3, "{not json")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def document(samples: Path, **training: Any) -> dict[str, Any]:
    stage = {"name": "one", "num_samples": 40, "learning_rate": 1e-3, **training}
    return {
        "run": {"name": "small", "seed": 1},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(samples)}}]},
        "quality": {"scorers": [{"use": "five-dimension"}], "select": {"use": "top-share", "with": KEEP_ALL}},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "resolution": {"use": "low-to-high", "with": {"phases": PHASES}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 96}},
        "training": {"use": "staged", "with": {"stages": [stage, {**stage, "name": "two"}]}},
        "evaluation": {"benchmarks": [{"use": "demo-vqa", "with": {"max_samples": 40}}], "baselines": []},
        "report": [{"use": "html"}],
    }  # fmt: skip


def steps(record: RunRecord) -> dict[str, Any]:
    return {step.name: step for step in record.steps}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    folder = tmp_path_factory.mktemp("finished")
    return run(document(write_samples(folder / "data")), folder), folder


def test_every_bad_sample_is_a_counted_row_with_a_reason(finished: tuple[RunRecord, Path]) -> None:
    record, _ = finished
    found = steps(record)
    assert record.status == "done"
    assert (found["read"].num_in, found["read"].num_out) == (30, 28)
    assert found["read"].dropped == {"bad_row": 1, "empty_text": 1}
    assert found["score"].num_in == found["score"].num_out == 28
    assert found["score"].details["status"]["error"] == 4
    place = finished[1] / "runs" / "small"
    faults = (place / found["index"].artifact / "faults.jsonl").read_text().splitlines()
    assert len(faults) == sum(found["index"].dropped.values()) > 0
    told = (place / "events.jsonl").read_text()
    assert all(f": {code}: " in told and "cannot be trained on: sample '" in told for code in found["index"].dropped)
    source = finished[1] / "data" / "samples.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()
    for fault in map(json.loads, faults):
        number = next(at for at, line in enumerate(lines, 1) if f'"id": "{fault["sample_id"]}"' in line)
        assert fault["where"] == f"{source}:{number}", "a row that was at fault before it moved no number"
        assert fault["detail"] not in told or f"'{fault['sample_id']}' ({source}:{number})" in told
    reasons = found["select"].dropped
    assert {"image_missing", "image_too_large", "image_truncated"} <= set(reasons), reasons


def test_every_count_adds_up(finished: tuple[RunRecord, Path]) -> None:
    for step in finished[0].steps:
        if step.num_in is not None:
            assert step.num_in == step.num_out + sum(step.dropped.values()), step


def test_the_funnel_chains_from_the_rows_read_to_the_samples_trained_on_and_epochs_are_no_samples(
    finished: tuple[RunRecord, Path],
) -> None:
    from infimed_plugins.reporting.page.tables import funnel

    rows = {row.step: row for row in funnel(finished[0])}
    assert list(rows) == ["read", "filter-contamination", "select", "plan-one", "plan-two"]
    assert rows["read"].num_out == rows["filter-contamination"].num_in == 28
    assert rows["filter-contamination"].num_out == rows["select"].num_in
    for row in rows.values():
        assert row.num_in == row.num_out + sum(count for _, count in row.dropped), row
    for name in ("plan-one", "plan-two"):
        assert rows[name].num_in == rows["select"].num_out
        assert steps(finished[0])[name].details["num_drawn"] == 40 > rows[name].num_out


def test_record_names_what_a_published_figure_needs(finished: tuple[RunRecord, Path]) -> None:
    record, folder = finished
    body = json.loads((folder / "runs" / "small" / "run.json").read_text())
    assert {"format", "status", "config", "plugins", "environment", "steps", "results"} <= set(body)
    assert {row.model for row in record.results} == {"base", "one", "two", "most-common-answer"}
    assert body["config"]["training"]["with"]["stages"][0]["weight_decay"] is not None, "defaults are filled in"
    assert {plugin["name"] for plugin in body["plugins"]} >= {"vlm", "sft", "quality", "packing", "demo"}
    details = steps(record)["evaluate-two-demo-vqa"].details
    assert details["protocol"]["version"] and details["protocol"]["generation"]["temperature"] == 0
    assert "differ by" in steps(record)["train-one"].details["isolation"]


def test_second_run_does_nothing_twice(finished: tuple[RunRecord, Path]) -> None:
    record, folder = finished
    events: list[RunEvent] = []
    again = run(document(folder / "data" / "samples.jsonl"), folder, events)
    assert [step.name for step in again.steps if step.status != "reused"] == []
    assert [event for event in events if event.kind == "step_started"] == []
    assert again.results == record.results and again.comparisons == record.comparisons


def test_files_put_right_in_place_are_used_by_the_next_run_and_a_mere_touch_changes_nothing(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "data", 8)
    file = {key: value for key, value in document(samples).items() if key in ("run", "data", "quality")}
    before = steps(run(file, tmp_path))
    media = tmp_path / "data" / "media"
    for name in ("corrupt", "missing"):
        (media / f"{name}.png").write_bytes(make_image(64, 64, seed=40 + len(name)))
    events: list[RunEvent] = []
    after = steps(run(file, tmp_path, events))
    assert after["read"].status == "reused"
    assert (before["score"].details["status"]["error"], after["score"].details["status"]["error"]) == (4, 2)
    assert after["select"].num_out == before["select"].num_out + 2
    for path in media.iterdir():
        os.utime(path, (1, 1))
    assert {step.status for step in run(file, tmp_path).steps} == {"reused"}


def test_checkpoint_of_a_stage_loads_with_stock_transformers(finished: tuple[RunRecord, Path]) -> None:
    from transformers import AutoModelForImageTextToText

    (checkpoint,) = (finished[1] / "runs" / "small" / "checkpoints").glob("two-*")
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    assert model.config.model_type == "qwen3_vl"


def test_a_stage_that_cannot_be_planned_stops_the_run_before_the_first_is_trained(tmp_path: Path) -> None:
    from infimed_core import InfimedError
    from infimed_core.store.record import read_record

    body = document(write_samples(tmp_path), num_samples=8)
    _, second = body["training"]["with"]["stages"]
    second["packing"] = {"use": "best-fit", "with": {"row_tokens": 5}}
    with pytest.raises(InfimedError, match=r"stage 'two' has no sample to train on.*Raise packing.row_tokens"):
        run(body, tmp_path)
    record = read_record(tmp_path / "runs" / "small")
    assert record.status == "failed" and "'two'" in (record.error or "")
    names = [step.name for step in record.steps]
    assert "plan-one" in names and not any(name.startswith("train-") for name in names)
    page = (tmp_path / "runs" / "small" / "report.html").read_text(encoding="utf-8")
    assert "has no sample to train on" in page
    for row_tokens in (96, 5, 96):  # fails again after it went well: no page of another end may stand
        second["packing"]["with"]["row_tokens"] = row_tokens
        if row_tokens == 5:
            with pytest.raises(InfimedError, match="has no sample to train on"):
                run(body, tmp_path)
        else:
            assert run(body, tmp_path).status == "done"
        page = (tmp_path / "runs" / "small" / "report.html").read_text(encoding="utf-8")
        assert ("has no sample to train on" in page) == (row_tokens == 5)


def test_samples_that_no_stage_takes_and_plugins_that_changed_are_told(tmp_path: Path) -> None:
    body = document(write_samples(tmp_path), num_samples=8, mix=[{"where": {"split": "train"}}])
    del body["evaluation"]
    run(body, tmp_path)
    directory = tmp_path / "runs" / "small"
    told = (directory / "events.jsonl").read_text()
    assert re.search(
        r"2 of 2\d selected samples are in the mix of no stage; nothing trains on them \(first 'good-5'", told
    )
    record = json.loads((directory / "run.json").read_text())
    for plugin in record["plugins"]:
        if plugin["name"] == "sft":
            plugin["version"] = "0.0.9"
    (directory / "run.json").write_text(json.dumps(record))
    run(body, tmp_path)
    told = (directory / "events.jsonl").read_text()
    assert told.count("made by InfiMed 0.0.9, this is") == 1 and "steps are read as before where" in told


def test_a_component_that_computes_something_else_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infimed_plugins.metrics.means import Accuracy
    from infimed_plugins.packing.fitting import BestFit
    from infimed_plugins.sft.trainer import StagedTrainer
    from infimed_plugins.solvers.direct import Direct

    body = document(write_samples(tmp_path), num_samples=8)
    run(body, tmp_path)
    made_anew = {Accuracy: "evaluate-base-", Direct: "evaluate-base-", BestFit: "plan-one"}
    for component, step in made_anew.items():
        monkeypatch.setattr(component, "version", component.version + "-changed")
        found = steps(run(body, tmp_path))
        assert all(one.status == "done" for name, one in found.items() if name.startswith(step)), component
        assert found["index"].status == "reused"
    stage = StagedTrainer.model_validate({"stages": [{"name": "one"}]})
    before = Trainer.result_identity(stage, stage.stage_list[0]), stage.result_identity(stage.stage_list[0])
    monkeypatch.setattr(StagedTrainer, "version", "2")
    assert Trainer.result_identity(stage, stage.stage_list[0]) != before[0]
    assert stage.result_identity(stage.stage_list[0]) != before[1]


def test_where_all_samples_went_is_told_with_the_remedy_of_the_step_that_took_them_before_a_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infimed_core import FilterResult, InfimedError
    from infimed_core.store.record import read_record
    from infimed_plugins.filters.duplicates import Duplicates

    def steps_done() -> list[str]:
        return [step.name for step in read_record(tmp_path / "runs" / "small").steps]

    body = document(write_samples(tmp_path), num_samples=8)
    body["quality"]["select"] = {"use": "threshold", "with": {"minimum": 1.0}}
    told = r"of 2\d samples none was kept; 'read' left out .*1 bad_row.*; 'select' left out .*loosen quality.select"
    with pytest.raises(InfimedError, match=told) as caught:
        run(body, tmp_path)
    assert caught.value.exit_code == 1 and steps_done() == ["read", "filter-contamination", "score", "select"]
    del body["quality"]
    body["data"]["filters"] = [{"use": "duplicates"}]
    monkeypatch.setattr(
        Duplicates, "check", lambda self, samples, *rest: FilterResult(rejected=dict.fromkeys(samples.ids, ("same",)))
    )
    with pytest.raises(InfimedError, match=r"'filter-duplicates' left out 28 same. Look at data.filters") as caught:
        run(body, tmp_path)
    assert caught.value.exit_code == 1 and steps_done() == ["read", "filter-duplicates"]
    body["data"]["sources"][0]["use"] = "llava"  # reads a JSON array, not lines
    with pytest.raises(
        InfimedError, match=r"no sample in any source; left out: .*samples\.jsonl:1: .*bad_row.*30 such rows"
    ) as caught:
        run(body, tmp_path)
    assert caught.value.exit_code == 1 and steps_done() == ["read"]


@pytest.mark.slow
def test_killed_run_ends_with_the_figures_of_one_that_was_not(finished: tuple[RunRecord, Path], tmp_path: Path) -> None:
    record, folder = finished
    body = document(folder / "data" / "samples.jsonl")
    body["run"]["directory"] = str(tmp_path / "runs")
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(body))
    command = ["-m", "infimed_core", str(file)]
    killed = []
    for wanted in ("score", "train-one", "train-two", "evaluate-one-demo-vqa"):
        process = start(command)
        limit = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < limit:
            if wanted in _running(tmp_path / "runs" / "small" / "run.json"):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(wanted)
                break
            time.sleep(0.01)
        process.wait()
    assert killed, "no kill came in time, so nothing was tested"
    process = start(command)
    assert process.wait() == 0, process.said()
    after = RunRecord.model_validate_json((tmp_path / "runs" / "small" / "run.json").read_text())
    assert after.results == record.results
    assert after.comparisons == record.comparisons


def _running(path: Path) -> list[str]:
    try:
        return [step["name"] for step in json.loads(path.read_text())["steps"] if step["status"] == "running"]
    except (OSError, ValueError):
        return []


def test_the_state_of_a_stage_is_there_until_its_checkpoint_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infimed_core.store.artifacts import Artifact

    samples = write_samples(tmp_path, num_good=8)
    one_stage = document(samples, num_samples=40, save_every=1)
    one_stage["training"]["with"]["stages"] = one_stage["training"]["with"]["stages"][:1]
    for left_out in ("evaluation", "report", "resolution"):
        del one_stage[left_out]
    states = tmp_path / "runs" / "small" / "state"
    seal = Artifact.seal

    def killed(self: Artifact, *arguments: Any, **options: Any) -> None:
        if self.directory.parent.name == "checkpoints":
            assert list(states.glob("one-*/step-*"))
            raise KeyboardInterrupt  # after the weights are written, before they are declared whole
        seal(self, *arguments, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Artifact, "seal", killed)
        run(one_stage, tmp_path)
    (kept,) = states.glob("one-*")
    told: list[RunEvent] = []
    record = run(one_stage, tmp_path, told)
    assert record.status == "done" and steps(record)["train-one"].status == "done"
    assert not [event for event in told if "trained anew" in str(event.payload)] and not kept.exists()
    kept.mkdir(parents=True)  # as a kill right after the seal leaves it
    assert steps(run(one_stage, tmp_path))["train-one"].status == "reused" and not kept.exists()
