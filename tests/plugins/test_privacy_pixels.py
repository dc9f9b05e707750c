"""Burned-in text: read by OCR, told, and covered; without the OCR it is unchecked and says so."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.quality.privacy.command import deidentify
from infimed_plugins.quality.privacy.pixels import PixelReader, TextBox, burned_in, can_read_pixels, cover, to_cover
from infimed_plugins.quality.privacy.renditions import renditions
from infimed_plugins.quality.privacy.scanning import scan_media
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.scorer import FiveDimension

needs_ocr = pytest.mark.skipif(not can_read_pixels(), reason="the extra 'privacy' is not installed")


def picture(*lines: str, side: int = 256, size: int = 14, inverted: bool = False) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    y, x = np.mgrid[:side, :side] / side - 0.5
    grey = ((np.hypot(x, y) < 0.4) * (90 + 40 * np.cos(9 * x))).astype(np.uint8)
    image = Image.fromarray(np.repeat(grey[..., None], 3, axis=2))
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((4, 4 + number * (size + 4)), line, fill=(255, 255, 255), font=ImageFont.load_default(size))
    pixels = np.asarray(image)
    return 255 - pixels if inverted else pixels


def png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def dicom(frames: np.ndarray, stored: int = 16, **elements: object):
    """A grey file of frames, uint16 [frames, h, w]."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.3"
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    made.NumberOfFrames, made.Rows, made.Columns = frames.shape
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, stored, stored - 1
    made.PixelData = frames.tobytes()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def line(text: str) -> TextBox:
    return TextBox(0, 0, 10, 50, text, 0.9)


@pytest.mark.parametrize(
    "text",
    [
        "DOE^JANE",
        "MRN00123456",
        "DOE, JANE 19610314",
        "WALLS, BRIAN02/21/1939",
        "00123456",
        "HARRIS-WILLIAM",
        "JONESAJARED",
    ],
)
def test_what_identifies_is_told_with_the_slips_of_ocr(text):
    assert burned_in([line(text)]) == [Reason.PHI_PIXELS]


@pytest.mark.parametrize(
    "text",
    ["AXIAL", "T2 FLAIR", "5.0 mm", "120 kV", "SUPINE", "W 400 L 40", "FOV 240", "T1-SE", "PRE-CONTRAST", "SAGITTAL"],
)
def test_sides_views_and_measures_are_not(text):
    assert burned_in([line(text)]) == []


def test_only_what_is_plainly_harmless_stays_uncovered():
    lines = [line(text) for text in ("Left", "AXIAL", "5 mm", "Rossi Maria", "12345678")]
    assert [box.text for box in to_cover(lines)] == ["Rossi Maria", "12345678"]


def test_a_covered_box_is_filled_and_the_original_is_not():
    pixels = np.full((20, 30, 3), 9, np.uint8)
    covered = cover(pixels, [TextBox(5, 5, 8, 10, "x", 1.0)], 0, margin=1)
    assert (covered[4:9, 4:11] == 0).all() and (pixels == 9).all()
    assert (covered == 9).sum() == pixels.size - 5 * 7 * 3


def sample(pixels: np.ndarray) -> Sample:
    turn = Turn(role="user", content=(0, "What is shown?"))
    return Sample(id="s", turns=(turn,), media=(Media(data=png(pixels)),))


def test_without_ocr_pixels_are_unchecked_and_the_score_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("infimed_plugins.quality.privacy.pixels.can_read_pixels", lambda: False)
    (score,) = FiveDimension(read_pixels=True).score([sample(picture())], media_loader())
    assert score.parts["compliance"] is None and "pixels_unchecked" in score.reasons
    assert "pip install 'infimed[privacy]'" in score.note and score.raw["pixels_unchecked"] == 1.0


def test_without_ocr_a_copy_says_that_its_pixels_were_not_looked_at(monkeypatch, tmp_path):
    monkeypatch.setattr("infimed_plugins.quality.privacy.pixels.can_read_pixels", lambda: False)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(picture("MRN 00123456")))
    body = deidentify(tmp_path / "in", tmp_path / "out", key=b"k" * 16)
    assert "unchecked" in body["pixels"] and "pip install 'infimed[privacy]'" in body["pixels"]
    assert body["unchecked_in_the_copy"] == [{"place": "pixels", "reason": "pixels_unchecked", "count": 1}]


@pytest.mark.slow
@needs_ocr
def test_burned_in_identity_is_read_and_a_clean_picture_is_clear():
    reader = PixelReader()
    for text, inverted in (("DOE^JANE", False), ("DOB 1961-03-14", True)):
        assert burned_in(reader.read(picture("SUPINE", text, inverted=inverted))) == [Reason.PHI_PIXELS]
    assert burned_in(reader.read(picture("SUPINE"))) == []
    scores = FiveDimension(read_pixels=True).score([sample(picture("MRN 00123456")), sample(picture())], media_loader())
    assert [score.parts["compliance"] for score in scores] == [0.0, 1.0]
    assert "phi_pixels" in scores[0].reasons


