"""Names as other systems write them, archives that break, texts that nobody sees: each a sample or a told fault."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from infimed_core import DataError, Fault, InfimedError, Media, Sample
from infimed_core.testing import make_image
from infimed_plugins.dicom.modality import Dicom
from infimed_plugins.nifti.modality import Nifti
from infimed_plugins.readers.directory import Directory
from infimed_plugins.readers.dividing import write_table
from infimed_plugins.readers.guessing import guess
from infimed_plugins.readers.huggingface import HuggingFace
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.medevalkit import MedEvalKit
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.tables import Csv
from infimed_plugins.readers.webdataset import WebDataset

ROENTGEN = unicodedata.normalize("NFC", "Röntgen/Müller.png")


def read(reader: Any) -> list[Any]:
    return [row for shard in reader.shards() for row in reader.read(shard)]


def codes(rows: Sequence[Any]) -> list[str]:
    return [row.code if isinstance(row, Fault) else "ok" for row in rows]


def said(rows: Sequence[Any]) -> list[str]:
    return [row.turns[-1].text for row in rows if isinstance(row, Sample)]


def put(place: Path, seed: int = 0) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(make_image(8, 8, seed=seed))
    return place


def one_row(folder: Path, **row: Any) -> Any:
    (folder / "t.json").write_text(json.dumps([{"question": "Q?", "answer": "A.", **row}]))
    (found,) = read(Llava(path=str(folder / "t.json")))
    return found


# names


@pytest.mark.parametrize(
    ("on_disk", "in_row"),
    [
        (unicodedata.normalize("NFD", ROENTGEN), ROENTGEN),
        (ROENTGEN, unicodedata.normalize("NFD", ROENTGEN)),
        ("IM1.PNG", "im1.png"),
        ("IM1.PNG", "im1"),
        ("Scans/Chest/A.JPG", "scans\\chest\\a.jpg"),
    ],
)
def test_a_name_finds_its_file_in_other_cases_and_in_composed_or_split_letters(
    tmp_path: Path, on_disk: str, in_row: str
) -> None:
    own = put(tmp_path / on_disk)
    put(own.with_name("other.png"), seed=1)
    (tmp_path / "train.csv").write_text(f"image,question,answer\n{in_row},Q?,A.\n")
    hub = HuggingFace(path=str(tmp_path / "hub"), image_root=str(tmp_path), split="train")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.csv").write_text(f"image,question,answer\n{in_row},Q?,A.\n")
    for reader in (Csv(path=str(tmp_path / "train.csv")), hub):
        (row,) = read(reader)
        assert row.media[0].uri == str(own)


def test_a_file_of_exactly_that_name_comes_first_and_two_that_fit_alike_are_a_fault(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "A.png", "B.png", "b.PNG")):
        put(tmp_path / name, seed)
    (tmp_path / "t.csv").write_text("image,question,answer\na.png,Q?,A.\nA.png,Q?,A.\nb.png,Q?,A.\nB.png,Q?,A.\n")
    rows = read(Csv(path=str(tmp_path / "t.csv")))
    assert codes(rows) == ["ok", "ok", "ambiguous_media", "ok"]
    assert [os.path.basename(str(row.media[0].uri)) for row in rows if isinstance(row, Sample)] == [
        "a.png",
        "A.png",
        "B.png",
    ]


@pytest.mark.parametrize("name", ["a.png", "A", "deep/A.png", "DEEP/a.png"])
@pytest.mark.parametrize("twice", [False, True])
def test_the_reader_of_hub_data_sets_looks_in_folders_below_where_it_is_told_to(
    tmp_path: Path, name: str, twice: bool
) -> None:
    images = tmp_path / "images"
    own = put(images / "deep" / "A.png")
    if twice:
        put(images / "other" / "A.png", seed=3)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text(f"image,question,answer\n{name},Q?,A.\n")
    (row,) = read(HuggingFace(path=str(tmp_path / "data"), image_root=str(images), search_below=True))
    if twice and "/" not in name:
        assert row.code == "ambiguous_media"
    else:
        assert row.media[0].uri == str(own)


# archives


def tar(members: Sequence[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def pair(key: str) -> list[tuple[str, bytes]]:
    return [(f"{key}.png", make_image(4, 4)), (f"{key}.txt", f"caption {key}".encode())]


@pytest.mark.parametrize("num_bytes", [-10_240, 300, 511])
def test_a_tar_that_ends_within_a_header_or_without_its_end_mark_keeps_its_samples_and_is_told(
    tmp_path: Path, num_bytes: int
) -> None:
    whole = tar([*pair("a"), *pair("b")])
    end = len(whole.rstrip(b"\0"))
    end += -end % 512
    cut = whole[:end] if num_bytes < 0 else whole[:end] + tar(pair("c"))[:num_bytes]
    (tmp_path / "s.tar").write_bytes(cut)
    rows = read(WebDataset(path=str(tmp_path / "s.tar")))
    assert codes(rows) == ["ok", "bad_file"] and "after 'b'" in rows[1].detail


def test_a_header_that_is_rubbish_ends_a_tar_with_a_fault_and_not_in_silence(tmp_path: Path) -> None:
    content = bytearray(tar([*pair("a"), *pair("b"), *pair("c")]))
    at = content.find(b"b.png")
    content[at : at + 512] = bytes(range(256)) * 2
    (tmp_path / "s.tar").write_bytes(content)
    assert codes(read(WebDataset(path=str(tmp_path / "s.tar"))))[-1] == "bad_file"


def test_tars_that_were_written_behind_one_another_are_read_to_the_last(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(tar(pair("a")) + tar(pair("b")))
    assert said(read(WebDataset(path=str(tmp_path / "s.tar")))) == ["caption a", "caption b"]


def test_what_stands_behind_the_end_of_a_tar_costs_no_sample_before_it(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(tar([*pair("a"), *pair("b")]) + b"junk" * 200)
    rows = read(WebDataset(path=str(tmp_path / "s.tar")))
    assert said(rows) == ["caption a", "caption b"] and codes(rows)[-1] == "bad_file"


def test_a_pointer_in_place_of_a_table_or_volume_is_called_one(tmp_path: Path) -> None:
    content = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for name, kind in (("t.csv", Csv), ("t.json", Llava), ("t.parquet", Parquet), ("t.tar", WebDataset)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="git lfs pull"):
            read(kind(path=str(tmp_path / name)))
    for modality in (Nifti(), Dicom()):
        with pytest.raises(DataError, match="git lfs pull"):
            modality.load(Media(data=content))


def test_a_volume_in_two_files_is_found_by_either_name(tmp_path: Path) -> None:
    volume = nibabel.Nifti1Pair(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))  # type: ignore[no-untyped-call]
    nibabel.save(volume, tmp_path / "p.img")
    (tmp_path / "t.csv").write_text("image,question,answer\np.img,Q?,A.\np.hdr,Q?,A.\n")
    assert [row.media[0].kind for row in read(Csv(path=str(tmp_path / "t.csv")))] == ["nifti", "nifti"]
    (tmp_path / "p.txt").write_text("A volume.")
    (row,) = read(Directory(path=str(tmp_path)))
    assert row.media[0].kind == "nifti" and row.id == "p.img", "one medium, not two"


# texts and images in rows


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", " \u2060\n", "\u00ad"])
def test_a_text_that_nobody_sees_is_empty(tmp_path: Path, text: str) -> None:
    assert one_row(tmp_path, answer=text).code == "empty_text"
    turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": text}]
    assert one_row(tmp_path, question=None, answer=None, conversations=turns).code == "empty_text"
    assert said([one_row(tmp_path, answer=f"normal{text}")]) == [f"normal{text}"]


def test_base64_in_lines_is_an_image_and_one_without_data_a_fault(tmp_path: Path) -> None:
    content = make_image(8, 8)
    folded = base64.encodebytes(content).decode()
    assert one_row(tmp_path, image=f"data:image/png;base64,{folded}").media[0].data == content
    assert one_row(tmp_path, image=folded).media[0].data == content
    assert one_row(tmp_path, image="data:image/png;base64,").code == "bad_row"


def test_an_image_that_a_table_holds_as_a_list_of_numbers_is_an_image(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = make_image(8, 8)
    images = pa.array([list(content), [7, 8, 9]], pa.list_(pa.uint8()))
    pq.write_table(pa.table({"image": images, "question": ["Q?"] * 2, "answer": ["A."] * 2}), tmp_path / "t.parquet")
    first, second = read(Parquet(path=str(tmp_path / "t.parquet")))
    assert first.media[0].data == content
    assert [os.path.basename(medium.uri) for medium in second.media] == ["7", "8", "9"], "numbers that name files"


def test_numbered_marks_stand_for_the_images_that_they_number(tmp_path: Path) -> None:
    names = [put(tmp_path / f"{name}.png", seed).name for seed, name in enumerate("ab")]
    row = one_row(tmp_path, question="See <image 2>, then <image_1>.", images=names)
    assert row.turns[0].content == ("See ", 1, ", then ", 0, ".")
    for question in ("<image 1> and <image 1>", "<image 1> and <image>", "<image 2> and <image 3>"):
        assert one_row(tmp_path, question=question, images=names).code == "image_count"
    assert one_row(tmp_path, answer="<image 1> is grey", images=names[:1]).code == "image_in_answer"


@pytest.mark.parametrize("mark", ["<IMAGE>", "<ImageHere>", "<image_placeholder>", "<img>a.png</img>", "<|image|>"])
def test_another_familys_mark_of_an_image_is_no_text_to_learn(tmp_path: Path, mark: str) -> None:
    put(tmp_path / "a.png")
    assert one_row(tmp_path, question=f"{mark}What?", image="a.png").code == "unsupported_field"


@pytest.mark.parametrize("field", ["masked", "loss_on", "do_train", "token_weights", "is_supervised"])
def test_a_message_says_nothing_of_its_training_that_is_not_heard(tmp_path: Path, field: str) -> None:
    turns = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A.", field: True}]
    row = one_row(tmp_path, question=None, answer=None, messages=turns)
    assert row.code == "unsupported_field" and field in row.detail
    turns[1] = {"role": "assistant", "content": "A.", "trainer_name": "x", "id": 7}
    assert said([one_row(tmp_path, question=None, answer=None, messages=turns)]) == ["A."]


def test_hidden_files_of_other_systems_are_no_texts(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("A scan.")
    for name in ("._a.png", "._a.txt", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert said(read(Directory(path=str(tmp_path)))) == ["A scan."] and len(read(Directory(path=str(tmp_path)))) == 1


def test_init_says_what_a_folder_holds_where_nothing_of_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    with pytest.raises(InfimedError, match=r"1 of \.zip; unpack archives"):
        guess(tmp_path)


# tables and descriptions


def test_a_column_named_twice_costs_nothing_where_nobody_reads_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,answer,note,note\nQ?,A.,1,2\n")
    assert said(read(Csv(path=str(tmp_path / "t.csv")))) == ["A."]
    (row,) = read(Csv(path=str(tmp_path / "t.csv"), columns={"meta": ["note"]}))
    assert row.code == "bad_file" and "'note'" in row.detail
    with pytest.raises(DataError, match="note"):
        write_table(tmp_path / "out.csv", ["note"], [{"note": DataError("bad_file", "note")}], force=False)  # type: ignore[dict-item]


def test_the_number_of_an_option_in_a_table_of_text_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("question,opa,opb,opc,cop\nQ?,x,y,z,2\nQ?,x,y,z,3\n")
    rows = read(MedEvalKit(path=str(tmp_path)))
    assert codes(rows) == ["ok", "bad_row"] and said(rows) == ["C. z"]


def test_a_description_that_draws_some_rows_is_refused_by_name_or_left_out_on_purpose(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([{"instruction": f"Q{n}?", "output": "A."} for n in range(3)]))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"x": {"file_name": "x.json", "num_samples": 2}}))
    rows = read(Llava(path=str(tmp_path / "x.json")))
    assert codes(rows) == ["unsupported_field"] * 3 and "num_samples" in rows[0].detail
    assert codes(read(Llava(path=str(tmp_path / "x.json"), ignore=("num_samples",)))) == ["ok"] * 3


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_in_an_object_are_read_from_its_only_list_and_told_of_several(tmp_path: Path, indent: int | None) -> None:
    rows = [{"question": "Q?", "answer": "A."}]
    (tmp_path / "t.json").write_text(json.dumps({"version": "1", "data": rows * 2}, indent=indent))
    assert said(read(Llava(path=str(tmp_path / "t.json")))) == ["A.", "A."]
    (tmp_path / "t.json").write_text(json.dumps({"train": rows * 2, "val": rows}, indent=indent))
    (fault,) = read(Llava(path=str(tmp_path / "t.json")))
    assert fault.code == "bad_file" and "'train' (2 rows), 'val' (1 rows)" in fault.detail
