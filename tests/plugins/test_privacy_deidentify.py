"""``infimed deidentify``: nothing identifying is left, the originals are as they were, and every count adds up."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from pathlib import Path

import forked
import numpy as np
import pytest

from infimed_core import InfimedError, Media, Sample, Turn
from infimed_plugins.quality.installed import media_loader, reader
from infimed_plugins.quality.privacy.command import deidentify
from infimed_plugins.quality.privacy.copying import kind_of
from infimed_plugins.quality.privacy.header import find_in_header
from infimed_plugins.quality.privacy.pictures import clean_nifti, clean_picture
from infimed_plugins.quality.privacy.pseudonyms import Pseudonyms

KEY = b"0123456789abcdef"
GREY = (np.add.outer(np.arange(64), np.arange(96)) % 200).astype(np.uint8)


def dicom(name: str, patient: str, instance: str, date: str = "20190203", **more):
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", instance
    made = FileDataset("", {}, file_meta=meta, preamble=b"PATIENT ROSSI".ljust(128, b"\0"))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, instance
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.9.7", "1.9.7.1", "1.9.8"
    made.Modality, made.BodyPartExamined = "MR", "BRAIN"
    made.PatientName, made.PatientID, made.PatientBirthDate = name, patient, "19610314"
    made.PatientSex, made.PatientAge = "F", "093Y"
    made.StudyDate, made.AcquisitionDateTime, made.StudyTime = date, date + "101500", "101500"
    made.InstitutionName, made.ReferringPhysicianName = "St Elsewhere", "Miller^Anna"
    made.StudyDescription = "Brain of Maria Rossi, MRN 00123456"
    item = Dataset()
    item.ReferencedSOPInstanceUID, item.ReferencedSOPClassUID, item.PersonName = "1.9.9.1", made.SOPClassUID, "X^Y"
    made.ReferencedImageSequence = [item]
    made.private_block(0x0099, "ACME", create=True).add_new(1, "LO", "ROSSI^MARIA")
    made.Rows, made.Columns = GREY.shape
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = GREY.tobytes()
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def save(made, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path, enforce_file_format=True)


def jpeg(orientation: int = 6) -> bytes:
    from PIL import Image

    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010E], exif[0x0112], exif[0x013B] = "MRN 00123456", orientation, "Maria Rossi"
    exif.get_ifd(0x8825)[1] = "N"
    Image.fromarray(GREY).convert("RGB").save(
        file, "JPEG", quality=90, exif=exif, comment=b"Dr. Miller", progressive=True
    )
    return file.getvalue() + b"Patient ROSSI^MARIA behind the end"


def digests(directory: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.fixture
def source(tmp_path):
    place = tmp_path / "Rossi Maria"
    save(dicom("ROSSI^MARIA", "R-31415", "1.9.9.1"), place / "a" / "one.dcm")
    save(dicom("ROSSI^MARIA", "R-31415", "1.9.9.2", date="20190210"), place / "a" / "two.dcm")
    save(dicom("Kim^Wei", "K-27182", "1.9.9.3"), place / "b" / "three.dcm")
    save(dicom("Burnt^In", "B-1", "1.9.9.4", BurnedInAnnotation="YES"), place / "b" / "burnt.dcm")
    (place / "photo.jpg").write_bytes(jpeg())
    (place / "broken.jpg").write_bytes(jpeg()[:300])
    (place / "notes.txt").write_text("Maria Rossi was here.")
    return place


def run(source: Path, tmp_path: Path, **options):
    target = tmp_path / "clean"
    return target, deidentify(source, target, key=KEY, read_pixels=False, **options)


def test_counts_add_up_originals_stay_and_the_copy_tells_nothing(source, tmp_path):
    before = digests(source)
    target, body = run(source, tmp_path)
    assert digests(source) == before
    assert body["num_in"] == 7 == body["num_written"] + sum(body["withheld"].values()) + sum(body["left_out"].values())
    assert body["withheld"] == {"burned_in_annotation": 1, "corrupt": 1}
    assert body["left_out"] == {"neither DICOM, NIfTI nor a picture": 1}
    assert body["found_in_the_copy"] == []
    everything = b"".join(p.read_bytes() for p in target.rglob("*") if p.is_file())
    for trace in (
        b"ossi",
        b"OSSI",
        b"31415",
        b"1961",
        b"Miller",
        b"00123456",
        b"Elsewhere",
        b"1.9.9",
        b"1.9.7",
        b"one.dcm",
    ):
        assert trace not in everything, trace
    assert not [p for p in target.rglob("*") if "ossi" in p.name or "photo" in p.name]
    listed = {(row["place"], row["action"]) for row in body["changes"]}
    assert {("InstitutionName", "replaced"), ("private", "removed"), ("PatientAge", "removed")} <= listed
    assert sum(len(item.get("changes", [])) > 0 for item in body["items"]) == body["num_written"]
    assert json.loads((target / "deidentification.json").read_text(encoding="utf-8")) == body
    assert "7 in = 4 written + 2 withheld + 1 left out" in (target / "deidentification.md").read_text(encoding="utf-8")


def cleaned(target: Path):
    import pydicom

    return {made.SOPInstanceUID: made for made in (pydicom.dcmread(path) for path in sorted(target.rglob("*.dcm")))}


def test_dicom_keeps_its_links_and_its_pixels(source, tmp_path):
    target, _ = run(source, tmp_path, dates="shift", keep_characteristics=True)
    pseudonyms = Pseudonyms(KEY)
    found = cleaned(target)
    one, two, three = (found[pseudonyms.uid(f"1.9.9.{number}")] for number in (1, 2, 3))
    assert one.PatientID == two.PatientID == one.PatientName != three.PatientID
    assert one.StudyInstanceUID == two.StudyInstanceUID == pseudonyms.uid("1.9.7") != "1.9.7"
    assert two.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPClassUID == one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID and one.preamble == b"\0" * 128
    assert (one.PatientSex, one.PatientAge, one.PatientBirthDate) == ("F", "090Y", "")
    days = [np.datetime64(f"{d.StudyDate[:4]}-{d.StudyDate[4:6]}-{d.StudyDate[6:]}") for d in (one, two)]
    assert days[1] - days[0] == np.timedelta64(7, "D") and one.StudyDate < "20190203"
    assert one.AcquisitionDateTime == one.StudyDate + "101500"
    assert one.PatientIdentityRemoved == "YES" and one.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [code.CodeValue for code in one.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"]
    assert (one.pixel_array == GREY).all()


AGES = {  # as written: what the copy may say, in years by hand: 999M is 83 years, 999W 19, 999D under 3
    "100M": "100M", "104W": "104W", "365D": "365D", "012M": "012M", "999M": "999M", "999D": "999D", "045Y": "045Y",
    "8Y": "8Y", "089Y": "089Y", "090Y": "090Y", "091Y": "090Y", "095Y": "090Y", "113Y": "090Y", "95Y": "090Y",
    "95": "090Y", "": "", "Bob": None,
}  # fmt: skip


@pytest.mark.parametrize("age", AGES)
def test_an_age_above_ninety_years_is_capped_and_one_in_months_weeks_or_days_stays(tmp_path, age):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the age that is none
        save(dicom("ROSSI^MARIA", "R-31415", "1.9.9.1", PatientAge=age), tmp_path / "in" / "one.dcm")
    target, body = run(tmp_path / "in", tmp_path, keep_characteristics=True)
    (made,) = cleaned(target).values()
    assert made.get("PatientAge") == AGES[age]
    capped = AGES[age] not in (age, None)
    assert (
        ("PatientAge", "capped at 90 years") in {(row["place"], row["action"]) for row in body["changes"]}
    ) == capped


def test_another_key_gives_other_pseudonyms_and_the_same_key_the_same(source, tmp_path):
    first = deidentify(source, tmp_path / "1", key=KEY, read_pixels=False)
    again = deidentify(source, tmp_path / "2", key=KEY, read_pixels=False)
    other = deidentify(source, tmp_path / "3", key=KEY[::-1], read_pixels=False)
    assert first == again
    assert {i["item"] for i in first["items"]}.isdisjoint({i["item"] for i in other["items"] if "withheld" not in i})


@pytest.mark.parametrize("where", ["inside", "same", "around", "occupied"])
def test_a_target_that_could_harm_anything_is_refused(source, tmp_path, where):
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "mine.txt").write_text("x")
    target = {"inside": source / "new", "same": source, "around": tmp_path, "occupied": tmp_path / "occupied"}[where]
    before = digests(tmp_path)
    with pytest.raises(InfimedError, match="give a"):
        deidentify(source, target, key=KEY, read_pixels=False)
    assert digests(tmp_path) == before


def test_a_jpeg_keeps_its_pixels_bit_by_bit_and_its_orientation_and_nothing_else():
    loader = media_loader()
    data = jpeg(orientation=6)
    copy, ending, changes = clean_picture(data, None)
    assert ending == ".jpg" and (loader.load(Media(data=copy)) == loader.load(Media(data=data))).all()
    assert find_in_header(Media(data=copy)) == [] and b"ossi" not in copy and b"OSSI" not in copy
    assert changes["segment comment", "removed"] == 1 and changes["bytes behind the end", "removed"] == 1


@pytest.mark.parametrize(
    ("form", "mode"),
    [(form, mode) for form in ("PNG", "TIFF", "BMP", "WEBP", "GIF") for mode in ("L", "RGB", "P")]
    + [("PNG", "I;16"), ("TIFF", "I;16")],
)
def test_other_pictures_keep_their_pixels_and_lose_their_remarks(form, mode):
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    image = Image.fromarray(GREY.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(GREY).convert(mode)
    file, options = io.BytesIO(), {}
    if form == "PNG":
        info = PngInfo()
        info.add_text("Comment", "MRN 00123456")
        options = {"pnginfo": info}
    elif form == "TIFF":
        options = {"tiffinfo": {270: "MRN 00123456"}}
    elif form == "WEBP":
        options = {"lossless": True}
    elif form == "GIF":
        options = {"comment": b"MRN 00123456"}
    image.save(file, form, **options)
    copy, ending, _ = clean_picture(file.getvalue(), None)
    loader = media_loader()
    assert (loader.load(Media(data=copy)) == loader.load(Media(data=file.getvalue()))).all()
    assert b"00123456" not in copy and find_in_header(Media(data=copy)) == []
    assert kind_of(copy, "x" + ending) == "image"


def test_nifti_loses_its_texts_and_extensions_and_keeps_its_array():
    import nibabel

    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    image = nibabel.Nifti1Image(array, np.diag([2, 3, 4, 1]))
    image.header["descrip"] = b"MRN 00123456"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Patient name: Rossi, Maria"))
    copy, _, changes = clean_nifti(image.to_bytes())
    import gzip

    again = nibabel.Nifti1Image.from_bytes(gzip.decompress(copy))
    assert (again.get_fdata(dtype=np.float32) == array).all() and (again.affine == image.affine).all()
    assert find_in_header(Media(kind="nifti", data=copy)) == []
    assert changes == {("descrip", "emptied"): 1, ("extension", "removed"): 1}


@pytest.fixture
def samples(tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    (place / "rossi.jpg").write_bytes(jpeg())
    save(dicom("Burnt^In", "B-1", "1.9.9.4", BurnedInAnnotation="YES"), place / "burnt.dcm")
    rows = [
        Sample(
            id="rossi-1",
            turns=(
                Turn(role="user", content=(0, "MRN: 00123456. What is shown?")),
                Turn(role="assistant", content=("A brain. Seen by Dr. Miller on 03/14/2021.",), supervised=False),
            ),
            media=(Media(uri="rossi.jpg"),),
            tags={"study": "1.9.7", "modality": "MR", "note": "phone 617-555-0123"},
            meta={"report": {"text": "Patient name: Maria Rossi", "uid": "1.9.7.1"}},
        ),
        Sample(id="clean", turns=(Turn(role="user", content=("What is a brain?",)),), tags={"study": "1.9.7"}),
        Sample(
            id="burnt", turns=(Turn(role="user", content=(0, "What?")),), media=(Media(kind="dicom", uri="burnt.dcm"),)
        ),
    ]
    lines = [row.model_dump_json() for row in rows]
    (place / "rows.jsonl").write_text("\n".join([*lines, "no json"]) + "\n", encoding="utf-8")
    return place / "rows.jsonl"


def test_samples_are_copied_clean_and_can_be_read_again(samples, tmp_path):
    target = tmp_path / "clean"
    body = deidentify(samples, target, key=KEY, read_pixels=False, mapping=tmp_path / "who.json")
    assert body["num_in"] == 4 and body["num_written"] == 2
    assert body["withheld"] == {"burned_in_annotation": 1} and sum(body["left_out"].values()) == 1
    assert body["found_in_the_copy"] == []
    copy = str(target / "samples.jsonl")
    first, second = reader("jsonl", path=copy).read(copy)
    assert first.turns[0].content == (0, "[RECORD_NUMBER]. What is shown?")
    assert first.turns[1].text == "A brain. Seen by Dr. [NAME] on [DATE]."
    assert [turn.supervised for turn in first.turns] == [True, False], "what carries no loss carries none in the copy"
    assert first.tags["note"] == "phone [PHONE]" and first.tags["modality"] == "MR"
    assert first.tags["study"] == second.tags["study"] != "1.9.7"
    assert first.meta["report"] == {"text": "Patient name: [NAME]", "uid": Pseudonyms(KEY).uid("1.9.7.1")}
    assert second.turns[0].text == "What is a brain?"
    assert media_loader().load(first.media[0]).shape == (96, 64, 3)
    assert json.loads((tmp_path / "who.json").read_text())["s00000001"] == "rossi-1"


def test_the_command_says_what_it_did_and_where(samples, tmp_path):
    command = [
        "-c",
        "from infimed_core.cli import main; main()",
        "deidentify",
        str(samples),
        "--to",
        str(tmp_path / "clean"),
    ]
    done = forked.finish([*command, "--no-read-pixels"])
    assert done.returncode == 1 and "4 in = 2 written + 1 withheld + 1 left out" in done.stdout, done.stderr
    again = forked.finish(command)
    assert (
        again.returncode == 2 and "not empty; give a new directory" in again.stderr and "Traceback" not in again.stderr
    )
    wrong = forked.finish([*command[:-1], str(tmp_path / "x"), "--dates", "keep"])
    assert wrong.returncode == 2 and "write remove or shift" in wrong.stderr