@pytest.mark.slow
@needs_ocr
def test_covered_copies_of_pictures_and_dicom_hold_no_text(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    pixels = picture("ROSSI MARIA", "MRN 00123456")
    (source / "a.png").write_bytes(png(pixels))
    deep = pixels[..., 0].astype(np.uint16) * 16
    dicom(np.stack([deep, deep]), stored=12, BurnedInAnnotation="YES").save_as(
        source / "b.dcm", enforce_file_format=True
    )
    body = deidentify(source, tmp_path / "out", key=b"k" * 16)
    assert body["num_written"] == 2 and body["found_in_the_copy"] == [] and body["unchecked_in_the_copy"] == []
    covered = {row["action"]: row["count"] for row in body["changes"] if row["place"] == "pixels"}
    assert covered["line of text covered"] >= 4
    import pydicom

    (copy,) = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    frames = copy.pixel_array
    assert copy.BurnedInAnnotation == "NO" and frames.shape == (2, 256, 256) and frames.dtype == np.uint16
    assert (frames[:, 60:] == deep[60:]).all() and (frames[:, :38] != deep[:38]).any()
    assert "113101" in [code.CodeValue for code in copy.DeidentificationMethodCodeSequence]


def hidden(values: str) -> tuple[np.ndarray, dict[str, object]]:
    """A deep picture whose letters one window hides, and what its header says of windows."""
    letters = picture("ROSSI MARIA", "MRN 00123456")[..., 0]
    drawn = letters == 255
    body = letters.astype(np.uint16)
    if values == "narrow, behind one bright pixel":
        made = np.where(drawn, 1015, 1000 + body // 32).astype(np.uint16)
        made[200, 200] = 65_000
        return made, {}
    if values == "above a window":
        return np.where(drawn, 4000, 3500 + body).astype(np.uint16), {"WindowCenter": 1000, "WindowWidth": 800}
    if values == "in the file's window alone":
        made = (500 + body // 16).astype(np.uint16)
        made[60:] = np.linspace(0, 60_000, made[60:].size).reshape(made[60:].shape)
        return made, {"WindowCenter": [30_000, 508], "WindowWidth": [60_000, 18]}
    return np.where(drawn, 3000, 1000 + body).astype(np.uint16), {}


@pytest.mark.slow
@needs_ocr
@pytest.mark.parametrize(
    "values", ["narrow, behind one bright pixel", "above a window", "in the file's window alone", "above 255"]
)
def test_letters_are_read_in_every_window_that_shows_them(tmp_path, values):
    from PIL import Image

    deep, header = hidden(values)
    source = tmp_path / "in"
    source.mkdir()
    if values == "above 255":  # Pillow's own conversion to 8 bits shows white
        kind, path = "image", source / "a.png"
        Image.fromarray(deep).save(path)
    else:
        kind, path = "dicom", source / "b.dcm"
        dicom(deep[None], **header).save_as(path, enforce_file_format=True)
    found = scan_media(Media(kind=kind, uri=str(path)), media_loader(), PixelReader())
    assert found["pixels", "phi_pixels"]  # whoever checks the copy would see them
    body = deidentify(source, tmp_path / "out", key=b"k" * 16)
    assert body["num_written"] == 1 and body["found_in_the_copy"] == [] and body["unchecked_in_the_copy"] == []
    assert {row["action"] for row in body["changes"]} & {"line of text covered"}


def test_every_range_of_values_is_seen_in_some_rendition_and_none_twice():
    rng = np.random.default_rng(0)
    low, width = rng.integers(0, 60_000, 20), rng.integers(8, 2000, 20)
    for start, span in zip(low, width, strict=True):
        frame = np.linspace(0, 65_535, 64 * 64).reshape(64, 64)
        frame[8:56, 8:56] = start + span * (np.add.outer(np.arange(48) // 6, np.arange(48) // 6) % 2)
        seen = list(renditions(frame))
        steps = [np.ptp(one[8:56, 8:56, 0].astype(int)) for one in seen]
        assert max(steps) >= 60, (start, span, steps)
        assert all(np.abs(one.astype(int) - two).mean() >= 4 for one, two in itertools.combinations(seen, 2))
    flat = np.full((8, 8), np.nan)
    assert [one.max() for one in renditions(flat)] == [0]
    assert len(list(renditions(np.zeros((8, 8, 3), np.uint8)))) == 1
