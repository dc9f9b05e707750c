"""Files with bytes changed, cut out or repeated give pixels of the size that ``probe`` says, or a ``DataError``.

Every modality is tried with 400 cases, or ``INFIMED_FUZZ_CASES`` (2,000 before a release), shared among its kinds
of file.
"""

from __future__ import annotations

import gzip
import os
import sys
import warnings
from collections import Counter
from io import BytesIO
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infimed_core import DataError, Media
from infimed_plugins.dicom.modality import Dicom
from infimed_plugins.image.modality import Image
from infimed_plugins.nifti.modality import Nifti

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import encoded

CASES = int(os.environ.get("INFIMED_FUZZ_CASES", "400"))
RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (24, 40, 3), dtype=np.uint8)
DEEP = RANDOM.integers(0, 4096, (24, 40, 3)).astype(np.uint16)
VOLUME = nibabel.Nifti1Image(RANDOM.integers(0, 1000, (5, 6, 7)).astype(np.int16), np.eye(4)).to_bytes()
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


def tiff(array, **options):
    buffer = BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def seeds():
    for format in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "JPEG2000", "PPM", "AVIF"):
        yield Image(), format, encoded(PICTURE, format)
    yield Image(), "PNG16", cv2.imencode(".png", DEEP)[1].tobytes()
    yield Image(), "TIFF16", tiff(DEEP, photometric="rgb")
    yield Image(), "TIFFplanes", tiff(DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    yield Image(), "TIFFfloat", tiff(DEEP[..., 0].astype(float), compression="zlib", predictor=True)
    yield Image(), "TIFFtiles", tiff(DEEP[..., 0].astype(np.int32), compression="lzw", tile=(16, 16))
    for name in ("CT_small", "MR_small_RLE", "SC_rgb_jpeg_dcmtk", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"):
        yield Dicom(), name, (FOLDER / f"{name}.dcm").read_bytes()
    for name in ("image_dfl", "SC_rgb_small_odd", "MR_small_bigendian", "liver_1frame", "rtdose_1frame"):
        yield Dicom(), name, (FOLDER / f"{name}.dcm").read_bytes()
    yield Nifti(), "NIfTI", VOLUME
    yield (
        Nifti(),
        "NIfTI2",
        nibabel.Nifti2Image.from_bytes(nibabel.Nifti2Image(RANDOM.random((5, 6, 7)), np.eye(4)).to_bytes()).to_bytes(),
    )
    yield Nifti(), "NIfTIgz", gzip.compress(VOLUME, mtime=0)


@st.composite
def damage(draw, data):
    """The bytes after one to four changes, which fall on the header half of the time."""
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        end = max(1, draw(st.sampled_from([len(damaged), min(len(damaged), 600)])))
        at = draw(st.integers(0, end - 1))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(["change", "change", "cut", "remove", "repeat"])):
            case "change":
                damaged[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del damaged[at:]
            case "remove":
                del damaged[at : at + length]
            case "repeat":
                damaged[at:at] = damaged[at : at + length] * draw(st.integers(1, 4))
    return bytes(damaged)


SEEDS = list(seeds())
NUM_KINDS = Counter(type(modality) for modality, _, _ in SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "name", "data"), [pytest.param(*seed, id=seed[1]) for seed in SEEDS])
def test_damaged_files_give_pixels_as_probed_or_a_fault(modality, name, data):
    @given(damage(data))
    @settings(max_examples=-(-CASES // NUM_KINDS[type(modality)]), suppress_health_check=list(HealthCheck))
    def holds(damaged):
        media, shapes = Media(kind=type(modality).__name__.lower(), data=damaged), []
        for call in (modality.probe, lambda media: modality.load(media).shape[:2]):
            try:
                shapes.append(tuple(call(media)))
            except DataError as error:
                assert error.code and "\n" not in str(error)
        assert len(shapes) < 2 or shapes[0] == shapes[1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        holds()
