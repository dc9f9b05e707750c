"""What is measured of a picture: margins and empty ground are no defects, and few studies are trusted little."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality import measurements
from infimed_plugins.quality.calibration import distances, summarise
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.quality.measurements import MEASUREMENTS, measure
from infimed_plugins.quality.scorer import FiveDimension


def test_a_white_margin_is_no_overexposure_and_white_within_the_anatomy_is():
    pixels = np.random.default_rng(0).integers(40, 200, (128, 128, 3)).astype(np.uint8)
    pixels[:, :50] = 255
    assert measure(pixels, 512)["clipped"] == 0.0
    pixels[60:80, 80:100] = 255
    assert measure(pixels, 512)["clipped"] == pytest.approx(400 / 128**2)


def test_a_slice_with_little_anatomy_is_not_dark_and_a_dark_one_is():
    pixels = np.zeros((128, 128, 3), dtype=np.uint8)
    pixels[60:70, 60:70] = 200  # under one percent of the picture
    assert measure(pixels, 512)["brightest"] == pytest.approx(np.log(201))
    assert measure(pixels // 4, 512)["brightest"] == pytest.approx(np.log(51))


def test_letters_on_a_flat_ground_are_no_compression_and_strong_jpeg_is():
    import cv2

    chance = np.random.default_rng(0)
    frame = np.zeros((192, 256, 3), dtype=np.uint8)
    frame[40:168, 60:188] = chance.normal(110, 6, (128, 128, 1)).clip(20, 240)
    plain = measure(frame, 512)["ringing"]
    for ground, top in ((0, 8), (60, 170)):  # on black, and in a banner of one colour
        frame[top - 8 : top + 22] = np.maximum(frame[top - 8 : top + 22], ground)
        for line in (0, 12):
            cv2.putText(frame, "Hospital 12:56 MI 1.1 TIS 0.2 90", (2, top + line + 8), 0, 0.4, (255, 255, 255))
    assert measure(frame, 512)["ringing"] == pytest.approx(plain, abs=MEASUREMENTS["ringing"].floor / 4)
    damaged = cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_COLOR)
    assert measure(damaged, 512)["ringing"] > plain + 2 * MEASUREMENTS["ringing"].floor


def test_half_of_the_lines_of_a_large_picture_say_what_all_say(monkeypatch):
    chance = np.random.default_rng(0)
    coarse = sum(np.kron(chance.normal(size=(512 // n,) * 2), np.ones((n, n))) for n in (1, 4, 16))
    pixels = np.repeat(np.clip(coarse * 30 + 120, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    half = measure(pixels, 512)
    monkeypatch.setattr(measurements, "MEASURED_LINES", 512)
    every = measure(pixels, 512)
    for name in ("blur", "blockiness"):
        assert half[name] == pytest.approx(every[name], abs=MEASUREMENTS[name].floor / 2)


def test_one_study_says_nothing_of_the_spread():
    values = [dict.fromkeys(MEASUREMENTS, 0.0)]
    pooled = summarise([dict.fromkeys(MEASUREMENTS, part) for part in (-1.0, 0.0, 1.0)], 10)
    one, many = summarise(values, 1), summarise(values, 100)
    probe = {name: float(rule.bad) for name, rule in MEASUREMENTS.items()}
    width = pooled.spreads["blur"].edge - pooled.spreads["blur"].median
    assert distances(probe, one, pooled)["blur"] == pytest.approx(-1 / (2 * width))
    assert distances(probe, many, pooled)["blur"] < -5


def _disc(bands: list[tuple[int, int, int]]) -> bytes:
    """A round coloured picture on black, as a camera for eyes takes it, with rows of one level drawn over it."""
    rows, columns = np.mgrid[:240, :240]
    chance = np.random.default_rng(0)
    inside = ((rows - 120) ** 2 + (columns - 120) ** 2 < 115**2)[..., None]
    pixels = (inside * (chance.normal(0, 6, (240, 240, 1)) + np.array([150, 80, 40]) + rows[..., None] / 8)).clip(
        0, 255
    )
    for first, end, level in bands:
        pixels[first:end] = level
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("bands", "flagged"),
    [([], False), ([(0, 10, 0), (230, 240, 0)], False), ([(0, 12, 255)], False), ([(0, 90, 0)], False),
     ([(0, 60, 255), (180, 240, 0)], True), ([(170, 240, 250)], True)],
)  # fmt: skip
def test_white_bands_over_a_good_part_of_a_picture_on_black_are_a_fault(bands, flagged):
    turns = (
        Turn(role="user", content=(0, "Describe.")),
        Turn(role="assistant", content=("The optic disc is normal.",)),
    )
    sample = Sample(id="x", turns=turns, media=(Media(data=_disc(bands)),), tags={"modality": "fundus"})
    (told,) = FiveDimension().score([sample], media_loader())
    assert ("image_margin" in told.reasons) == flagged
    assert (told.parts["image_quality"] < 0.5) == flagged
