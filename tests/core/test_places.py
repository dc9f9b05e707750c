"""A run may move: copied or renamed it goes on, and data that were moved are found again by --data-root."""

import json
import shutil
from pathlib import Path

import pytest

from infimed_core import Media, load_plugins, load_run_file
from infimed_core.api.component import DATA_ROOTS, as_named, found_now
from infimed_core.records import open_run
from infimed_core.run import run as do_run
from infimed_core.store.places import opened, run_above, written
from infimed_core.testing import make_image, make_sample


def data(folder: Path, count: int = 6) -> Path:
    """Rows of which half bring their picture and half name a file."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        sample = make_sample(f"s{number}", answer="axial" if number % 2 else "coronal")
        if number % 2:
            (folder / f"{number}.png").write_bytes(make_image(seed=number))
            item = Media(uri=str(folder / f"{number}.png"))
        else:
            item = Media(data=make_image(seed=number))
        turns = (sample.turns[0].model_copy(update={"content": (0, "Which plane?")}), sample.turns[1])
        rows.append(sample.model_copy(update={"media": (item,), "turns": turns}).model_dump_json())
    (folder / "samples.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "samples.jsonl"


def run_file(folder: Path, source: Path) -> Path:
    questions = {"use": "questions", "with": {"reader": {"use": "jsonl", "with": {"path": str(source)}}}}
    document = {
        "run": {"name": "r", "directory": str(folder / "runs")},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(source)}}], "executor": {"use": "serial"}},
        "quality": {"scorers": [{"use": "five-dimension"}]},
        "model": {"use": "constant", "with": {"text": "axial"}},
        "evaluation": {"benchmarks": [questions]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run.yaml"
    file.write_text(json.dumps(document))
    return file


def do(file: Path):
    registry = load_plugins()
    return do_run(load_run_file(file, registry), registry, lambda event: None)


def opens(directory: Path, below: Path) -> None:
    """Every medium of the run's samples and answers is there, and below one of its two places."""
    run = open_run(directory)
    for sample in [*run.dataset, *(row.sample for row in run.answers("questions", "base"))]:
        for item in sample.media:
            assert item.uri is not None and Path(item.uri).is_file()
            assert Path(item.uri).is_relative_to(directory if item.sha256 else below), item.uri


def test_a_run_that_was_moved_goes_on_and_opens_nothing_of_where_it_was(tmp_path: Path) -> None:
    source = data(tmp_path / "data")
    first = do(run_file(tmp_path / "a", source))
    (tmp_path / "b").mkdir()
    shutil.move(tmp_path / "a" / "runs", tmp_path / "b" / "runs")
    opens(tmp_path / "b" / "runs" / "r", tmp_path / "data")
    again = do(run_file(tmp_path / "b", source))
    assert {step.status for step in again.steps} == {"reused"} and again.results == first.results
    gone = str(tmp_path / "a").encode()
    files = [path for path in (tmp_path / "b" / "runs" / "r").rglob("*") if path.is_file()]
    assert [path.name for path in files if gone in path.read_bytes()] in (["events.jsonl"], [])  # what was told then


def test_data_that_were_moved_are_found_by_their_new_root_and_nothing_is_done_anew(tmp_path: Path, monkeypatch) -> None:
    file = run_file(tmp_path / "a", data(tmp_path / "data"))
    first = do(file)
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    monkeypatch.setenv(DATA_ROOTS, json.dumps([[str(tmp_path / "data"), str(tmp_path / "elsewhere")]]))
    again = do(file)
    assert not [step.name for step in again.steps if step.status != "reused"] and again.results == first.results
    assert again.config == first.config  # it names the data as it always did
    opens(tmp_path / "a" / "runs" / "r", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "a" / "runs")
    assert do(file).results == first.results  # and from the beginning, too
    text = next((tmp_path / "a" / "runs").glob("r/artifacts/read-*/samples.jsonl")).read_text()
    assert str(tmp_path / "data") in text and "elsewhere" not in text


def test_other_data_at_the_new_root_are_seen(tmp_path: Path, monkeypatch) -> None:
    file = run_file(tmp_path / "a", data(tmp_path / "data"))
    do(file)
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    rows = (tmp_path / "elsewhere" / "samples.jsonl").read_text()
    (tmp_path / "elsewhere" / "samples.jsonl").write_text(rows.replace('"axial"', '"sagit"', 1))
    monkeypatch.setenv(DATA_ROOTS, json.dumps([[str(tmp_path / "data"), str(tmp_path / "elsewhere")]]))
    assert next(step for step in do(file).steps if step.name == "read").status == "done"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/data", "/mnt"), ("/data/x y", "/mnt/x y"), ("/database/x", "/database/x"), ("data/x", "data/x"), ("", "")],
)
def test_only_whole_folders_are_exchanged_and_back_again(monkeypatch, path: str, expected: str) -> None:
    monkeypatch.setenv(DATA_ROOTS, json.dumps([["/data/", "/mnt"]]))
    assert found_now(path) == expected and as_named(found_now(path)) == path
    assert found_now({"a": [path, 1, None]}) == {"a": [expected, 1, None]}


def test_a_relative_path_of_the_data_is_not_taken_for_one_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    sample = make_sample().model_copy(
        update={"media": (Media(uri="media/ab/scan.png"), Media(uri="media/x", sha256="ab" * 32))}
    )
    assert opened(written(sample, tmp_path), tmp_path) == sample
    file = tmp_path / "artifacts" / "read-1" / "samples.jsonl"
    assert run_above(file) is None  # a folder named media is no run yet; Linux has one at the root
    file.parent.mkdir(parents=True)
    assert run_above(file) == tmp_path
