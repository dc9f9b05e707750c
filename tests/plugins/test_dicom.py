"""The modality ``dicom``: shown as a viewing station shows it, and strict."""

from __future__ import annotations

import gzip
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from infimed_core import DataError, Media
from infimed_plugins.dicom import opening
from infimed_plugins.dicom.modality import Dicom
from infimed_plugins.dicom.windows import PRESETS, apply_window

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of, dataset, media

DICOM = Dicom()
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


RAMP = np.arange(-1000, 1048, dtype=np.int16).reshape(32, 64)


def test_rescaled_values_go_through_the_files_own_window():
    stored = (RAMP + 1024).astype(np.uint16)
    made = dataset(stored, RescaleSlope="1", RescaleIntercept="-1024", WindowCenter="40", WindowWidth="400")
    grey = DICOM.load(media(made))[..., 0]
    assert (grey[RAMP <= -160] == 0).all() and (grey[RAMP >= 240] == 255).all()
    assert abs(int(grey[RAMP == 40][0]) - 128) <= 1
    assert DICOM.probe(media(made)) == grey.shape == (32, 64)


@pytest.mark.parametrize("window", [*PRESETS, [40, 400], [-600, 1500]])
def test_a_window_is_chosen_by_option_or_setting(window):
    center, width = PRESETS[window] if isinstance(window, str) else window
    expected = np.rint(apply_window(RAMP, center, width) * 255)
    assert (DICOM.load(media(dataset(RAMP), window=window))[..., 0] == expected).all()
    setting = window if isinstance(window, str) else tuple(window)
    assert (Dicom(window=setting).load(media(dataset(RAMP)))[..., 0] == expected).all()


def test_a_window_that_is_none_is_a_fault():
    for wrong in ("pelvis", [40], [40, 0], ["a", "b"], 7):
        assert code_of(DICOM.load, media(dataset(RAMP), window=wrong)) == "bad_option"


def test_a_file_packed_by_gzip_is_read_and_what_it_unpacks_to_is_bounded(tmp_path, monkeypatch):
    whole = (FOLDER / "CT_small.dcm").read_bytes()
    packed, plain = tmp_path / "a.dcm.gz", Media(kind="dicom", uri=str(FOLDER / "CT_small.dcm"))
    packed.write_bytes(gzip.compress(whole))
    assert (DICOM.load(Media(kind="dicom", uri=str(packed))) == DICOM.load(plain)).all()
    for content, code in (
        (gzip.compress(whole)[:-2000], "truncated"),
        (b"\x1f\x8bnothing of gzip", "corrupt"),
        (gzip.compress(b"no DICOM file"), "not_dicom"),
        (gzip.compress(b"\0" * 10**6), "too_large"),
    ):
        packed.write_bytes(content)
        monkeypatch.setattr(opening, "INFLATED_BYTES", 10**5 if code == "too_large" else 2**30)
        assert code_of(DICOM.probe, Media(kind="dicom", uri=str(packed))) == code


def test_the_first_of_several_windows_counts_and_full_ignores_padding():
    made = dataset(RAMP, WindowCenter=["40", "-600"], WindowWidth=["400", "1500"])
    assert (DICOM.load(media(made)) == DICOM.load(media(dataset(RAMP), window=[40, 400]))).all()
    padded = RAMP.copy()
    padded[0, :] = -2000
    grey = DICOM.load(media(dataset(padded, PixelPaddingValue=-2000)))[..., 0]
    assert (grey[0] == 0).all() and grey[1, 0] == 0 and grey[31, 63] == 255


@pytest.mark.parametrize("function", ["SIGMOID", "LINEAR_EXACT"])
def test_the_files_window_function_is_used(function):
    made = dataset(RAMP, WindowCenter="0", WindowWidth="500", VOILUTFunction=function)
    expected = np.rint(apply_window(RAMP, 0, 500, function) * 255)
    assert (DICOM.load(media(made))[..., 0] == expected).all()
    assert not (expected == np.rint(apply_window(RAMP, 0, 500) * 255)).all()


