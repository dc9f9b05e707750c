"""Keys, ids and names of files identify as values do: they are found, and become pseudonyms in a clean copy."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality.compliance import named_identity
from infimed_plugins.quality.identity_keys import identity_of, in_name, kind_of_key
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.quality.privacy.command import deidentify
from infimed_plugins.quality.privacy.pseudonyms import Pseudonyms
from infimed_plugins.quality.privacy.scanning import scan_texts
from infimed_plugins.quality.privacy.tables import clean_table
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.scorer import FiveDimension

TURNS = (Turn(role="user", content=("What is shown?",)),)


@pytest.mark.parametrize(
    "key",
    [
        "PatientID",
        "patient_id",
        "PATIENT ID",
        "subject-id",
        "SubjectId",
        "MRN",
        "mrn",
        "Hospital",
        "patientName",
        "ssn",
        "DOB",
    ],
)
def test_a_key_is_known_in_any_spelling(key):
    assert kind_of_key(key) is not None


@pytest.mark.parametrize("key", ["modality", "task_type", "source", "name", "image", "id", "diagnosis", "language"])
def test_a_key_of_no_person_is_none(key):
    assert kind_of_key(key) is None


@pytest.mark.parametrize(
    "given",
    [
        {"tags": {"Subject_ID": "10000032"}},
        {"meta": {"mrn": 12345678}},
        {"meta": {"row": {"filename": "Smith_John_chest.png"}}},
        {"meta": {"when": 20200313}},
        {"id": "CR_20200313_01"},
        {"id": "1.2.840.113564.1722810170.20200313090023421700"},
        {"media": (Media(uri="/data/García_José/1.png"),)},
    ],
    ids=str,
)
def test_identity_outside_of_the_text_is_found(given):
    reasons, notes = named_identity(Sample(**{"id": "q1", "turns": TURNS, **given}))
    assert reasons and all(any(note.startswith(reason.value) for note in notes) for reason in reasons)


@pytest.mark.parametrize(
    "given",
    [
        {"id": "PMC1234567_fig_2", "tags": {"modality": "MR", "subject": "sub-01"}},
        {"tags": {"patient": "patient-0123456789abcdef"}, "meta": {"uid": "2.25.123456789012345678901234567890"}},
        {"media": (Media(uri="images/xmlab102/source.jpg"),)},
    ],
    ids=str,
)
def test_a_running_number_or_a_pseudonym_is_no_identity(given):
    assert named_identity(Sample(**{"id": "q1", "turns": TURNS, **given})) == ([], [])


def test_the_copy_holds_pseudonyms_and_the_old_id_nowhere(tmp_path):
    row = {
        "id": "P10000032-a",
        "turns": [{"role": "user", "content": ["Is P10000032-a a film of subject 77665544?"]}],
        "tags": {"Subject_ID": "77665544"},
        "meta": {"MRN": 99887766, "filename": "Smith_John_1.png", "Hospital": "Elsewhere General", "when": 20200313,
                 "note": "see 77665544"},
    }  # fmt: skip
    source = tmp_path / "in" / "rows.jsonl"
    source.parent.mkdir()
    source.write_text(json.dumps(row) + "\n")
    deidentify(source, tmp_path / "out", reader="jsonl", key=b"a key of a test 0", read_pixels=False)
    copy = (tmp_path / "out" / "samples.jsonl").read_text()
    for old in ("P10000032", "77665544", "99887766", "Smith", "Elsewhere", "20200313"):
        assert old not in copy


def test_without_a_look_at_the_pixels_compliance_is_null(tmp_path):
    from PIL import Image

    path = tmp_path / "film.png"
    Image.fromarray((np.add.outer(np.arange(128), np.arange(128)) % 200).astype(np.uint8)).save(path)
    turn = Turn(role="user", content=(0, "What is shown?"))
    (score,) = FiveDimension().score([Sample(id="s", turns=(turn,), media=(Media(uri=str(path)),))], media_loader())
    assert score.parts["compliance"] is None and "pixels_unchecked" in score.reasons


AGE_KEYS = ("age", "Age", "patient_age", "AgeYears", "anchor_age", "age_at_diagnosis", "Edad")
AGES = {95: 90, 91.0: 90.0, "104": "90", "095Y": "090Y", "93 years": "90 years"}


def test_an_age_of_91_and_more_by_its_key_becomes_90(tmp_path):
    lines = []
    for old, new in AGES.items():
        assert all(identity_of(key, old) is Reason.PHI_AGE and identity_of(key, new) is None for key in AGE_KEYS)
        row = {"id": f"q{old}", "turns": [{"role": "user", "content": ["What is shown?"]}]}
        lines.append(json.dumps(row | {"meta": dict.fromkeys(AGE_KEYS, old)}))
        table, _ = clean_table(f"age,view\n{old},PA\n".encode(), ",", {}, Pseudonyms(b"k"))
        assert table.decode() == f"age,view\n{new},PA\n"
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    told = deidentify(tmp_path / "rows.jsonl", tmp_path / "out", reader="jsonl", key=b"k", read_pixels=False)
    copies = map(json.loads, (tmp_path / "out" / "samples.jsonl").read_text().splitlines())
    assert [copy["meta"] for copy in copies] == [dict.fromkeys(AGE_KEYS, new) for new in AGES.values()]
    assert told["found_in_the_copy"] == []


@pytest.mark.parametrize(
    ("key", "value"), [("age", 45), ("age", "90"), ("age", "090Y"), ("age", "100M"), ("age_months", 95), ("dosage", 95),
                       ("image", 95), ("stage", "95"), ("coverage", 99)],
)  # fmt: skip
def test_another_number_is_no_age(key, value):
    assert identity_of(key, value) is None


def test_stand_ins_are_no_identity_to_whoever_checks_the_copy():
    pseudonyms = Pseudonyms(b"a key of a test")
    for number in range(500):
        row = [pseudonyms.name(key, str(number)) for key in ("mrn", "PatientID", "accession", "study_id", "patient")]
        path = f"files/p10/p{row[4]}/s{row[3]}/02aa.jpg"
        assert not scan_texts([*row, path, f"see {row[0]} and {row[2]}."]), number
        tags = dict(zip(("mrn", "PatientID", "accession", "study_id"), row, strict=False))
        assert named_identity(Sample(id="s1", turns=TURNS, tags=tags, meta={"path": path})) == ([], []), number


def test_a_number_of_sixteen_digits_is_no_stand_in():
    assert scan_texts(["MRN: mrn-1234567890123456"]) and not scan_texts(["mrn-1234567890abcdef"])


def test_the_digits_of_a_digest_are_no_identity_and_those_beside_one_are():
    for number in range(400):
        content = str(number).encode()
        for digest in (hashlib.md5(content), hashlib.sha1(content), hashlib.sha256(content)):
            assert in_name(f"{digest.hexdigest()}.png") == [], number
    digest = hashlib.sha256(b"0").hexdigest()
    assert in_name(f"2019-03-04_{digest}.png") and in_name("1.2.840.113619.2.55.3.2831868886.20190304.png")
