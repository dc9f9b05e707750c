"""Readers in a run: rows out are rows in, whatever was done to a file; an archive as people have it is read whole."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimed_core import DataError, Fault, InfimedError, RunEvent, Sample, load_plugins
from infimed_core.testing import make_image, run
from infimed_plugins.readers.columns import Columns
from infimed_plugins.readers.directory import Directory
from infimed_plugins.readers.huggingface import HuggingFace
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.medevalkit import MedEvalKit
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.studies import Studies
from infimed_plugins.readers.tables import Csv
from infimed_plugins.readers.webdataset import WebDataset
from infimed_plugins.volumes.reader import Volumes


def read(reader: Any) -> list[Sample | Fault]:
    return [row for shard in reader.shards() for row in reader.read(shard)]


def table(num: int) -> str:
    return "uid,question,answer\n" + "".join(f"u{n},Où?,Réponse {n}.\n" for n in range(num))


def lines_of(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def test_two_files_that_count_their_ids_from_0_are_two_files_and_a_double_is_a_double(tmp_path: Path) -> None:
    def rows(*answers: str) -> str:
        return json.dumps(
            [{"id": number, "question": "Q", "answer": said} for number, said in enumerate(answers)], indent=1
        )

    for place, said in (("a.json", ("x", "y")), ("b.json", ("z", "y")), ("sub/a.json", ("w",))):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(rows(*said))
    (tmp_path / "c.json").write_text(json.dumps([{"id": "n", "question": "Q", "answer": s} for s in "pq"], indent=1))
    sources = [{"use": "llava", "with": {"path": str(tmp_path / name)}} for name in ("*.json", "sub/*.json")]
    record = run({"run": {"name": "two"}, "data": {"sources": sources}}, tmp_path)
    step = next(step for step in record.steps if step.name == "read")
    assert (step.num_in, step.num_out, step.dropped) == (7, 5, {"duplicate_id": 2})
    artifact = tmp_path / "runs" / "two" / str(step.artifact)
    kept = {row["id"]: row["turns"][-1]["content"][0] for row in lines_of(artifact / "samples.jsonl")}
    assert list(kept.values()) == ["x", "y", "z", "p", "w"] and len(kept) == 5
    assert kept["0"] == "x" and kept["0@b.json"] == "z" and kept["0@a.json"] == "w"
    told = lines_of(artifact / "faults.jsonl")
    assert [fault["where"] for fault in told] == [f"{tmp_path / 'b.json'}:7", f"{tmp_path / 'c.json'}:7"]


def test_a_source_with_many_faults_is_told_and_a_run_without_a_sample_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(table(55).encode("cp1252"))
    (tmp_path / "u.csv").write_bytes(table(55).encode())
    (tmp_path / "m.csv").write_bytes(table(55).encode() + table(9).encode("cp1252"))
    source = {"use": "csv", "with": {"path": str(tmp_path / "t.csv"), "columns": {"id": "uid"}}}
    with pytest.raises(
        InfimedError, match=r"no sample in any source; left out: .*t.csv:2: sample 'u0': bad_row: .*encoding"
    ):
        run({"run": {"name": "none"}, "data": {"sources": [source]}}, tmp_path)
    body = json.loads((tmp_path / "runs" / "none" / "run.json").read_text())
    assert body["status"] == "failed"
    mixed = {"use": "csv", "with": {"path": str(tmp_path / "m.csv")}}
    events: list[RunEvent] = []
    run({"run": {"name": "some"}, "data": {"sources": [mixed]}}, tmp_path, events)
    told = [str(event.payload.get("text")) for event in events]
    assert any("data.sources.0: the reader 'csv' left out 9 of 65 rows (14%)" in text for text in told), told
    source["with"] |= {"encoding": "cp1252"}  # type: ignore[operator]
    record = run({"run": {"name": "none"}, "data": {"sources": [source]}}, tmp_path)
    assert next(step for step in record.steps if step.name == "read").num_out == 55


def test_what_a_source_lacks_is_told_by_check(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from infimed_core.cli import application

    (tmp_path / "none.csv").write_bytes(table(55).encode("cp1252"))
    (tmp_path / "some.csv").write_bytes(table(55).encode() + table(9).encode("cp1252"))
    (tmp_path / "good.csv").write_bytes(table(55).encode())
    (tmp_path / "empty.csv").write_bytes(table(0).encode())
    sources = [
        {"use": "csv", "with": {"path": str(tmp_path / f"{name}.csv")}} for name in ("none", "some", "good", "empty")
    ]
    (tmp_path / "run.yaml").write_text(json.dumps({"run": {"name": "told"}, "data": {"sources": sources}}))
    checked = CliRunner().invoke(application(load_plugins(), "check"), ["check", str(tmp_path / "run.yaml")])
    said = " ".join(checked.output.split())
    assert "data.sources.0: NO SAMPLE in the first 55 rows; " in said and "none.csv:2: bad_row: not UTF-8" in said
    assert "data.sources.1: 9 of the first 65 rows are no samples" in said and "data.sources.2" not in said
    assert "data.sources.3: NO SAMPLE in the first 0 rows" in said and checked.exit_code == 0


def test_a_tag_that_a_selector_or_a_split_names_and_no_row_has_is_told_by_check(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from infimed_core.cli import application

    (tmp_path / "t.csv").write_text("question,answer,m\n" + "Q,A,CT\n" * 9)
    source = {"use": "csv", "with": {"path": str(tmp_path / "t.csv"), "columns": {"tags": {"m": "m"}}}}
    for tag in ("m", "nope"):
        select = {"use": "top-share", "with": {"keep": 0.5, "per_tag": tag}}
        body = {"run": {"name": "told"}, "data": {"sources": [source], "split": {"by": tag}}}
        body["quality"] = {"scorers": [{"use": "five-dimension"}], "select": select}
        (tmp_path / "run.yaml").write_text(json.dumps(body))
        said = CliRunner().invoke(application(load_plugins(), "check"), ["check", str(tmp_path / "run.yaml")]).output
        for place in ("quality.select.with.per_tag", "data.split.by"):
            told = f"{place}: no sample of the first 9 has the tag '{tag}' (there are: m, split)"
            assert (told in " ".join(said.split())) == (tag == "nope"), said


@pytest.mark.parametrize("tag", ["source", "identity"])
def test_check_does_not_doubt_a_tag_that_a_run_adds_itself(tmp_path: Path, tag: str) -> None:
    from infimed_plugins.reporting.check import lines_about

    (tmp_path / "t.csv").write_text("question,answer\n" + "Q,A\n" * 9)
    source = {"use": "csv", "with": {"path": str(tmp_path / "t.csv")}}
    body = {"run": {"name": "told"}, "data": {"sources": [source], "split": {"by": tag}}}
    (tmp_path / "run.yaml").write_text(json.dumps(body))
    assert not [line for line in lines_about(tmp_path / "run.yaml", load_plugins(), {}) if "has the tag" in line]


def test_check_fetches_no_data_set_from_a_hub_to_look_for_a_tag(tmp_path: Path, monkeypatch) -> None:
    from infimed_plugins.readers.huggingface import HuggingFace
    from infimed_plugins.reporting.check import lines_about

    asked = []
    monkeypatch.setattr(HuggingFace, "shards", lambda self: asked.append(self.path) or ())
    monkeypatch.chdir(tmp_path)
    for path in ("owner/name", "here"):
        (tmp_path / "here").mkdir(exist_ok=True)
        source = {"use": "huggingface", "with": {"path": path}}
        body = {"run": {"name": "told"}, "data": {"sources": [source], "split": {"by": "patient"}}}
        (tmp_path / "run.yaml").write_text(json.dumps(body))
        lines_about(tmp_path / "run.yaml", load_plugins(), {})
    assert asked == ["here"]


# damage

ROWS = 12


def _lines(folder: Path, row: Callable[[int], Any]) -> bytes:
    return "\n".join(json.dumps(row(number)) for number in range(ROWS)).encode() + b"\n"


def _talk(number: int) -> dict[str, Any]:
    said = [{"from": "human", "value": f"Q{number}, é?"}, {"from": "gpt", "value": f"A{number}"}]
    return {"id": f"r{number}", "image": "a.png", "conversations": said[: 2 - (number == 0)] if number else said}


def _own(number: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": [f"Q{number}"]}, {"role": "assistant", "content": ["A"]}]
    return {"id": f"r{number}", "turns": turns}


def _array(folder: Path) -> bytes:
    return json.dumps([_talk(number) for number in range(ROWS)], indent=1).encode()


def _table(folder: Path) -> bytes:
    lines = [f'{n},"What, {n}?",left,right,"B"' for n in range(ROWS)]
    return ("id,question,A,B,answer\n" + "\n".join(lines) + "\n").encode()


def _parquet(folder: Path) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": ["Q"] * ROWS, "answer": ["A"] * ROWS, "image": [make_image()] * ROWS}),
                   folder / "made.parquet", row_group_size=4)  # fmt: skip
    return (folder / "made.parquet").read_bytes()


def _tar(folder: Path) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for number in range(4):
            for ending, content in (("png", make_image()), ("json", json.dumps(_talk(1)).encode())):
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return held.getvalue()


def _named(folder: Path) -> bytes:
    for place in ("data/p1", "data"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "t.png").write_bytes(make_image())
    return "Ein Befund, größer.\n".encode() * 4


def _arrow(folder: Path) -> bytes:
    import datasets

    datasets.disable_progress_bars()
    rows = {"question": ["Q"] * ROWS, "answer": ["A"] * ROWS, "image": [make_image()] * ROWS}
    datasets.Dataset.from_dict(rows).save_to_disk(str(folder / "data"))
    return (folder / "data" / "data-00000-of-00001.arrow").read_bytes()


def _volume(folder: Path) -> bytes:
    import nibabel

    (folder / "data").mkdir()
    turns = [{"role": "user", "content": [0, "Q"]}, {"role": "assistant", "content": ["A"]}]
    (folder / "rows.jsonl").write_text(json.dumps({"turns": turns, "media": [{"uri": "data/v.nii.gz"}]}) + "\n")
    return gzip.compress(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_bytes())


def _slice(folder: Path) -> bytes:
    import pydicom
    from pydicom.data import get_testdata_file

    (folder / "data" / "ct").mkdir(parents=True)
    made = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for number in range(2):
        made.ImagePositionPatient = [0, 0, 5.0 * number]
        made.save_as(folder / "data" / "ct" / f"{number}.dcm")
    turns = [{"role": "user", "content": [0, "Q"]}, {"role": "assistant", "content": ["A"]}]
    (folder / "rows.jsonl").write_text(json.dumps({"turns": turns, "media": [{"uri": "data/ct"}]}) + "\n")
    made.ImagePositionPatient = [0, 0, 20.0]
    made.save_as(folder / "third.dcm")
    return (folder / "third.dcm").read_bytes()


def _cut(path: str) -> Volumes:
    return Volumes(reader={"use": "jsonl", "with": {"path": str(Path(path).parent / "rows.jsonl")}}, num_slices=2)


def _asked(path: str) -> Csv:
    return Csv(path=path, columns=Columns(options=("A", "B")))


KINDS: dict[str, tuple[Any, str, Callable[[Path], bytes]]] = {
    "jsonl": (Jsonl, "train.jsonl", lambda folder: _lines(folder, _own)),
    "lines": (Llava, "train.jsonl", lambda folder: _lines(folder, _talk)),
    "array": (Llava, "train.json", _array),
    "csv": (_asked, "train.csv", _table),
    "medevalkit": (MedEvalKit, "", _table),
    "parquet": (Parquet, "train.parquet", _parquet),
    "webdataset": (WebDataset, "train.tar", _tar),
    "directory": (Directory, "t.txt", _named),
    "studies": (Studies, "p1/report.txt", _named),
    "huggingface": (HuggingFace, "data-00000-of-00001.arrow", _arrow),
    "volume": (_cut, "v.nii.gz", _volume),
    "series": (_cut, "ct/2.dcm", _slice),
}
"""Reader, the file that is damaged, and what writes it beside the others that the reader needs."""
FOLDERS = ("medevalkit", "directory", "studies", "huggingface", "volume", "series")
"""Of these, those whose path is the folder."""
ONE_FOR_EACH = {"directory": 2, "studies": 2, "volume": 1, "series": 1}
"""Rows of what stays as many rows whatever is in the file that is damaged."""
CASES = int(os.environ.get("INFIMED_FUZZ_CASES", "100"))


def damaged(good: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with some flipped, cut, repeated, moved or put in."""
    bad = bytearray(good)
    for _ in range(int(rng.integers(1, 4))):
        place, length = int(rng.integers(0, len(bad))), int(rng.integers(1, 40))
        what = rng.integers(0, 5)
        if what == 0:
            bad[place] = int(rng.integers(0, 256))
        elif what == 1:
            del bad[place : place + length]
        elif what == 2:
            bad[place:place] = bad[place : place + length]
        elif what == 3:
            bad[place:place] = rng.choice(
                [b'"', b"\n", b"\x00", b"\xff\xfe", b"{", b"]", b",", b"\\ud83d", b"\xe2\x80\xa8"]
            )
        else:
            del bad[place + length * 20 :]
        if not bad:
            return b""
    return bytes(bad)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_no_damage_ends_a_reader_and_every_fault_has_a_place(tmp_path: Path, name: str) -> None:
    kind, file, make = KINDS[name]
    good, rng = make(tmp_path), np.random.default_rng(20)
    place = tmp_path / "data" / (file or "train.csv")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(good)
    path = str(tmp_path / "data") if name in FOLDERS else str(place)
    reader = kind(path=path)
    assert any(isinstance(row, Sample) for row in read(reader))
    for _ in range(CASES):
        place.write_bytes(damaged(good, rng))
        try:
            rows = read(kind(path=path) if name == "huggingface" else reader)  # which keeps what it has opened
        except DataError as error:  # a data set that cannot be opened at all: one line, and the run ends
            assert name == "huggingface" and error.code == "bad_file" and "\n" not in str(error)
            continue
        for row in rows:
            row.model_dump_json()
            assert isinstance(row, Sample) or (
                row.where.startswith(str(tmp_path)) and row.code and "\n" not in row.detail
            )
        if name in ONE_FOR_EACH:
            assert len(rows) == ONE_FOR_EACH[name], "rows out are rows in"


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
def test_a_byte_that_changes_in_a_file_of_bytes_loses_no_row(tmp_path: Path, name: str) -> None:
    """Bytes that say how many rows or members follow are left as they are: what they lose cannot be counted."""
    kind, file, make = KINDS[name]
    good, rng = make(tmp_path), np.random.default_rng(11)
    place = tmp_path / file
    place.write_bytes(good)
    num_rows = len(read(kind(path=str(place))))
    if name == "parquet":  # pages of values, which end where the footer begins
        places = list(range(4, len(good) - 8 - int.from_bytes(good[-8:-4], "little")))
    else:
        with tarfile.open(fileobj=io.BytesIO(good)) as tar:
            places = [at for one in tar for at in range(one.offset_data, one.offset_data + one.size)]
    for _ in range(min(CASES, 300)):
        at = int(rng.choice(places))
        place.write_bytes(good[:at] + bytes([int(rng.integers(0, 256))]) + good[at + 1 :])
        found = read(kind(path=str(place)))
        assert len(found) == num_rows, (at, [row for row in found if isinstance(row, Fault)])


