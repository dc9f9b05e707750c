"""Keys, ids and names of files identify as values do: they are found, and become pseudonyms in a clean copy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality.compliance import named_identity
from infimed_plugins.quality.identity_keys import kind_of_key
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.quality.privacy.command import deidentify
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