@given(st.floats(-2000, 2000), st.floats(1, 4000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
def test_a_window_keeps_the_order_of_values_and_its_center_in_the_middle(center, width, function):
    values = np.array([center - 5000, center - width / 4, center, center + width / 4, center + 5000])
    grey = apply_window(values, center, width, function)
    assert (np.diff(grey) >= 0).all() and grey.min() >= 0 and grey.max() <= 1
    if width >= 20:
        assert abs(grey[2] - 0.5) <= 0.06


def test_monochrome1_is_inverted():
    plain = DICOM.load(media(dataset(RAMP)))
    inverted = DICOM.load(media(dataset(RAMP, PhotometricInterpretation="MONOCHROME1")))
    assert (plain.astype(int) + inverted == 255).all()


def test_each_frame_has_its_own_pixels_and_its_own_functional_groups():
    frames = np.stack([RAMP, RAMP[::-1]])

    def group(center):
        window, outer = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, "400"
        outer.FrameVOILUTSequence = Sequence([window])
        return outer

    made = dataset(frames, PerFrameFunctionalGroupsSequence=Sequence([group("40"), group("300")]))
    assert (DICOM.load(media(made, frame=0)) == DICOM.load(media(dataset(RAMP), window=[40, 400]))).all()
    assert (DICOM.load(media(made, frame=1)) == DICOM.load(media(dataset(RAMP[::-1]), window=[300, 400]))).all()
    for wrong in (2, -1, "a", True):
        assert code_of(DICOM.probe, media(made, frame=wrong)) == "no_such_frame"


def test_rescale_in_shared_functional_groups_is_applied():
    values, outer = Dataset(), Dataset()
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "2", "-100", "US"
    outer.PixelValueTransformationSequence = Sequence([values])
    made = dataset(RAMP[None], SharedFunctionalGroupsSequence=Sequence([outer]))
    expected = np.rint(apply_window(RAMP * 2.0 - 100, 40, 400) * 255)
    assert (DICOM.load(media(made, window=[40, 400]))[..., 0] == expected).all()


@pytest.mark.parametrize("share", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("name", ["CT_small", "MR_small_jp2klossless", "SC_rgb_jpeg_gdcm", "MR_small_RLE"])
def test_truncated_pixels_are_an_error(name, share):
    data = Path(get_testdata_file(f"{name}.dcm", download=False)).read_bytes()
    end = len(data) - (140 if name == "CT_small" else 0)  # padding follows the pixels there
    assert code_of(DICOM.load, Media(kind="dicom", data=data[: int(end * share)])) == "truncated"


def test_files_that_are_no_image_say_so(tmp_path):
    assert code_of(DICOM.probe, Media(kind="dicom", uri=str(tmp_path / "none.dcm"))) == "missing_file"
    assert code_of(DICOM.probe, Media(kind="dicom", data=b"hello" * 100)) == "not_dicom"
    assert code_of(DICOM.probe, Media(kind="dicom", data=b"")) in ("not_dicom", "truncated")
    assert code_of(DICOM.probe, Media(kind="dicom")) == "missing_file"
    assert code_of(DICOM.probe, Media(kind="dicom", uri=str(FOLDER / "rtplan.dcm"))) == "no_pixels"
    assert code_of(DICOM.probe, media(dataset(RAMP, Rows=30000, Columns=30000))) == "too_large"


def test_a_file_without_preamble_is_read_where_the_run_file_says_so():
    place = Media(kind="dicom", uri=str(FOLDER / "ExplVR_LitEndNoMeta.dcm"))
    assert code_of(DICOM.probe, place) == "not_dicom"
    assert code_of(Dicom(force=True).probe, place) in ("no_pixels",) or Dicom(force=True).load(place).ndim == 3


def test_real_files_of_many_syntaxes_and_colour_spaces_decode_as_their_header_says():
    pytest.importorskip("pylibjpeg", reason="compressed syntaxes need the extra dicom")
    num_read, syntaxes, colours = 0, set(), set()
    for file in sorted(FOLDER.glob("*.dcm")):
        place = Media(kind="dicom", uri=str(file))
        try:
            size = DICOM.probe(place)
            pixels = DICOM.load(place)
        except DataError as error:
            assert str(error).startswith(str(file))
            continue
        assert pixels.shape == (*size, 3) and pixels.dtype == np.uint8
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(file, stop_before_pixels=True)
        num_read += 1
        syntaxes.add(header.file_meta.TransferSyntaxUID)
        colours.add(header.PhotometricInterpretation)
    assert num_read >= 55 and len(syntaxes) >= 8
    assert {"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"} & colours >= {
        "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR",
    }  # fmt: skip


def test_one_picture_is_the_same_in_rgb_and_in_ybr():
    rgb = DICOM.load(Media(kind="dicom", uri=str(FOLDER / "SC_rgb_rle.dcm"))).astype(int)
    ybr = DICOM.load(Media(kind="dicom", uri=str(FOLDER / "SC_ybr_full_422_uncompressed.dcm"))).astype(int)
    assert rgb.shape == ybr.shape
    assert np.median(np.abs(rgb - ybr)) <= 2 and np.abs(rgb - ybr).mean() <= 8


@pytest.mark.parametrize("name", ["CT_small", "MR_small_RLE", "SC_rgb_jpeg_dcmtk", "examples_palette"])
def test_flipped_bytes_give_pixels_as_probed_or_a_fault_and_nothing_else(name):
    rng = np.random.default_rng(3)
    good = np.frombuffer((FOLDER / f"{name}.dcm").read_bytes(), dtype=np.uint8)
    for _ in range(60):
        bad = good.copy()
        bad[rng.integers(128, min(len(bad), 4000), 4)] = rng.integers(0, 256, 4)
        place = Media(kind="dicom", data=bad.tobytes())
        try:
            assert DICOM.load(place).shape[:2] == DICOM.probe(place)
        except DataError as error:
            assert "\n" not in str(error)