@pytest.mark.parametrize("name", ["jsonl", "lines", "array", "csv", "medevalkit"])
def test_a_byte_that_changes_inside_a_row_loses_no_row(tmp_path: Path, name: str) -> None:
    kind, file, make = KINDS[name]
    good, rng = make(tmp_path), np.random.default_rng(7)
    place = tmp_path / "data" / (file or "train.csv")
    place.parent.mkdir()
    # The bytes of the seventh row that are no end of line: what begins and ends a row is its own matter.
    marks = {"array": b'"id": "r7"', "csv": b"7,", "medevalkit": b"7,"}
    start = good.index(marks.get(name, b'"id": "r7"')) + 2
    stop = good.index(marks.get(name, b'"id": "r7"').replace(b"7", b"8")) - 12
    for _ in range(150):
        at = int(rng.integers(start, stop))
        byte = int(rng.choice([*b'"{}[]:,\\x', 0, 0x80, 0xE9, 0xFF]))
        if good[at] in b"\n" or byte == 10:
            continue
        place.write_bytes(good[:at] + bytes([byte]) + good[at + 1 :])
        found = read(kind(path=str(place if file else place.parent)))
        whole = sum(isinstance(row, Sample) for row in found)
        assert len(found) == ROWS and whole >= ROWS - 1, (
            at,
            bytes([byte]),
            [row for row in found if isinstance(row, Fault)],
        )


