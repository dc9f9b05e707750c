"""Films and slices as readers see them: what a reader would refuse is noticed, what a reader would keep is kept."""

from __future__ import annotations

import numpy as np
import pytest

from infimed_plugins.quality.calibration import load_calibration
from infimed_plugins.quality.chest import mean_film
from infimed_plugins.quality.measurements import measure
from infimed_plugins.quality.pictures import Picture, image_quality
from infimed_plugins.quality.profile import load_profile


def film(side: int = 512, seed: int = 0) -> np.ndarray:
    """A picture with the tones of a frontal chest film, structure at every scale and some noise."""
    import cv2

    chance = np.random.default_rng(seed)
    tones = cv2.resize(mean_film(), (side, side), interpolation=cv2.INTER_CUBIC)
    texture = sum(
        cv2.resize(chance.normal(size=(side // scale, side // scale)), (side, side)) * scale / 8
        for scale in (2, 4, 8, 32)
    )
    grey = np.clip(118 + 42 * tones + 6 * texture + chance.normal(0, 1, (side, side)), 2, 235)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def judged(pixels: np.ndarray, modality: str = "CR", chest: bool | None = True) -> tuple[float, set[str]]:
    profile = load_profile("default")
    picture = Picture(measure(pixels, profile.image.max_measured_side), pixels.shape[:2])
    quality, reasons, _ = image_quality(picture, modality, profile, load_calibration(None), chest)
    return quality, {reason.value for reason in reasons}


def brighter(pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(pixels.astype(float) * factor, 0, 255).astype(np.uint8)


def test_a_good_film_is_kept_also_with_a_marker_at_white_and_a_narrow_border():
    assert judged(film())[0] > 0.5
    marked = film()
    marked[40:68, 440:468] = 255  # 0.3% of the picture
    assert judged(marked)[0] > 0.5
    assert judged(np.pad(film(), ((20, 20), (20, 20), (0, 0))))[0] > 0.5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda pixels: brighter(pixels, 2.6), "image_clipped"),
        (lambda pixels: brighter(pixels, 0.2), "image_low_contrast"),
        (lambda pixels: np.clip((pixels.astype(float) - 120) * 6 + 128, 0, 255).astype(np.uint8), "image_clipped"),
        (lambda pixels: (pixels * 0.25 + 90).astype(np.uint8), "image_low_contrast"),
        (lambda pixels: np.pad(pixels, ((256, 256), (256, 256), (0, 0))), "image_margin"),
        (lambda pixels: pixels[::9, ::9], "image_too_small"),
    ],
    ids=["nearly white", "nearly black", "narrow window", "flat window", "mostly border", "57 pixels"],
)
def test_a_film_that_a_reader_would_refuse_is_noticed(change, reason):
    quality, reasons = judged(change(film()))
    assert quality < 0.5 and reason in reasons


def test_an_inverted_or_turned_chest_film_is_noticed_and_another_region_is_not_taken_for_one():
    assert "image_inverted" in judged(255 - film())[1]
    assert "image_turned" in judged(film()[::-1])[1]
    assert "image_turned" in judged(np.rot90(film()))[1]
    assert not {"image_inverted", "image_turned"} & judged(255 - film(), chest=None)[1]


def test_a_slice_whose_air_is_white_is_inverted():
    disc = np.zeros((192, 192, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:192, :192]
    disc[(rows - 96) ** 2 + (columns - 96) ** 2 < 80**2] = 150
    disc = np.clip(disc + np.random.default_rng(0).normal(0, 8, disc.shape) * (disc > 0), 0, 255).astype(np.uint8)
    for modality in ("CT", "MR"):
        assert "image_inverted" in judged(255 - disc, modality, None)[1]
        assert "image_inverted" not in judged(disc, modality, None)[1]


def test_the_whole_of_a_large_picture_is_measured_and_not_its_centre():
    mammogram = np.zeros((2000, 2000, 3), dtype=np.uint8)
    mammogram[:, :600] = film(2000)[:, :600]
    values = measure(mammogram, 512)
    assert values["range"] > 50
    assert judged(mammogram, "MG", None)[0] > 0.0
