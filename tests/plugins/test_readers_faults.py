"""Every row of a source is a sample or a fault with its place, whatever is wrong with the row beside it."""

from __future__ import annotations

import io
import json
import os
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from infimed_core import DataError, Fault, Sample
from infimed_core.testing import make_image
from infimed_plugins.readers.directory import Directory
from infimed_plugins.readers.huggingface import HuggingFace
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.medevalkit import MedEvalKit
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.tables import Csv
from infimed_plugins.readers.webdataset import WebDataset


def read(reader: Any) -> list[Sample | Fault]:
    found = [row for shard in reader.shards() for row in reader.read(shard)]
    for row in found:
        row.model_dump_json()
    return found


def codes(rows: list[Sample | Fault]) -> list[str]:
    return [row.code if isinstance(row, Fault) else "ok" for row in rows]


def faults(rows: list[Sample | Fault]) -> list[Fault]:
    return [row for row in rows if isinstance(row, Fault)]


def table(num: int) -> str:
    return "uid,question,answer\n" + "".join(f"u{n},Où?,Réponse {n}.\n" for n in range(num))


# encodings


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-8-sig", "gb18030"])
def test_a_table_in_another_encoding_is_read_by_it_and_else_each_row_is_a_fault_that_says_so(
    tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "t.csv").write_bytes(table(9).encode(encoding))
    columns = {"id": "uid"}
    rows = read(Csv(path=str(tmp_path / "t.csv"), columns=columns, encoding=encoding))
    assert codes(rows) == ["ok"] * 9 and isinstance(rows[4], Sample) and rows[4].turns[-1].text == "Réponse 4."
    plain = read(Csv(path=str(tmp_path / "t.csv"), columns=columns))
    if encoding.startswith("utf"):
        assert plain == rows, "a mark says what it is"
        return
    told = faults(plain)
    assert len(told) == 9 and all("encoding" in fault.detail for fault in told)
    assert [(fault.where.rpartition(":")[2], fault.sample_id) for fault in told] == [
        (f"{n + 2}", f"u{n}") for n in range(9)
    ]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "damage", [(b"Q7", b"Q\xe97"), (b"Q7", b"Q\x007"), (b'"Q7"', b'"Q7'), (b'"Q7"', b"Q7"), (b"Q7", b"\\ud83d")]
)
def test_what_breaks_an_entry_of_an_array_costs_that_entry(
    tmp_path: Path, indent: Any, damage: tuple[bytes, bytes]
) -> None:
    rows = [{"id": f"r{n}", "messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": "A"}]}
            for n in range(20)]  # fmt: skip
    content = json.dumps(rows, indent=indent).encode()
    assert content.count(damage[0]) == 1
    (tmp_path / "t.json").write_bytes(content.replace(*damage))
    found = read(Llava(path=str(tmp_path / "t.json")))
    (fault,) = faults(found)
    assert [row.id for row in found if isinstance(row, Sample)] == [f"r{n}" for n in range(20) if n != 7]
    line = content[: content.index(b'"r7"')].count(b"\n") + (1 if indent is None else 0)
    assert fault.where == f"{tmp_path / 't.json'}:{line}"


def test_a_row_that_no_program_can_nest_costs_itself(tmp_path: Path) -> None:
    deep, good = (
        '{"id": "d", "x": ' + "[" * 200_000 + "]" * 200_000 + "}",
        '{"id": "%s", "question": "Q", "answer": "A"}',
    )
    (tmp_path / "t.json").write_text(f"[{good % 'a'}, {deep}, {good % 'b'}]")
    (tmp_path / "t.jsonl").write_text("\n".join([good % "a", deep, good % "b"]))
    for name in ("t.json", "t.jsonl"):
        assert codes(read(Llava(path=str(tmp_path / name)))) == ["ok", "bad_row", "ok"]


