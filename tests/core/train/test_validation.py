"""A stage that is measured while it trains: held-out samples are never trained on, weights are those without."""

import json
from pathlib import Path
from typing import Any

import pytest

from infimed_core import ConfigError, InfimedError, RunEvent
from infimed_core.api.reporting import RunRecord
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.plugins import load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_core.store.dataset import Dataset
from infimed_core.store.record import read_record
from infimed_core.testing import make_image, run

TURNS = [{"role": "user", "content": [0, "Which modality?"]}, {"role": "assistant", "content": ["MRI"]}]
EVALUATE = {"every": 2, "held_out": {"split": "validation"}, "benchmarks": ["questions"], "max_samples": 3}


def write_samples(folder: Path) -> Path:
    rows = []
    for number in range(16):
        (folder / f"{number}.png").write_bytes(make_image(64, 64, seed=number))
        tags = {"split": "validation" if number % 4 == 0 else "train"}
        media = [{"kind": "image", "uri": str(folder / f"{number}.png")}]
        rows.append({"id": f"s{number}", "turns": TURNS, "media": media, "tags": tags})
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def document(samples: Path, evaluate: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    train = {"where": {"split": "train"}}
    one = {"name": "one", "mix": [train], "num_samples": 12, "learning_rate": 1e-3, **more}
    return {
        "run": {"name": "small", "seed": 1},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(samples)}}], "filters": []},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 96}},
        "training": {"use": "staged", "with": {"stages": [{**one, "evaluate": evaluate}]}},
        "evaluation": {"benchmarks": [{"use": "demo-vqa", "name": "questions", "with": {"max_samples": 4}}],
                       "models": ["one"]},
        "report": [{"use": "html"}],
    }  # fmt: skip


def weights(folder: Path) -> bytes:
    (checkpoint,) = (folder / "runs" / "small" / "checkpoints").glob("one-*/model.safetensors")
    return checkpoint.read_bytes()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def measured(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord, list[RunEvent]]:
    folder, events = tmp_path_factory.mktemp("measured"), list[RunEvent]()
    return folder, run(document(samples, EVALUATE), folder, events), events


Measured = tuple[Path, RunRecord, list[RunEvent]]


def test_weights_are_bit_equal_with_and_without(measured: Measured, samples: Path, tmp_path: Path) -> None:
    plain = run(document(samples), tmp_path)
    assert weights(tmp_path) == weights(measured[0])
    assert plain.results == measured[1].results
    assert not any(step.name.startswith("measure") for step in plain.steps)


def test_events_record_and_report_tell_what_was_measured(measured: Measured) -> None:
    folder, record, events = measured
    details = next(step for step in record.steps if step.name == "train-one").details
    told = [event.payload for event in events if event.kind == "evaluation"]
    assert told == details["evaluations"] and len(told) >= 2
    assert told[-1]["step"] == details["steps"]
    for entry in told:
        assert entry["held_out_loss"] > 0 and entry["held_out_samples"] == 3
        found = entry["benchmarks"]["questions"]
        assert found["questions"] == found["accuracy"]["num_scored"] + found["accuracy"]["num_unscored"] == 3
    assert "Measured within the stage" in (folder / "runs" / "small" / "report.html").read_text()
    lines = [json.loads(line) for line in (folder / "runs" / "small" / "events.jsonl").read_text().splitlines()]
    assert [line["payload_step"] for line in lines if line["kind"] == "evaluation"] == [e["step"] for e in told]


def test_what_is_held_out_is_never_trained_on_though_the_mix_matches_it(samples: Path, tmp_path: Path) -> None:
    body = document(samples, {"every": 100, "held_out": {"split": "validation"}}, mix=[])
    stages = body["training"]["with"]["stages"]
    stages.insert(0, {**stages[0], "name": "before", "evaluate": None, "num_samples": 40})
    record = run(body, tmp_path)
    root = tmp_path / "runs" / "small"
    named = {step.name: root / str(step.artifact) for step in record.steps}
    dataset = Dataset(named["read"] / "samples.jsonl")

    def splits(plan: Path) -> set[str]:
        return {dataset[int(row)].tags["split"] for row in StagePlan.load(plan).rows}

    assert splits(named["plan-before"] / "plan.npz") == splits(named["plan-one"] / "plan.npz") == {"train"}
    assert splits(named["measure-one"] / "held-out.npz") == {"validation"}


def test_another_wish_to_measure_trains_nothing_again_and_says_so(measured: Measured, samples: Path) -> None:
    folder, events = measured[0], list[RunEvent]()
    record = run(document(samples, {**EVALUATE, "every": 1}), folder, events)
    assert next(step for step in record.steps if step.name == "train-one").status == "reused"
    said = [event.payload["text"] for event in events if event.kind == "message"]
    assert any("was trained before, measured otherwise" in text and "to train and measure it anew" in text
               for text in said)  # fmt: skip


def test_mistakes_are_told_before_the_run_with_their_line(samples: Path, tmp_path: Path) -> None:
    def problems(evaluate: dict[str, Any]) -> str:
        (tmp_path / "run.yaml").write_text(json.dumps(document(samples, evaluate)))
        with pytest.raises(ConfigError) as caught:
            load_run_file(tmp_path / "run.yaml", load_plugins())
        return str(caught.value)

    assert "'demo-vqa' is no benchmark of 'evaluation:' (it has: questions)" in problems(
        {"every": 2, "benchmarks": ["demo-vqa"]}
    )
    assert "measures nothing; give held_out (tags of samples), benchmarks (names), or both" in problems({"every": 2})


def test_nothing_held_out_and_nothing_to_train_on_name_the_reasons_and_their_counts(tmp_path: Path) -> None:
    samples = write_samples(tmp_path)
    with pytest.raises(InfimedError, match=r"evaluate.held_out .*matches 0 of the 16 selected samples"):
        run(document(samples, {"every": 2, "held_out": {"split": "test"}}), tmp_path)
    with pytest.raises(InfimedError, match=r"no sample to train on, of 16 selected: the plan left out too_long: 12"):
        run({**document(samples), "packing": {"use": "best-fit", "with": {"row_tokens": 4}}}, tmp_path)
    quality = {"scorers": [{"use": "five-dimension"}], "select": {"use": "threshold", "with": {"minimum": 1.0}}}
    (tmp_path / "strict").mkdir()
    with pytest.raises(
        InfimedError,
        match=r"of 16 samples none was kept; 'select' left out 1\d .*loosen quality.select",
    ):
        run({**document(samples), "quality": quality}, tmp_path / "strict")
    for number in range(16):
        if number % 4:
            (tmp_path / f"{number}.png").write_bytes(b"no image")
    (tmp_path / "again").mkdir()
    with pytest.raises(InfimedError, match=r"matches none of the 4 usable samples;.*left out 12 of 16 samples \("):
        run(document(samples), tmp_path / "again")
    record = read_record(tmp_path / "again" / "runs" / "small")
    assert [step.name for step in record.steps] == ["read", "model", "index"], "told before samples share a row"
