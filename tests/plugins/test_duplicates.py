"""the filter ``duplicates`` and the hash search: no pair missed, no neighbour taken for a copy, every count adds up."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import Media, Sample, Turn
from infimed_core.testing import check_component
from infimed_plugins.executors.local import Processes, Serial
from infimed_plugins.filters.duplicates import Duplicates
from infimed_plugins.filters.hamming import close_pairs
from infimed_plugins.filters.pictures import perceptual_hash
from infimed_plugins.filters.texts import bands, exact_print, ngrams, similarity, words_of
from infimed_plugins.quality.installed import media_loader

LONG = (
    "Axial T1-weighted image of the brain at the level of the lateral ventricles shows no focal lesion, "
    "normal grey-white differentiation, symmetric sulci and midline structures without shift."
)


def picture(seed: int, size: int = 96) -> np.ndarray:
    """A grey picture with structure at low frequencies."""
    import cv2

    coarse = np.random.default_rng(seed).normal(128, 60, (12, 12)).astype(np.float32)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(smooth, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def encoded(pixels: np.ndarray, form: str = "PNG", **options) -> Media:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return Media(data=file.getvalue())


def sample(identity: str, text: str = LONG, *media: Media, **tags: str) -> Sample:
    asked = Turn(role="user", content=(*range(len(media)), "Describe the picture."))
    return Sample(id=identity, turns=(asked, Turn(role="assistant", content=(text,))), media=media, tags=tags)


def check(samples, filter_=None, executor=None):
    return (filter_ or Duplicates()).check(samples, {}, media_loader(), executor or Serial())


def hashes_with_neighbours(seed: int, num: int, spread: int) -> np.ndarray:
    """Hashes of which many are copies of another with up to ``spread`` bits changed."""
    chance = np.random.default_rng(seed)
    made = chance.integers(0, 256, (num, 32), dtype=np.uint8)
    bits = np.unpackbits(made, axis=1)
    for row in range(1, num):
        if chance.random() < 0.6:
            bits[row] = bits[chance.integers(row)]
            flips = chance.choice(256, chance.integers(0, spread + 1), replace=False)
            bits[row, flips] ^= 1
    return np.packbits(bits, axis=1)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 80), st.integers(0, 31), st.booleans())
def test_no_pair_is_missed_against_brute_force(seed, num, distance, two_sides):
    left = hashes_with_neighbours(seed, num, 34) if num else np.zeros((0, 32), np.uint8)
    right = left[::2].copy() if two_sides else None
    other = left if right is None else right
    apart = np.unpackbits(left[:, None] ^ other[None], axis=2).sum(axis=2)
    rows, columns = np.nonzero(apart <= distance)
    if right is None:
        rows, columns = rows[rows < columns], columns[rows < columns]
    i, j, bits = close_pairs(left, right, distance)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == list(zip(rows.tolist(), columns.tolist(), strict=True))
    assert (bits == apart[i, j]).all()


def test_few_of_all_pairs_are_compared(monkeypatch):
    from infimed_plugins.filters import hamming

    compared = 0
    blocks = hamming._blocks

    def counting(starts, counts):
        nonlocal compared
        for rows, places in blocks(starts, counts):
            compared += len(rows)
            yield rows, places

    monkeypatch.setattr(hamming, "_blocks", counting)
    num = 20_000
    close_pairs(np.random.default_rng(0).integers(0, 256, (num, 32), dtype=np.uint8), None, 14)
    assert compared < num * num / 800


def test_a_distance_that_the_search_cannot_promise_is_refused():
    with pytest.raises(ValueError, match="between 0 and 31"):
        close_pairs(np.zeros((1, 32), np.uint8), None, 32)


@pytest.mark.parametrize("quality", [95, 75])
def test_the_hash_survives_encoding_and_size_but_not_mirroring(quality):
    import cv2

    for seed in range(5):
        pixels = picture(seed)
        first = np.frombuffer(perceptual_hash(pixels), np.uint8)

        def bits(other, first=first):
            return int(np.unpackbits(first ^ np.frombuffer(perceptual_hash(other), np.uint8)).sum())

        again = media_loader().load(encoded(pixels, "JPEG", quality=quality))
        assert bits(again) <= 14
        assert bits(cv2.resize(pixels, (190, 190))) <= 14
        assert bits(pixels[:, ::-1]) > 31
        assert bits(picture(seed + 100)) > 31


def test_a_flat_picture_has_no_hash():
    assert perceptual_hash(np.full((64, 64, 3), 7, np.uint8)) is None


def test_the_first_of_equal_samples_is_kept_whatever_the_file_format():
    pixels = picture(1)
    rows = [
        sample("a", LONG, encoded(pixels)),
        sample("b", LONG, encoded(pixels, "BMP")),
        sample("c", LONG, encoded(pixels, "JPEG", quality=90)),
        sample("d", LONG, encoded(picture(2))),
        sample("e", "Another text about it.", encoded(pixels)),
    ]
    filtered = check(rows)
    assert filtered.rejected == {"b": ("duplicate",), "c": ("near_duplicate_picture",)}
    assert [(pair["id"], pair["kept"]) for pair in filtered.details["pairs"]] == [("b", "a"), ("c", "a")]
    assert filtered.details["num_duplicates"] == 2 and filtered.details["num_distinct_pictures"] == 3
    assert sum(filtered.details["reasons"].values()) == len(filtered.rejected)
    by_picture = check(rows, Duplicates(compare="pictures"))
    assert set(by_picture.rejected) == {"b", "c", "e"}


def test_slices_of_one_study_are_duplicates_only_where_their_pixels_are_equal():
    pixels = picture(1)
    near = np.clip(pixels.astype(int) + 1, 0, 255).astype(np.uint8)
    same = [sample("a", LONG, encoded(pixels), study="1"), sample("b", LONG, encoded(near), study="1")]
    assert check(same).rejected == {}
    other = [same[0], sample("b", LONG, encoded(near), study="2")]
    assert check(other).rejected == {"b": ("near_duplicate_picture",)}
    equal = [*same, sample("c", LONG, encoded(near), study="1")]
    assert check(equal).rejected == {"c": ("duplicate",)}


def test_near_texts_are_found_and_short_texts_must_be_equal():
    rows = [
        sample("a", LONG),
        sample("b", LONG.replace("symmetric sulci", "symmetrical sulci")),
        sample("c", "No pleural effusion."),
        sample("d", "Large pleural effusion."),
        sample("e", "no  pleural effusion. "),
    ]
    filtered = check(rows, Duplicates(near_text=0.75))
    assert filtered.rejected == {"b": ("near_duplicate_text",), "e": ("duplicate",)}
    assert check(rows, Duplicates(near_text=0.99)).rejected == {"e": ("duplicate",)}


def test_every_picture_of_a_sample_counts():
    one, two, three = encoded(picture(1)), encoded(picture(2)), encoded(picture(3))
    rows = [
        sample("a", LONG, one, two),
        sample("b", LONG, one, three),
        sample("c", LONG, one, two),
        sample("d", LONG, one),
    ]
    assert check(rows).rejected == {"c": ("duplicate",)}


def test_a_picture_that_cannot_be_opened_is_counted_and_rejects_nothing():
    rows = [sample("a", LONG, Media(data=b"broken")), sample("b", LONG, Media(data=b"broken too"))]
    filtered = check(rows)
    assert filtered.rejected == {}
    assert filtered.details["num_unreadable_media"] == 2 and len(filtered.details["unreadable"]) == 2
    rows += [sample("c", LONG, encoded(picture(5)))]
    assert check(rows).rejected == {}, "a picture that can be read is like none that cannot"


def test_reporting_only_rejects_nothing_and_tells_the_same():
    rows = [sample("a"), sample("b")]
    removing, reporting = check(rows), check(rows, Duplicates(remove=False))
    assert set(removing.rejected) == {"b"} and reporting.rejected == {}
    assert {**removing.details, "removed": False} == reporting.details


def test_the_verdict_does_not_depend_on_the_executor():
    rows = [sample(str(n), LONG, encoded(picture(n % 40))) for n in range(60)]
    check_component(Duplicates())
    assert check(rows) == check(rows, executor=Processes(num_processes=2))


@given(st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]), min_size=1, max_size=40))
def test_a_text_is_like_itself_and_in_its_own_bands(words):
    assert similarity(words, words) == 1.0
    assert (bands(words) == bands(list(words))).all()
    assert len(ngrams(words, 3)) <= max(0, len(words) - 2)


def test_texts_of_high_similarity_share_a_band():
    chance = np.random.default_rng(3)
    vocabulary = [f"word{number}" for number in range(500)]
    missed = 0
    for _ in range(200):
        words = chance.choice(vocabulary, 80).tolist()
        changed = list(words)
        changed[int(chance.integers(80))] = "changed"
        assert similarity(words, changed) > 0.85
        missed += not (bands(words) == bands(changed)).any()
    assert missed == 0


@pytest.mark.parametrize("text", ["", "右肺上叶结节。", "T2\u00a0FLAIR", "\ud800"])
def test_any_text_has_a_print(text):
    assert len(exact_print(text)) == 16
    words_of(text)