def test_lines_end_with_a_line_feed_alone(tmp_path: Path) -> None:
    said = "a\u2028b\u2029c\u0085d\x0be"
    (tmp_path / "t.jsonl").write_text(json.dumps({"question": said, "answer": said}, ensure_ascii=False) + "\n")
    (row,) = read(Llava(path=str(tmp_path / "t.jsonl")))
    assert isinstance(row, Sample) and [turn.text for turn in row.turns] == [said, said]


def test_half_of_a_character_costs_its_row_and_a_file_name_of_bytes_costs_nothing(tmp_path: Path) -> None:
    said = '"question": "Q", "answer": "A"}'
    starts = ['{"id": "\\ud83d", ', '{"tags": {"t": "\\udc00"}, ', '{"image": "\\udfff.png", ', "{"]
    lines = [start + said for start in starts]
    file = os.path.join(os.fsencode(tmp_path), b"na\xefve.jsonl")
    with open(file, "w") as stream:
        stream.write("\n".join(lines))
    found = read(Llava(path=f"{tmp_path}/na*.jsonl"))
    assert codes(found) == ["bad_row"] * 3 + ["ok"] or codes(found)[:3] == ["bad_row"] * 3
    assert all("surrogate" in fault.detail or "UTF-8" in fault.detail for fault in faults(found)[:3])
    turns = [{"role": "user", "content": ["cut \ud83d"]}]
    (tmp_path / "own.jsonl").write_text(json.dumps({"turns": turns}) + "\n" + json.dumps({"turns": turns, "id": "x"}))
    assert codes(read(Jsonl(path=str(tmp_path / "own.jsonl")))) == ["bad_row", "bad_row"]


# tables


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ('q,"open', 0), ('q,"a" b', 0), ('q,"a""', 0), ("q,a,b", 0), ("q", 0), ("q,a,,,", 1), ('q,"two\nlines"', 1),
        (f"q,{'x' * 300_000}", 1), ('q,a "word"', 1), ("q,\x00", 1),
    ],
)  # fmt: skip
def test_a_row_of_a_table_that_breaks_costs_itself_and_trailing_cells_cost_nothing(
    tmp_path: Path, line: str, good: int
) -> None:
    (tmp_path / "train.csv").write_text(f'question,answer,,\nq0,a0\n{line}\nq1,"a, 1"\nq2,a2,,\n')
    for reader in (Csv(path=str(tmp_path / "train.csv")), MedEvalKit(path=str(tmp_path))):
        found = read(reader)
        assert len(found) == 4 and codes(found).count("ok") == 3 + good, found
        assert isinstance(found[2], Sample) and found[2].turns[-1].text == "a, 1"
        assert [fault.where for fault in faults(found)] == [f"{tmp_path / 'train.csv'}:3"] * (1 - good)


def test_the_delimiter_is_what_the_first_line_has_most_of(tmp_path: Path) -> None:
    for sign in ",;\t|":
        (tmp_path / "t.csv").write_text(
            sign.join(["question", '"the, answer; here"']) + "\n" + sign.join(['"Q, or?"', "A"])
        )
        (row,) = read(Csv(path=str(tmp_path / "t.csv"), columns={"answer": "the, answer; here"}))
        assert isinstance(row, Sample) and [turn.text for turn in row.turns] == ["Q, or?", "A"]


def test_columns_that_no_row_has_are_known_before_a_run(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "t.csv").write_text("question,answer\nQ,A\n")
    pq.write_table(pa.table({"question": ["Q"], "answer": ["A"]}), tmp_path / "t.parquet")
    columns = {"image": "scan", "tags": {"modality": "kind"}}
    for reader in (
        Csv(path=str(tmp_path / "t.csv"), columns=columns),
        Parquet(path=str(tmp_path / "t.parquet"), columns=columns),
    ):
        assert set(reader.problems({})) == {"columns.image", "columns.tags.modality"}
        assert "no column 'scan' (there are: question, answer)" in reader.problems({})["columns.image"]
    for file, kind in (("t.csv", Csv), ("t.parquet", Parquet)):
        assert kind(path=str(tmp_path / file)).problems({}) == {}
        assert set(kind(path=str(tmp_path / file), columns={"answer": "a", "question": "q"}).problems({})) != set()


