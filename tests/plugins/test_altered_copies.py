"""Altered copies of a film are found, unlike films are not, and their time grows with the films."""

from __future__ import annotations

import numpy as np
import pytest

from infimed_plugins.filters.copies import altered_pairs
from infimed_plugins.filters.keypoints import Marks, changed, details, marks, prepared

SIDE = 320


def film(seed: int) -> np.ndarray:
    """Structure at every scale over the same broad tones, as films of one view have."""
    import cv2

    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    tones = 90 + 60 * np.sin(3 * rows) * np.cos(6 * columns)
    for scale in (6, 10, 20, 40):
        coarse = chance.normal(size=(SIDE // scale + 2, SIDE // scale + 2)).astype(np.float32)
        tones = tones + 4.5 * np.sqrt(scale) * cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) / 2
    return np.repeat(np.clip(tones, 5, 250).astype(np.uint8)[..., None], 3, axis=2)


def rotated(pixels: np.ndarray, degrees: float) -> np.ndarray:
    import cv2

    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(pixels, matrix, (SIDE, SIDE)))


CHANGES = {
    "crop": lambda pixels: pixels[32:, :-32],
    "rotation": lambda pixels: rotated(pixels, 5),
    "mirror": lambda pixels: pixels[:, ::-1],
    "inversion": lambda pixels: 255 - pixels,
    "mirror and inversion": lambda pixels: 255 - pixels[:, ::-1],
    "black border": lambda pixels: np.pad(pixels, ((40, 30), (50, 20), (0, 0))),
    "white border": lambda pixels: np.pad(pixels, ((40, 30), (50, 20), (0, 0)), constant_values=255),
    "contrast": lambda pixels: np.clip((pixels.astype(float) - 128) * 0.6 + 128, 0, 255).astype(np.uint8),
    "gamma": lambda pixels: ((pixels / 255) ** 1.8 * 255).astype(np.uint8),
    "half size": lambda pixels: pixels[::2, ::2],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_film_is_found_beside_unlike_ones(name):
    films = [marks(film(seed)) for seed in range(4)]
    again = marks(np.ascontiguousarray(CHANGES[name](film(2))))
    assert [(one, two) for one, two, _ in altered_pairs([*films, again])] == [(2, 4)]


def test_unlike_films_of_one_view_share_no_arrangement():
    assert not list(altered_pairs([marks(film(seed)) for seed in range(12)]))


def test_details_of_a_mirrored_or_inverted_picture_are_those_that_were_foretold():
    shown = prepared(film(0))
    as_is = details(shown)
    for place, other in ((1, np.ascontiguousarray(shown[:, ::-1])), (2, 255 - shown)):
        foretold, found = changed(as_is.vectors)[place], details(other)
        nearest = (foretold[:, None] * found.vectors[None]).sum(axis=2).max(axis=1)
        assert np.median(nearest) > 0.97


def test_flat_pictures_and_missing_ones_have_no_pairs():
    flat = marks(np.full((64, 64, 3), 90, np.uint8))
    assert flat.codes.shape[1] == 0
    assert not list(altered_pairs([flat, None, flat]))


def test_codes_that_many_details_have_are_left_out():
    places = np.zeros((12, 3), np.float16) + np.float16(5)
    common = Marks(places, np.zeros((4, 12), np.uint32))
    assert not list(altered_pairs([common] * 40))
