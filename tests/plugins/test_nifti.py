"""The modality ``nifti``: the same slice whatever the order in which the file stores it."""

from __future__ import annotations

import gzip
import itertools
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import DataError, Media
from infimed_plugins.nifti.modality import Nifti

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of

NIFTI = Nifti(percentiles=(0, 100))
SHAPE = (5, 7, 9)
RAS = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)


def volume(array=RAS, affine=None, **options):
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    return Media(kind="nifti", data=image.to_bytes(), options=options)


def test_axial_slices_are_shown_from_below_front_up_and_patients_right_on_the_left():
    marked = np.zeros(SHAPE, np.int16)
    marked[4, 6, 3] = 100  # rightmost, foremost
    grey = NIFTI.load(volume(marked, axis=2, index=3))[..., 0]
    assert grey.shape == NIFTI.probe(volume(marked, axis=2)) == (7, 5)
    assert grey[0, 0] == 255 and grey.sum() == 255
    other = Nifti(percentiles=(0, 100), convention="neurological").load(volume(marked, axis=2, index=3))[..., 0]
    assert other[0, -1] == 255


def test_coronal_and_sagittal_slices_have_the_head_up():
    marked = np.zeros(SHAPE, np.int16)
    marked[4, 6, 8] = 100  # rightmost, foremost, topmost
    coronal = NIFTI.load(volume(marked, axis=1, index=6))[..., 0]
    sagittal = NIFTI.load(volume(marked, axis=0, index=4))[..., 0]
    assert coronal.shape == (9, 5) and coronal[0, 0] == 255
    assert sagittal.shape == (9, 7) and sagittal[0, 0] == 255  # facing left


ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_all_48_storage_orders_give_the_same_slice(axis):
    expected = NIFTI.load(volume(axis=axis, index=2))
    for order, signs in ORIENTATIONS:
        stored = RAS.transpose(order)
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for position, (source, sign) in enumerate(zip(order, signs, strict=True)):
            affine[source, position] = sign
            if sign < 0:
                stored = np.flip(stored, position)
        media = volume(np.ascontiguousarray(stored), affine, axis=axis, index=2)
        assert NIFTI.probe(media) == expected.shape[:2]
        assert (NIFTI.load(media) == expected).all(), (order, signs)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_files_and_bytes_plain_and_compressed_give_the_same(tmp_path, ending, version):
    path = tmp_path / f"v{ending}"
    nibabel.save(version(RAS, np.eye(4)), path)
    for options in ({}, {"axis": 0, "index": 1}):
        expected = NIFTI.load(volume(**options))
        assert (NIFTI.load(Media(kind="nifti", uri=str(path), options=options)) == expected).all()
        assert (NIFTI.load(Media(kind="nifti", data=path.read_bytes(), options=options)) == expected).all()
        assert NIFTI.probe(Media(kind="nifti", uri=str(path), options=options)) == expected.shape[:2]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_truncated_file_is_an_error_even_for_a_slice_before_the_cut(tmp_path, ending):
    path = tmp_path / f"v{ending}"
    nibabel.save(
        nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 9999, (20, 20, 20)).astype(np.int16), np.eye(4)), path
    )
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.9)])
    assert code_of(NIFTI.load, Media(kind="nifti", uri=str(path), options={"index": 0})) == "truncated"
    assert code_of(NIFTI.load, Media(kind="nifti", data=path.read_bytes(), options={"index": 0})) == "truncated"


def test_the_middle_is_the_default_and_a_slice_that_is_not_there_is_a_fault():
    assert (NIFTI.load(volume()) == NIFTI.load(volume(axis=2, index=4))).all()
    assert code_of(NIFTI.probe, volume(index=9)) == "no_such_slice"
    assert code_of(NIFTI.load, volume(index=-1)) == "no_such_slice"
    assert code_of(NIFTI.probe, volume(volume=1)) == "no_such_slice"
    assert code_of(NIFTI.probe, volume(axis=3)) == "bad_option"
    assert code_of(NIFTI.load, volume(window=[1])) == "bad_option"


def test_a_time_series_gives_the_volume_asked_for():
    series = np.stack([RAS, 1000 - RAS], axis=-1)
    assert (NIFTI.load(volume(series, volume=1)) == NIFTI.load(volume((1000 - RAS).astype(np.int16)))).all()


def test_scaling_of_the_header_is_applied_before_the_window():
    image = nibabel.Nifti1Image(RAS, np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    scaled = Media(kind="nifti", data=image.to_bytes(), options={"window": [0, 2000]})
    written = nibabel.Nifti1Image.from_bytes(scaled.data)
    values = np.asarray(written.dataobj)[:, :, 4]
    expected = np.rint(np.clip((values + 1000) / 2000, 0, 1) * 255)
    assert (NIFTI.load(scaled)[..., 0] == np.fliplr(np.rot90(expected))).all()


@given(st.floats(-500, 500), st.floats(1, 3000))
@settings(max_examples=25, deadline=None)
def test_a_window_maps_its_ends_to_black_and_white(center, width):
    ramp = np.linspace(center - width, center + width, 64, dtype=np.float64).reshape(4, 4, 4)
    grey = NIFTI.load(volume(ramp, index=0, window=[center, width]))
    assert grey.min() == 0
    assert NIFTI.load(volume(ramp, index=3, window=[center, width])).max() == 255


def test_nan_is_dark_and_a_slice_of_nan_is_a_fault():
    values = RAS.astype(np.float32)
    values[0, 0, 4] = np.nan
    assert NIFTI.load(volume(values)).shape == (7, 5, 3)
    assert code_of(NIFTI.load, volume(np.full(SHAPE, np.nan, np.float32))) == "not_finite"


def test_a_constant_slice_is_black_and_colour_volumes_keep_their_colour():
    assert (NIFTI.load(volume(np.full(SHAPE, 7, np.int16))) == 0).all()
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"] = 200
    assert (NIFTI.load(volume(colour)) == [0, 200, 0]).all()


def test_what_is_no_volume_says_so(tmp_path):
    assert code_of(NIFTI.probe, Media(kind="nifti", uri=str(tmp_path / "none.nii"))) == "missing_file"
    (tmp_path / "text.nii").write_text("hello")
    assert code_of(NIFTI.probe, Media(kind="nifti", uri=str(tmp_path / "text.nii"))) == "not_nifti"
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"hello"))
    assert code_of(NIFTI.probe, Media(kind="nifti", uri=str(tmp_path / "text.nii.gz"))) == "not_nifti"
    assert code_of(NIFTI.probe, Media(kind="nifti", data=b"")) == "not_nifti"
    assert code_of(NIFTI.probe, Media(kind="nifti")) == "missing_file"
    assert code_of(NIFTI.probe, volume(np.zeros(4, np.int16))) == "not_nifti"
    assert code_of(Nifti(max_voxels=10).probe, volume()) == "too_large"


@pytest.mark.parametrize("packed", [False, True])
def test_flipped_bytes_give_pixels_as_probed_or_a_fault_and_nothing_else(packed):
    rng = np.random.default_rng(3)
    good = nibabel.Nifti1Image(RAS, np.eye(4)).to_bytes()
    good = np.frombuffer(gzip.compress(good, mtime=0) if packed else good, dtype=np.uint8)
    for _ in range(100):
        bad = good.copy()
        bad[rng.integers(0, min(len(bad), 352), 4)] = rng.integers(0, 256, 4)
        media = Media(kind="nifti", data=bad.tobytes())
        try:
            assert NIFTI.load(media).shape[:2] == NIFTI.probe(media)
        except DataError as error:
            assert "\n" not in str(error)