def test_a_cell_that_python_cannot_hold_costs_its_row_where_it_is_wanted(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    days = pa.array([0, 2**31 - 1, 10], pa.int32()).cast(pa.date32())
    zones = pa.array([0, 1, 2], pa.int64()).cast(pa.timestamp("us", "Moon/Crater"))
    pq.write_table(
        pa.table({"question": ["Q"] * 3, "answer": ["A"] * 3, "day": days, "zone": zones}), tmp_path / "t.parquet"
    )
    path = str(tmp_path / "t.parquet")
    assert codes(read(Parquet(path=path))) == ["ok"] * 3
    found = read(Parquet(path=path, columns={"meta": ["day"], "tags": {"day": "day"}}))
    assert codes(found) == ["ok", "bad_row", "ok"] and "column 'day'" in faults(found)[0].detail
    assert (
        isinstance(found[0], Sample)
        and found[0].meta == {"day": "1970-01-01"}
        and found[0].tags == {"day": "1970-01-01"}
    )
    assert codes(read(Parquet(path=path, columns={"meta": ["zone"]}))) == ["bad_row"] * 3
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    pq.write_table(pa.table({"question": ["Q"] * 40, "answer": [str(n) for n in range(40)]}), path, row_group_size=10,
                   compression="gzip")  # fmt: skip
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    content[place : place + 40] = b"\xff" * 40
    (tmp_path / "t.parquet").write_bytes(content)
    assert codes(read(Parquet(path=path))) == ["ok"] * 10 + ["bad_row"] * 10 + ["ok"] * 20


def test_nested_media_of_a_hugging_face_data_set_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        (tmp_path / "set").mkdir()
        scan = {"bytes": None, "path": "http://127.0.0.1:9/x.png"}
        features = {"question": {"dtype": "string", "_type": "Value"}, "answer": {"dtype": "string", "_type": "Value"},
                    "views": [{"scan": {"_type": "Image"}}], "sound": {"_type": "Audio"}}  # fmt: skip
        rows = pa.table({"question": ["Q"], "answer": ["A"], "views": [[{"scan": scan}]], "sound": [scan]})
        known = json.dumps({"info": {"features": features}}).encode()
        pq.write_table(rows.replace_schema_metadata({b"huggingface": known}), tmp_path / "set" / "train.parquet")
        reader = HuggingFace(path=str(tmp_path / "set"), columns={"meta": ["views"]})
        (row,) = read(reader)
    assert isinstance(row, Sample) and row.meta == {"views": [{"scan": scan}]}


# shards and folders


def shard(file: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def test_keys_that_repeat_or_lack_their_picture_are_faults_and_a_uid_is_a_key(tmp_path: Path) -> None:
    image = make_image()
    for order in (("png", "txt"), ("txt", "png")):
        members = [(f"{key}.{ending}", image if ending == "png" else b"x") for ending in order for key in "ab"]
        found = read(WebDataset(path=str(shard(tmp_path / "s.tar", *members))))
        assert "ok" not in codes(found) and codes(found)[2:] == ["repeated_key"] * 2
    twice = [("a.png", image), ("a.txt", b"first"), ("a.png", image), ("a.txt", b"second")]
    first, second = read(WebDataset(path=str(shard(tmp_path / "s.tar", *twice))))
    assert isinstance(first, Sample) and first.turns[-1].text == "first"
    assert isinstance(second, Fault) and (second.code, second.sample_id) == ("repeated_key", "a")
    uids = [
        (f"{uid}.{ending}", image if ending == "png" else b"x")
        for uid in ("1.2.840.1", "CT.1.2.3.9")
        for ending in ("png", "txt")
    ]
    found = read(WebDataset(path=str(shard(tmp_path / "s.tar", *uids))))
    assert [row.id for row in found if isinstance(row, Sample)] == ["1.2.840.1", "CT.1.2.3.9"]
    alone = shard(tmp_path / "s.tar", ("k.json", b'{"question": "Q", "answer": "A"}'))
    assert codes(read(WebDataset(path=str(alone)))) == ["missing_media"]
    assert codes(read(WebDataset(path=str(alone), text_only=True))) == ["ok"]


@pytest.mark.parametrize("ending", ["heic", "svg", "mp4", "npy", "cls"])
def test_a_member_that_nothing_reads_is_a_fault_by_its_ending(tmp_path: Path, ending: str) -> None:
    path = str(shard(tmp_path / "s.tar", ("k.png", make_image()), (f"k.{ending}", b"x"), ("k.txt", b"A scan.")))
    (fault,) = read(WebDataset(path=path))
    assert isinstance(fault, Fault) and fault.code == "unsupported_member" and f"ignore: [{ending}]" in fault.detail
    assert codes(read(WebDataset(path=path, ignore=(ending,)))) == ["ok"]


def test_images_of_a_sample_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    images = [(f"k.{number}.png", make_image() + bytes([number])) for number in (10, 9, 1, 2)]
    said = json.dumps({"question": "<image><image><image><image>?", "answer": "A"}).encode()
    (row,) = read(WebDataset(path=str(shard(tmp_path / "s.tar", *images, ("k.json", said)))))
    assert isinstance(row, Sample) and [(medium.data or b"")[-1] for medium in row.media] == [1, 2, 9, 10]


def test_a_folder_is_read_as_it_is_and_nothing_outside_it(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.txt"
    root.mkdir()
    outside.write_text("secret")
    dicom = bytes(128) + b"DICM" + bytes(300)
    for name in ("IM10", "IM9", "x.pgm", "y.IMA", "1.2.840.7", "n.png", "out.png"):
        (root / name).write_bytes(dicom if "png" not in name else make_image())
        (root / f"{name.split('.')[0] if not name[0].isdigit() else name}.txt").write_text(name)
    (root / "out.txt").unlink()
    (root / "out.txt").symlink_to(outside)
    for name, target in (("loop.png", "loop.png"), ("gone.png", "nowhere"), ("link.png", str(outside))):
        (root / name).symlink_to(target)
        (root / name.replace("png", "txt")).write_text("x")
    os.mkfifo(root / "pipe.png")
    (root / "pipe.txt").write_text("x")
    (root / "h.heic").write_bytes(b"x")
    (root / "h.txt").write_text("x")
    (root / "alone.txt").write_text("x")
    reader = Directory(path=str(root))
    found = read(reader)
    assert reader.fingerprint() == Directory(path=str(root)).fingerprint()
    kinds = {row.id: row.media[0].kind for row in found if isinstance(row, Sample)}
    assert {
        "IM9": "dicom",
        "IM10": "dicom",
        "y.IMA": "dicom",
        "1.2.840.7": "dicom",
        "n.png": "image",
    }.items() <= kinds.items()
    assert [name for name in kinds if name.startswith("IM")] == ["IM9", "IM10"]
    by_name = {Path(fault.where).name: fault.code for fault in faults(found)}
    wanted = {"out.png": "outside_root", "link.png": "outside_root", "pipe.png": "unreadable", "h.txt": "unsupported",
              "alone.txt": "missing_media"}  # fmt: skip
    assert wanted.items() <= by_name.items(), by_name
    assert not any("secret" in turn.text for row in found if isinstance(row, Sample) for turn in row.turns)


def test_a_pipe_is_no_file_to_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    for kind in (Jsonl, Llava, Csv, Parquet, WebDataset):
        with pytest.raises(DataError, match="no plain file"):
            kind(path=str(tmp_path / "rows.jsonl")).files()


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "x" * 300, "a\0b", "a/" * 3000 + "b.png"])
def test_a_name_that_no_file_can_have_stops_nothing(tmp_path: Path, name: str) -> None:
    rows = [{"question": "Q", "answer": "A", "image": name}, {"question": "Q", "answer": "A"}]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    for reader in (Llava(path=str(tmp_path / "train.json")), MedEvalKit(path=str(tmp_path))):
        found = read(reader)
        assert len(found) == 2 and isinstance(found[1], Sample)


def test_a_line_that_no_memory_should_hold_is_one_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infimed_plugins.readers import texts

    monkeypatch.setattr(texts, "LONGEST_LINE", 100)
    good = json.dumps({"question": "Q", "answer": "A"})
    (tmp_path / "t.jsonl").write_text("\n".join([good, "x" * 950, good, "y" * 100, good]))
    assert codes(read(Llava(path=str(tmp_path / "t.jsonl")))) == ["ok", "too_large", "ok", "too_large", "ok"]


@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_is_a_row_or_holds_the_rows(tmp_path: Path, indent: Any) -> None:
    rows = [{"question": f"Q{number}", "answer": "A"} for number in range(3)]
    (tmp_path / "train.json").write_text(json.dumps({"version": "1", "data": rows}, indent=2))
    for reader in (Llava(path=str(tmp_path / "train.json")), MedEvalKit(path=str(tmp_path))):
        assert codes(read(reader)) == ["ok"] * 3
    (tmp_path / "train.json").write_text(json.dumps(rows[0], indent=indent))
    assert codes(read(Llava(path=str(tmp_path / "train.json")))) == ["ok"]


def test_what_spreadsheets_and_programs_write_in_cells_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        'sep=;\nquestion;answer;images\nQ, or?;A;"[""a.png"", \'b.png\']"\nQ;A;"[\'c.png\', None]"\n'
    )
    first, second = read(Csv(path=str(tmp_path / "t.csv")))
    assert isinstance(first, Sample) and [Path(medium.uri or "").name for medium in first.media] == ["a.png", "b.png"]
    assert isinstance(second, Fault) and second.code == "missing_media" and second.where.endswith(":4")
    (tmp_path / "u.csv").write_text("question,label,objects\nIs it so?,False,[1]\n")
    (row,) = read(Csv(path=str(tmp_path / "u.csv"), columns={"answer": "label", "meta": ["objects"]}))
    assert isinstance(row, Sample) and row.turns[-1].text == "False", "a column that is named means what is said of it"