# an archive as people have it

STUDY = "1.2.826.0.1.3680043.8.498"


def write_archive(folder: Path) -> int:
    """Films named by UID, with and without endings, and a table of Windows that names them without; rows written."""
    films = folder / "films"
    films.mkdir(parents=True)
    rows = ["film;question;finding;sex;;"]
    for number in range(55):
        uid = f"{STUDY}.{number}"
        if number % 5:
            (films / f"{uid}.png").write_bytes(make_image(seed=number))
        else:
            (films / uid).write_bytes(bytes(128) + b"DICM" + bytes(300))
        rows.append(f'{uid};Que voit-on ?;"Épanchement n° {number}, œdème.";{"FM"[number % 2]};;')
    content = "\r\n".join(rows).encode("cp1252")
    bad = content.index("n° 33".encode("cp1252"))
    (folder / "liste.csv").write_bytes(content[:bad] + b"\x81" + content[bad:] + b"\r\n")  # no letter of cp1252
    return 55


RUN_FILE = """\
run: {name: archive}
data:
  sources:
    - use: csv
      with:
        path: liste.csv
        encoding: cp1252
        image_root: films
        columns: {image: film, answer: finding, tags: {sex: sex}}
"""


def test_an_archive_as_people_have_it_is_read_by_a_run_file_of_ten_lines(tmp_path: Path, monkeypatch: Any) -> None:
    import yaml

    num_rows = write_archive(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert RUN_FILE.count("\n") <= 10
    record = run(yaml.safe_load(RUN_FILE), tmp_path)
    step = next(step for step in record.steps if step.name == "read")
    assert (step.num_in, step.num_out, step.dropped) == (num_rows, num_rows - 1, {"bad_row": 1})
    artifact = tmp_path / "runs" / "archive" / str(step.artifact)
    (fault,) = lines_of(artifact / "faults.jsonl")
    assert fault["where"].endswith("liste.csv:35") and "byte 0x81 in 'finding'" in fault["detail"]
    rows = lines_of(artifact / "samples.jsonl")
    assert rows[1]["turns"][-1]["content"] == ["Épanchement n° 1, œdème."] and rows[1]["tags"]["sex"] == "M"
    assert all(Path(row["media"][0]["uri"]).is_file() for row in rows)
    assert [row["media"][0]["kind"] for row in rows[:6]] == ["dicom", "image", "image", "image", "image", "dicom"]
