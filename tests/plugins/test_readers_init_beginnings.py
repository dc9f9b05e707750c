"""``infimed init`` from a folder of pictures and a table: images that are not found, patients, test sets, lengths."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from infimed_core import InfimedError, Sample, load_plugins
from infimed_core.cli import application
from infimed_core.testing import make_image
from infimed_plugins.readers.asking import Wish, longest_answer
from infimed_plugins.readers.command import init_command, written
from infimed_plugins.readers.image_names import columns_of_images

FIELDS = ("file", "question", "answer", "patient")
ROWS = [(f"IM_{n:02}.png", "Which plane?", ("axial", "coronal")[n % 2], f"P{n // 2}") for n in range(16)]


def table(place: Path, rows: Iterable[tuple[str, ...]], fields: tuple[str, ...] = FIELDS) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([fields, *rows])
    return place


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures and one table, the current directory above it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "pictures").mkdir(parents=True)
    for number, (name, *_) in enumerate(ROWS):
        (tmp_path / "mine" / "pictures" / name).write_bytes(make_image(seed=number))
    table(tmp_path / "mine" / "labels.csv", ROWS)
    return tmp_path / "mine"


def invoked(*arguments: str) -> Any:
    return CliRunner().invoke(application(load_plugins(), arguments[0]), list(arguments))


def samples_of(source: dict[str, Any]) -> list[Sample]:
    reader: Any = load_plugins().find("reader", source["use"]).model_validate(source["with"])
    return [row for shard in reader.shards() for row in reader.read(shard) if isinstance(row, Sample)]


def asked_of(text: str) -> dict[str, Any]:
    (benchmark,) = yaml.safe_load(text)["evaluation"]["benchmarks"]
    found: dict[str, Any] = benchmark["with"]
    return found


@pytest.mark.parametrize("ending", [".png", ".JPG", ".dcm", ".nii.gz"])
def test_images_that_are_named_and_not_found_are_no_success(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "tables" / "t.csv", [(f"a{n}{ending}" if n else "", "Q?", "yes", "") for n in range(6)])
    with pytest.raises(InfimedError, match=r"column 'file' names images \(a1.*--images FOLDER.*--text-only"):
        init_command(Path("tables"))
    assert not Path("run.yaml").exists()
    init_command(Path("tables"), text_only=True)
    assert invoked("check", "run.yaml").output.count("NO IMAGE") == 0
    assert yaml.safe_load(Path("run.yaml").read_text())["data"]["sources"][0]["with"]["ignore"] == ["file"]


def test_rows_of_json_whose_images_are_not_there_are_no_success_either(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "<image>Which?"}, {"from": "gpt", "value": "A lung."}]
    (tmp_path / "rows.json").write_text(json.dumps([{"image": f"{n}.png", "conversations": talk} for n in range(3)]))
    with pytest.raises(InfimedError, match=r"rows name images \(0\.png"):
        written(tmp_path, tmp_path)


def test_images_in_another_folder_are_found_where_they_are_said_to_be(mine: Path) -> None:
    table(mine.parent / "tables" / "labels.csv", ROWS)
    text, said = written(mine.parent / "tables", mine.parent, wish=Wish(images=mine / "pictures"))
    (source,) = yaml.safe_load(text)["data"]["sources"]
    assert source["with"]["image_root"] == "mine/pictures" and "16 of their 16 images are there" in said
    assert all(Path(sample.media[0].uri or "").is_file() for sample in samples_of(source))


def test_images_named_by_their_full_paths_are_found(mine: Path) -> None:
    rows = [(str(mine / "pictures" / name), *others) for name, *others in ROWS]
    text, said = written(table(mine.parent / "tables" / "t.csv", rows), mine.parent)
    assert "16 of their 16 images are there" in said, text
    assert len(samples_of(yaml.safe_load(text)["data"]["sources"][0])) == 16


def test_check_warns_of_images_that_no_sample_shows(mine: Path) -> None:
    (mine / "own.jsonl").write_text(
        json.dumps({"turns": [{"role": "assistant", "content": ["A"]}], "meta": {"x": 1}}) + "\n"
    )
    for use, settings, told in (
        ("csv", {"path": "mine/labels.csv"}, "'file' names image files (IM_00.png); set columns: {image: file}"),
        ("csv", {"path": "mine/labels.csv", "columns": {"image": "file"}}, "none of the 16 images of the first 16"),
        ("csv", {"path": "mine/labels.csv", "ignore": ["file"]}, ""),
        ("jsonl", {"path": "mine/own.jsonl"}, ""),
    ):
        document = {"run": {"name": "x"}, "data": {"sources": [{"use": use, "with": settings}]}}
        Path("x.yaml").write_text(yaml.safe_dump(document))
        output = " ".join(invoked("check", "x.yaml").output.split())
        assert (told in output) and ("NO IMAGE" in output) == bool(told), output


def test_a_column_names_images_where_most_of_its_cells_do() -> None:
    rows = [{"a": "x.png", "b": "see x.png for it", "c": "['x.png', 'y.png']", "d": None} for _ in range(3)]
    rows += [{"a": "no", "b": "no", "c": "", "d": "x.dcm"}]
    assert list(columns_of_images([*rows, "no row"])) == ["a", "c", "d"]


def test_patients_become_tags_and_clusters(mine: Path) -> None:
    table(mine / "test.csv", ROWS[8:], ("file", "question", "answer", "Subject ID"))
    table(mine / "labels.csv", ROWS[:8], ("file", "question", "answer", "Subject ID"))
    text, _ = written(mine, mine.parent, mine / "test.csv", Wish(model="tiny", train=True))
    (source,) = yaml.safe_load(text)["data"]["sources"]
    asked = asked_of(text)
    assert (
        source["with"]["columns"]["tags"] == {"subject_id": "Subject ID"} == asked["reader"]["with"]["columns"]["tags"]
    )
    assert asked["cluster"] == "subject_id" and "not used" not in text


def test_one_table_becomes_a_test_set_with_no_patient_on_both_sides(mine: Path) -> None:
    table(mine / "labels.csv", [*ROWS, ("IM_00.png", "Which?", "axial", "")])
    options = {"model": "tiny", "train": True, "split_by": "patient"}
    init_command(Path("mine"), **options)  # type: ignore[arg-type]
    text = Path("run.yaml").read_text()
    (source,) = yaml.safe_load(text)["data"]["sources"]
    train, test = samples_of(source), samples_of(asked_of(text)["reader"])
    assert (len(train), len(test)) == (12, 4) and asked_of(text)["cluster"] == "patient"
    assert not {one.tags["patient"] for one in train} & {one.tags["patient"] for one in test}
    assert all(Path(one.media[0].uri or "").is_file() for one in [*train, *test])
    assert "12 rows of 6 values" in text and "4 rows of 2 others" in text and "1 rows have no 'patient'" in text
    checked = invoked("check", "run.yaml")
    assert checked.exit_code == 0 and "NO IMAGE" not in checked.output, checked.output
    before = Path("mine-test.csv").read_bytes()
    with pytest.raises(InfimedError, match=r"mine-train\.csv: is there already"):
        init_command(Path("mine"), to=Path("again.yaml"), **options)  # type: ignore[arg-type]
    init_command(Path("mine"), force=True, **options)  # type: ignore[arg-type]
    assert Path("mine-test.csv").read_bytes() == before


def test_what_cannot_be_divided_is_told(mine: Path) -> None:
    for column, told in (("person", "has no column 'person'"), ("question", "fewer than two values")):
        with pytest.raises(InfimedError, match=told):
            init_command(Path("mine"), split_by=column)
    with pytest.raises(InfimedError, match="leave out --test"):
        init_command(Path("mine"), test=Path("mine/labels.csv"), split_by="patient")
    table(mine / "more.csv", ROWS)
    with pytest.raises(InfimedError, match=r"2 tables \(labels\.csv, more\.csv\)"):
        init_command(Path("mine"), split_by="patient")


def test_a_table_that_holds_the_test_set_is_not_trained_on(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(mine / "test.csv", ROWS[12:])
    init_command(Path("mine"), test=Path("mine/test.csv"), model="tiny", train=True)
    assert "4 of the 16 rows of labels.csv are in the test set: the others are in labels-train.csv" in (
        capsys.readouterr().out
    )
    (source,) = yaml.safe_load(Path("run.yaml").read_text())["data"]["sources"]
    assert source["with"]["path"] == "labels-train.csv" and len(samples_of(source)) == 12
    assert all(Path(one.media[0].uri or "").is_file() for one in samples_of(source))
    table(mine / "train.csv", ROWS[:12])
    for test in (mine / "test.csv", None):  # named, or left out by its name
        text, said = written(mine, mine.parent, test, Wish(model="tiny", train=True))
        assert [one["with"]["path"] for one in yaml.safe_load(text)["data"]["sources"]] == ["mine/train.csv"]
        assert "4 of the 16 rows of labels.csv are in the test set, the others in other tables" in said


def test_columns_of_parquet_are_known_too(mine: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (mine / "labels.csv").unlink()
    pq.write_table(pa.table(dict(zip(FIELDS, zip(*ROWS, strict=True), strict=True))), mine / "rows.parquet")
    (source,) = yaml.safe_load(written(mine, mine.parent)[0])["data"]["sources"]
    assert source["with"]["columns"] == {"image": "file", "tags": {"patient": "patient"}}
    assert all(Path(one.media[0].uri or "").is_file() for one in samples_of(source))
    for name, *_ in ROWS:
        (mine / "pictures" / name).unlink()
    with pytest.raises(InfimedError, match=r"column 'file' names images"):
        written(mine, mine.parent)


def test_tables_of_json_are_compared_and_what_cannot_be_is_left(tmp_path: Path) -> None:
    rows = [{"conversations": [{"from": "human", "value": f"Q{n}?"}, {"from": "gpt", "value": "A."}]} for n in range(6)]
    for name, part in (("all", rows), ("train", rows[:4]), ("test", rows[4:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    text, said = written(tmp_path, tmp_path)
    assert [one["with"]["path"] for one in yaml.safe_load(text)["data"]["sources"]] == ["train.json"]
    assert "2 of the 6 rows of all.json are in the test set, the others in other tables: it is not read" in said
    (tmp_path / "test.json").write_text(json.dumps([{"conversations": []}]))  # no question in it
    assert len(yaml.safe_load(written(tmp_path, tmp_path)[0])["data"]["sources"]) == 2
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "train.json"}}))
    assert "reader 'llava'" in written(tmp_path, tmp_path)[1]


def test_a_test_set_that_is_the_only_table_is_told(mine: Path) -> None:
    for data in ("mine", "mine/labels.csv"):
        with pytest.raises(InfimedError, match=r"its only data, labels\.csv, are the test set.*--split-by"):
            init_command(Path(data), test=Path("mine/labels.csv"), model="tiny", train=True)
    init_command(Path("mine"), test=Path("mine/labels.csv"), model="tiny")  # nothing is trained: no data are needed
    assert "data" not in yaml.safe_load(Path("run.yaml").read_text())


def test_answers_may_be_as_long_as_the_longest_seen(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(mine / "test.csv", [("IM_15.png", "Where?", "upper left lobe of the lung", "P7")])
    table(mine / "labels.csv", ROWS[:12])
    assert asked_of(written(mine, mine.parent, mine / "test.csv", Wish("tiny"))[0])["max_new_tokens"] == 4 * 6 + 16
    assert asked_of(written(mine, mine.parent, mine / "test.csv", Wish("a/b"))[0])["max_new_tokens"] == 4 * 6 + 64
    turns = [{"role": "user", "content": ["Q"]}, {"role": "assistant", "content": ["左肺上叶"]}]
    assert longest_answer([Sample.model_validate({"id": "1", "turns": turns})]) == (1, 12)
    init_command(Path("mine"), test=Path("mine/test.csv"), model="tiny", train=True)
    assert "infimed check run.yaml, infimed preview run.yaml, infimed-run run.yaml" in capsys.readouterr().out
