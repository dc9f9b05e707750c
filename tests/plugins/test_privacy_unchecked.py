"""What could not be looked at is told as unchecked, never as free of identity."""

from __future__ import annotations

import io

import numpy as np
import pytest

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality.compliance import header_identity
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.scorer import FiveDimension

BROKEN_EXIF = {
    "not TIFF": b"Exif\0\0garbage here",
    "directory cut": b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
    "value beyond the end": b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0e\x01\x02\0\xff\0\0\0\xff\xff\0\0",
}


def jpeg(exif: bytes = b"") -> Media:
    from PIL import Image

    file = io.BytesIO()
    grey = (np.add.outer(np.arange(128), np.arange(128)) % 200).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").save(file, "JPEG", exif=exif)
    return Media(data=file.getvalue())


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_exif_that_cannot_be_read_is_unchecked_and_the_dimension_null(exif):
    media = jpeg(exif)
    assert header_identity(media) == ([Reason.IDENTITY_UNCHECKED], 0, [])
    sample = Sample(id="s", turns=(Turn(role="user", content=(0, "What is shown?")),), media=(media,))
    (score,) = FiveDimension().score([sample], media_loader())
    assert score.parts["compliance"] is None and score.status == "ok"
    assert "identity_unchecked" in score.reasons


def test_a_sound_picture_is_checked():
    assert header_identity(jpeg()) == ([], 0, [])


def test_identity_that_was_found_counts_although_something_else_is_unchecked():
    turn = Turn(role="user", content=(0, "MRN: 00123456. What is shown?"))
    sample = Sample(id="s", turns=(turn,), media=(jpeg(BROKEN_EXIF["not TIFF"]),))
    (score,) = FiveDimension().score([sample], media_loader())
    assert score.parts["compliance"] == 0.0
    assert {"phi_record_number", "identity_unchecked"} <= set(score.reasons)


@pytest.mark.parametrize("media", [Media(kind="dicom", data=b"no DICOM"), Media(kind="hologram", data=b"x")])
def test_a_header_that_nobody_can_read_is_unchecked(media):
    assert header_identity(media) == ([Reason.IDENTITY_UNCHECKED], 0, [])


def test_every_flag_shows_what_matched_where_and_by_which_rule():
    turns = (
        Turn(role="user", content=("What?",)),
        Turn(role="assistant", content=("Seen by Dr. Miller, MRN 00123456.",)),
    )
    sample = Sample(id="q1", turns=turns, tags={"hospital": "Massachusetts General"})
    (score,) = FiveDimension().score([sample], media_loader())
    for part in ("phi_name: 'Miller' in the text", "phi_record_number: 'MRN 00123456'", "in the tag hospital"):
        assert part in score.note