@pytest.mark.parametrize("uri", ["/etc/hostname", "../x.png", "link.png"])
def test_the_parts_of_a_montage_stay_inside_the_root(tmp_path: Path, uri: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.png").symlink_to("/etc/hostname")
    turns = [{"role": "user", "content": [0, "Q"]}, {"role": "assistant", "content": ["A"]}]
    for parts in ([{"uri": uri}], [{"uri": "a.png"}, {"uri": uri}]):
        for own in ({}, {"uri": "a.png"}):
            medium = {"kind": "montage", "options": {"parts": parts, "columns": 1}, **own}
            (tmp_path / "data" / "m.jsonl").write_text(json.dumps({"turns": turns, "media": [medium]}))
            (row,) = read(Jsonl(path=str(tmp_path / "data" / "m.jsonl")))
            assert isinstance(row, Fault) and row.code == "outside_root"
    medium["options"] = {"parts": [{"uri": "a.png"}], "columns": 1}
    (tmp_path / "data" / "m.jsonl").write_text(json.dumps({"turns": turns, "media": [medium]}))
    (row,) = read(Jsonl(path=str(tmp_path / "data" / "m.jsonl")))
    assert isinstance(row, Sample) and row.media[0].options["parts"] == [
        {"uri": str(tmp_path / "data" / "a.png"), "kind": "image"}
    ]
