"""``infimed init`` finds the images of an archive wherever they lie and whatever their names, or says so."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infimed_core import Fault, InfimedError, Reader, Sample, load_plugins
from infimed_core.testing import make_image
from infimed_plugins.readers.command import written
from infimed_plugins.readers.tables import Csv

UID = "1.2.392.200036.9116.2"


def dicom(value: int) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.PatientName = f"P{value}"
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def dicom_slice(study: int, number: int) -> bytes:
    from pydicom import dcmread

    made = dcmread(io.BytesIO(dicom(number)))
    made.SeriesInstanceUID, made.InstanceNumber = f"1.2.{study}", number
    made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, number]
    made.Rows = made.Columns = 4
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelData = 1, "MONOCHROME2", bytes(16)
    made["PixelData"].VR = "OB"
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def put(place: Path, content: bytes | str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content if isinstance(content, bytes) else content.encode())


def by_uid(folder: Path) -> None:
    rows = ["Aufnahme;Geschlecht;Beurteilung"]
    for number in range(24):
        put(folder / "bilder" / f"{UID}.{number}.7", dicom(number))
        rows.append(f"{UID}.{number}.7;w;Größenzunahme des Ergußes, Fall {number}")
    put(folder / "tabelle.csv", "\r\n".join(rows).encode("cp1252"))


def by_number(folder: Path) -> None:
    rows = ["toma,pregunta,informe"]
    for number in range(24):
        put(folder / "serie" / f"IM{number:06d}", dicom(number))
        rows.append(f"IM{number:06d},,Corazón de tamaño normal {number}")
    put(folder / "lista.csv", "\n".join(rows).encode("cp1252"))


def pictures_without_endings(folder: Path) -> None:
    rows = ["key,caption"]
    for number in range(6):
        put(folder / "store" / f"{number:08x}ab", make_image(seed=number))
        rows.append(f"{number:08x}ab,A scan {number}.")
    put(folder / "t.csv", "\n".join(rows))


def nested(folder: Path) -> None:
    rows = ["dicom_id,subject,report"]
    for number in range(500):  # the folder changes behind the rows that are looked at first
        if number % 50 == 0:
            put(folder / "g" / f"p{number // 450}" / f"s{number}" / f"x{number:05d}-aa.png", make_image(seed=number))
            rows.append(f"x{number:05d}-aa,{number},No change {number}.")
        else:
            rows.append(f"x{number // 50 * 50:05d}-aa,{number},No change {number}.")
    put(folder / "t.csv", "\n".join(rows))


def captions_without_header(folder: Path) -> None:
    for number in range(6):
        put(folder / "img" / f"C_{number}.png", make_image(seed=number))
    put(folder / "licences.txt", "\n".join(f"C_{n}\tCC BY, {n}, of somebody, 2020, or so" for n in range(6)))
    put(folder / "captions.txt", "\n".join(f"C_{n}\tA mass, 3 cm, {n}" for n in range(6)))


def captions_in_utf_16(folder: Path) -> None:
    for number in range(6):
        put(folder / f"{number}.png", make_image(seed=number))
    put(folder / "list.txt", "\n".join(["file\tfinding", *(f"{n}.png\tGröße {n}" for n in range(6))]).encode("utf-16"))


def json_by_another_key(folder: Path) -> None:
    rows = []
    for number in range(6):
        put(folder / "the pictures" / f"{number // 3}" / f"syn{number}.png", make_image(seed=number))
        rows.append({"picture_file": f"syn{number}.png", "question": "How many?", "answer": number})
    put(folder / "set.json", json.dumps(rows))


def lines_in_cp1252(folder: Path) -> None:
    rows = [json.dumps({"question": "Où ?", "answer": f"à côté {n}"}, ensure_ascii=False) for n in range(6)]
    put(folder / "set.jsonl", "\n".join(rows).encode("cp1252"))


def captions_in_cp1252(folder: Path) -> None:
    for number in range(6):
        put(folder / f"{number}.png", make_image(seed=number))
        put(folder / f"{number}.txt", f"Förtätning på höger sida {number}".encode("cp1252"))


def table_in_portuguese(folder: Path) -> None:
    rows = [f"Quantos nódulos ({n})?;Há {n} nódulos no pulmão direito." for n in range(6)]
    put(folder / "t.csv", "\n".join(["Pergunta;Resposta", *rows]))


def table_that_asks(folder: Path) -> None:
    rows = [f"Há {n} nódulos, todos eles muito pequenos e calcificados.|Quantos ({n})?" for n in range(6)]
    put(folder / "t.csv", "\n".join(["solução|tarefa", *rows]))


def packed_lines(folder: Path) -> None:
    rows = [json.dumps({"question": "Q?", "answer": f"A {n}."}) for n in range(6)]
    put(folder / "set.jsonl.gz", gzip.compress("\n".join(rows).encode()))


def parts_of_a_kit(folder: Path) -> None:
    put(folder / "imgs" / "x1" / "source.jpg", make_image())
    for part, answer in (("train", "MRI"), ("test", "CT")):
        row = {"img_name": "x1/source.jpg", "question": f"Which modality ({part})?", "answer": answer, "qid": 1}
        put(folder / f"{part}.json", json.dumps([row]))


def options_in_columns(folder: Path) -> None:
    rows = [f"Which organ of these {n}?,liver,spleen,kidney,because of it,{'ABC'[n % 3]},m" for n in range(6)]
    put(folder / "t.csv", "\n".join(["question,Choice A,Choice B,Choice C,explanation,correct,sex", *rows]))


def options_under_letters(folder: Path) -> None:
    rows = [f"Which organ {n}?;liver;spleen;{'AB'[n % 2]}" for n in range(6)]
    put(folder / "t.csv", "\n".join(["question;A;B;key", *rows]))


def slices_beside_reports(folder: Path) -> None:
    for study in range(2):
        for number in range(12):
            put(folder / f"p{study}" / f"IM{number:04d}", dicom_slice(study, number))
        put(folder / f"p{study}" / "report.txt", f"Report {study}.")


def names_in_other_cases(folder: Path) -> None:
    rows = ["image,question,answer"]
    for number in range(6):
        put(folder / "Films" / f"p{number}" / f"VIEW{number}.PNG", make_image(seed=number))
        rows.append(f"view{number}.png,Q?,A {number}.")
    put(folder / "t.csv", "\n".join(rows))


ARCHIVES: dict[str, tuple[Callable[[Path], None], int, int, str]] = {
    "by UID": (by_uid, 24, 24, "Größenzunahme des Ergußes, Fall 23"),
    "by number": (by_number, 24, 24, "Corazón de tamaño normal 23"),
    "without endings": (pictures_without_endings, 6, 6, "A scan 5."),
    "nested": (nested, 500, 500, "No change 499."),
    "no header": (captions_without_header, 6, 6, "A mass, 3 cm, 5"),
    "UTF-16": (captions_in_utf_16, 6, 6, "Größe 5"),
    "another key": (json_by_another_key, 6, 6, "5"),
    "lines": (lines_in_cp1252, 6, 0, "à côté 5"),
    "Portuguese": (table_in_portuguese, 6, 0, "Há 5 nódulos no pulmão direito."),
    "asks": (table_that_asks, 6, 0, "Há 5 nódulos, todos eles muito pequenos e calcificados."),
    "packed": (packed_lines, 6, 0, "A 5."),
    "parts": (parts_of_a_kit, 1, 1, "MRI"),
    "options": (options_in_columns, 6, 0, "C. kidney"),
    "letters": (options_under_letters, 6, 0, "B. spleen"),
    "slices": (slices_beside_reports, 2, 16, "Report 1."),
    "cases": (names_in_other_cases, 6, 6, "A 5."),
    "captions": (captions_in_cp1252, 6, 6, "Förtätning på höger sida 5"),
}
"""What writes it, samples, images, and the last answer."""


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_image_and_every_letter_of_an_archive_is_found(tmp_path: Path, name: str) -> None:
    make, num_samples, num_images, answer = ARCHIVES[name]
    make(tmp_path)
    rows = read(written(tmp_path, Path("/nowhere"))[0])
    samples = [row for row in rows if isinstance(row, Sample)]
    assert len(samples) == len(rows) == num_samples and samples[-1].turns[-1].text == answer
    media = [medium for sample in samples for medium in sample.media]
    assert len(media) == num_images and all(Path(medium.uri or "").is_file() for medium in media)


def read(text: str) -> list[Sample | Fault]:
    rows: list[Sample | Fault] = []
    for source in yaml.safe_load(text)["data"]["sources"]:
        reader: Any = load_plugins().find("reader", source["use"]).model_validate(source["with"])
        assert isinstance(reader, Reader) and not reader.problems({})
        rows += [row for shard in reader.shards() for row in reader.read(shard)]
    return rows


@pytest.mark.parametrize("header", ["film", "SOPInstanceUID", "image_id"])
def test_a_column_of_names_is_never_an_answer(tmp_path: Path, header: str) -> None:
    rows = [f"{UID}.{number},{number}" for number in range(9)]
    put(tmp_path / "t.csv", "\n".join([f"{header},age", *rows]))
    with pytest.raises(InfimedError, match=r"names images|nothing in it becomes a sample"):
        written(tmp_path, Path("/nowhere"))


def test_a_column_called_images_whose_files_are_not_there_is_no_success(tmp_path: Path) -> None:
    rows = [f"IM{number:06d},Normal {number}." for number in range(9)]
    put(tmp_path / "t.csv", "\n".join(["film,report", *rows]))
    with pytest.raises(InfimedError, match="'film' names images"):
        written(tmp_path, Path("/nowhere"))


def test_two_tables_with_a_key_in_common_are_to_be_joined_first(tmp_path: Path) -> None:
    shown, told = ["case,filename,projection"], ["case,findings"]
    for number in range(8):
        put(tmp_path / "img" / f"{number}_1.png", make_image(seed=number))
        shown.append(f"{number},{number}_1.png,{('Frontal', 'Lateral')[number % 2]}")
        told.append(f"{number},Clear {number}.")
    put(tmp_path / "a_views.csv", "\n".join(shown))
    put(tmp_path / "b_texts.csv", "\n".join(told))
    with pytest.raises(InfimedError, match="both have the column 'case': join them"):
        written(tmp_path, Path("/nowhere"))


def test_a_table_of_reports_goes_before_one_of_numbers_that_names_the_same_images(tmp_path: Path) -> None:
    views, reports = ["uid,subject_id,view,rows"], ["uid,subject_id,impression"]
    for number in range(12):
        uid = f"{number * 7919:08x}-{number:08x}"
        put(tmp_path / "files" / f"p{number // 2}" / f"{uid}.png", make_image(seed=number))
        views.append(f"{uid},{number // 2},{('PA', 'LATERAL')[number % 2]},64")
        reports.append(f"{uid},{number // 2},The patient’s heart isn’t enlarged – {number}.")
    put(tmp_path / "metadata.csv", "\n".join(views))
    data = "\n".join(reports).encode("cp1252").replace("– 5".encode("cp1252"), b"\x90 5")
    put(tmp_path / "reports.csv.gz", gzip.compress(data))
    text, said = written(tmp_path, Path("/nowhere"))
    assert "11 of the 12 rows" in said and "11 of their 11 images are there" in said
    (source,) = yaml.safe_load(text)["data"]["sources"]
    assert source["with"]["path"].endswith("reports.csv.gz") and source["with"]["encoding"] == "cp1252"
    assert source["with"]["columns"]["answer"] == "impression"
    assert "#   not read: " in text and "reports.csv.gz:7: not cp1252 (byte 0x90" in text


def test_a_study_is_a_text_beside_images_in_a_folder_of_its_own(tmp_path: Path) -> None:
    put(tmp_path / "img" / "1.png", make_image())
    put(tmp_path / "notes.txt", "Nothing of this is a report.")
    with pytest.raises(InfimedError, match="nothing in it becomes a sample"):
        written(tmp_path, Path("/nowhere"))
    for number in range(2):
        put(tmp_path / "studies" / str(number) / "frontal.png", make_image(seed=number))
        put(tmp_path / "studies" / str(number) / "report.txt", "Clear.")
    assert "studies" in written(tmp_path / "studies", Path("/nowhere"))[1]


def test_an_image_below_the_root_is_found_by_its_name_unless_it_may_be_two(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1" / "x.png", make_image(seed=1))
    put(tmp_path / "a" / "2" / "x.png", make_image(seed=2))
    put(tmp_path / "a" / "1" / "y.png", make_image(seed=3))
    put(tmp_path / "b" / "y.png", make_image(seed=3))
    put(tmp_path / "t.csv", "image,answer\nx,two that differ\n2/x.png,one\ny.png,two alike\nz,none\n../t.csv,outside\n")
    reader = Csv(path=str(tmp_path / "t.csv"), search_below=True)
    rows = list(reader.read(reader.shards()[0]))
    assert [getattr(row, "code", "") for row in rows] == ["ambiguous_media", "", "", "", "outside_root"]
    places = [Path(row.media[0].uri or "") for row in rows if isinstance(row, Sample)]
    assert places[:2] == [tmp_path / "a" / "2" / "x.png", tmp_path / "a" / "1" / "y.png"] and not places[2].exists()
    told = Csv(path=str(tmp_path / "t.csv"), search_below=True).doubts()
    assert any("1 of the 3 images" in line and "not there" in line for line in told), told


def test_two_captions_and_a_member_without_an_ending_are_told(tmp_path: Path) -> None:
    import tarfile

    from infimed_plugins.readers.webdataset import WebDataset

    members = {"a.png": make_image(), "a.txt": b"One.", "a.json": b'{"caption": "Another."}', "b": b"?", "c.txt": b"C."}
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in members.items():
            one = tarfile.TarInfo(name)
            one.size = len(content)
            tar.addfile(one, io.BytesIO(content))
    both, bare, _ = WebDataset(path=str(tmp_path / "x.tar")).read(str(tmp_path / "x.tar"))
    assert isinstance(both, Fault) and "differ" in both.detail and isinstance(bare, Fault)
    assert "no ending" in bare.detail
    first, *_ = WebDataset(path=str(tmp_path / "x.tar"), ignore=("caption",)).read(str(tmp_path / "x.tar"))
    assert isinstance(first, Sample) and first.turns[-1].text == "One."


def test_true_is_no_index_of_a_medium(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": [True, "Q"]}, {"role": "assistant", "content": ["A"]}]
    put(tmp_path / "a.jsonl", json.dumps({"turns": turns, "media": [{"uri": "x.png"}, {"uri": "y.png"}]}))
    reader: Any = load_plugins().find("reader", "jsonl").model_validate({"path": str(tmp_path / "a.jsonl")})
    (fault,) = [row for shard in reader.shards() for row in reader.read(shard)]
    assert fault.code == "bad_row" and "true or false" in fault.detail


def test_volumes_in_time_are_picked_or_told_and_gaps_are_said(tmp_path: Path) -> None:
    import nibabel
    import numpy as np

    from infimed_plugins.volumes.reader import _gaps

    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4)), tmp_path / "v.nii")
    turns = [{"role": "user", "content": [0, "Q"]}, {"role": "assistant", "content": ["A"]}]
    rows = [{"turns": turns, "media": [{"uri": "v.nii", "options": more}]} for more in ({}, {"volume": 2})]
    put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    within = {"use": "jsonl", "with": {"path": str(tmp_path / "a.jsonl")}}
    reader: Any = load_plugins().find("reader", "volumes").model_validate({"reader": within, "num_slices": 2})
    fault, sample = [row for shard in reader.shards() for row in reader.read(shard)]
    assert fault.code == "repeated_position" and "3 volumes" in fault.detail
    assert [medium.options["volume"] for medium in sample.media] == [2, 2] and "gaps" not in sample.meta["volumes"][0]
    stack = reader._loader.slices([sample.media[0].model_copy(update={"options": {"volume": 0}})], None)
    gapped = stack.model_copy(update={"positions": (0.0, 5.0, 10.0, 25.0, 30.0)})
    assert _gaps(gapped) == {"gaps": [[10.0, 25.0]]}
