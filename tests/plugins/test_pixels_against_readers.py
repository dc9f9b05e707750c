"""Every file of the packages at hand gives the pixels of an independent reader; what differs has a reason."""

from __future__ import annotations

import importlib.util
import itertools
import struct
import warnings
from pathlib import Path

import cv2
import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image as Pillow
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing, pixel_array
from pydicom.uid import RLELossless

from infimed_core import DataError, Media
from infimed_plugins.dicom import modality
from infimed_plugins.dicom.frames import decode_frame
from infimed_plugins.dicom.modality import Dicom
from infimed_plugins.image.modality import Image
from infimed_plugins.nifti.modality import Nifti

ROUNDING = 0.51


def package_files(package, folder, *endings):
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    root = Path(spec.origin).parent / folder
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name.endswith(endings))


DICOM_FILES = [
    *package_files("pydicom", "data/test_files", ".dcm"),
    *(path for path in package_files("pydicom", "data/test_files/dicomdirtests", "") if "DICOMDIR" not in path.name),
    *package_files("data_store", "data", ".dcm"),
    *package_files("nibabel", "nicom/tests/data", ".dcm"),
]
DICOM_DIFFERS = {
    "eCT_Supplemental.dcm": "pydicom reads no window from functional groups (highdicom does, and agrees)",
    "OBXXXX1A_expb.dcm": "pydicom reads palettes of big-endian files with their bytes swapped",
    "OBXXXX1A_expb_2frame.dcm": "as above",
}


def by_pydicom(path, frame):
    """The picture by pydicom's own functions, or ``None`` where it reads none; float [h, w, 3] in 0 to 255."""
    header = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in header.file_meta:
        return None
    try:
        pixels = pixel_array(header, index=frame)
    except Exception:
        return None
    photometric, bits = header.PhotometricInterpretation, int(header.BitsStored)
    if pixels.ndim == 3:
        return pixels / (2.0**bits - 1) * 255
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(pixels, header)
        return colours / float(np.iinfo(colours.dtype).max) * 255
    values = apply_modality_lut(pixels, header)
    if header.get("VOILUTSequence"):
        top = 2.0 ** header.VOILUTSequence[0].LUTDescriptor[2] - 1
        grey = apply_voi(values.astype(int), header) / top
    elif header.get("WindowWidth"):
        least, greatest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.PixelRepresentation else (0, 2**bits - 1)
        if header.get("ModalityLUTSequence"):
            least, greatest = 0, 2 ** header.ModalityLUTSequence[0].LUTDescriptor[2] - 1
        elif "RescaleSlope" in header:
            least, greatest = (end * header.RescaleSlope + header.RescaleIntercept for end in (least, greatest))
        grey = (apply_windowing(values.astype(float), header) - least) / (greatest - least)
    else:
        padding = header.get("PixelPaddingValue")
        inside = values[pixels != padding] if padding is not None and (pixels != padding).any() else values
        grey = np.clip((values - inside.min()) / max(float(np.ptp(inside)), 1e-9), 0, 1)
    grey = 1 - grey if photometric == "MONOCHROME1" else grey
    return np.repeat((grey * 255)[..., None], 3, axis=2)


def frames(paths):
    """Each file with its first and its last frame."""
    for path in paths:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            numbers = {0, max(0, int(header.get("NumberOfFrames") or 1) - 1)}
        except Exception:
            numbers = {0}
        yield from ((path, number) for number in sorted(numbers))


@pytest.mark.slow
def test_dicom_gives_the_pixels_of_pydicoms_own_functions():
    ours, num_equal, differing, ours_alone, theirs_alone = Dicom(square_pixels=False), 0, {}, [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, frame in frames(DICOM_FILES):
            expected = by_pydicom(path, frame)
            try:
                shown = ours.load(Media(kind="dicom", uri=str(path), options={"frame": frame}))
            except DataError:
                shown = None
            if expected is None or shown is None:
                theirs_alone += [path.name] if expected is not None else []
                ours_alone += [path.name] if shown is not None else []
            elif shown.shape == expected.shape and np.abs(shown - expected).max() <= ROUNDING:
                num_equal += 1
            else:
                differing[path.name] = float(np.abs(shown - expected).max())
    assert set(differing) <= set(DICOM_DIFFERS) and not ours_alone and not theirs_alone
    assert num_equal >= 100  # 173 with pydicom-data


def test_a_big_endian_palette_gives_the_picture_of_its_little_endian_twin():
    twins = [path for path in DICOM_FILES if path.name in ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm")]
    if len(twins) < 2:
        pytest.skip("pydicom-data is not installed")
    first, second = (Dicom().load(Media(kind="dicom", uri=str(path))) for path in twins)
    assert (first == second).all()


@pytest.mark.slow
def test_dicom_gives_the_pixels_of_highdicom():
    highdicom = pytest.importorskip("highdicom")
    num_equal, differing = 0, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, frame in frames(DICOM_FILES):
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
                windowed = "Window Width" in str(header) or "VOILUTSequence" in header
                if header.SamplesPerPixel != 1 or not windowed or "ModalityLUTSequence" in header:
                    continue
                read = highdicom.imread(path)
                expected = read.get_frame(frame, as_index=True, apply_voi_transform=True, voi_output_range=(0, 255))
                shown = Dicom(square_pixels=False).load(Media(kind="dicom", uri=str(path), options={"frame": frame}))
            except Exception:  # highdicom reads fewer kinds of files; ours are held against pydicom above
                continue
            if np.abs(shown[..., 0] - np.asarray(expected, float)).max() <= 0.9:  # it computes with 32-bit floats
                num_equal += 1
            else:
                differing[path.name] = float(np.abs(shown[..., 0] - np.asarray(expected, float)).max())
    assert not differing and num_equal >= 30


NOT_TURNED = ("SC_jpeg_no_color_transform.dcm", "SC_rgb_jpeg.dcm")
"""Its own header says RGB, and nothing in its JPEG says otherwise: imagecodecs turns every such JPEG from YBR."""


def by_imagecodecs(header, frame):
    """The stored values of a compressed frame by imagecodecs, and those of RLE by the rules of PS3.5 Annex G."""
    count = int(header.get("NumberOfFrames") or 1)
    data = next(itertools.islice(generate_frames(header.PixelData, number_of_frames=count), frame, None))
    if header.file_meta.TransferSyntaxUID != RLELossless:
        values = np.asarray(imagecodecs.imread(data)).astype(int)
        if header.PixelRepresentation and values.min() >= 0:
            values -= (values >= 1 << (header.BitsStored - 1)) * (1 << header.BitsStored)
        return values
    size, num_bytes = header.Rows * header.Columns, header.BitsAllocated // 8
    number, *starts = struct.unpack("<16I", data[:64])
    segments = []
    for at in starts[:number]:
        out = bytearray()
        while len(out) < size:
            told, at = data[at], at + 1
            out += data[at : at + told + 1] if told < 128 else data[at : at + 1] * (257 - told) if told > 128 else b""
            at += told + 1 if told < 128 else told > 128
        segments.append(np.frombuffer(out[:size], np.uint8).astype(int).reshape(header.Rows, header.Columns))
    samples = [
        sum(segment << 8 * (num_bytes - 1 - place) for place, segment in enumerate(segments[first : first + num_bytes]))
        for first in range(0, number, num_bytes)
    ]
    return samples[0] if len(samples) == 1 else np.stack(samples, -1)


@pytest.mark.slow
def test_compressed_frames_give_the_values_of_another_decoder(monkeypatch):
    decoded, num_equal, differing = [], 0, {}
    monkeypatch.setattr(modality, "decode_frame", lambda *about: decoded.append(decode_frame(*about)) or decoded[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, frame in frames(DICOM_FILES):
            header = pydicom.dcmread(path, force=True)
            syntax = header.file_meta.get("TransferSyntaxUID")
            if syntax is None or not syntax.is_encapsulated or path.name in NOT_TURNED:
                continue
            try:
                Dicom(square_pixels=False).load(Media(kind="dicom", uri=str(path), options={"frame": frame}))
            except DataError:  # one without an image, and three cut or broken: faults of their own
                continue
            expected = by_imagecodecs(header, frame)
            # JPEG's inverse transform, and its colours of half resolution, are rounded by each decoder its own way
            limit = 0 if "JPEG" not in syntax.name or "Less" in syntax.name or "2000" in syntax.name else 5
            found = decoded[-1].astype(int)
            if found.shape == expected.shape and np.abs(found - expected).max() <= limit:
                num_equal += 1
            else:
                differing[path.name] = syntax.name
    assert not differing and num_equal >= 30  # 65 with pydicom-data


IMAGE_FILES = package_files("skimage", "data", ".png", ".jpg", ".gif", ".tif")


def by_other_readers(path):
    """Pictures by OpenCV or tifffile, and by Pillow; float [h, w, 3] in 0 to 255, transparency on black."""
    read = []
    if path.name != "multipage_rgb.tif":  # fractions in planes: Pillow gives it up
        with Pillow.open(path) as picture:
            read.append(np.asarray(picture.convert("RGBA")).astype(float))
    decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if path.suffix == ".tif":
        decoded = tifffile.imread(path, key=0)
        decoded = decoded.transpose(1, 2, 0) if decoded.dtype == np.float64 else decoded
    elif decoded is not None and decoded.ndim == 3:
        decoded = decoded[..., [2, 1, 0, 3][: decoded.shape[2]]]
    if decoded is not None:
        decoded = decoded * (255.0 / (1 if decoded.dtype == np.float64 else np.iinfo(decoded.dtype).max))
        read.append(decoded if decoded.ndim == 3 else np.repeat(decoded[..., None], 3, axis=2))
    return [one[..., :3] * (one[..., 3:] / 255 if one.shape[2] == 4 else 1) for one in read]


def test_images_give_the_pixels_of_pillow_opencv_and_tifffile():
    assert len(IMAGE_FILES) >= 20
    for path in IMAGE_FILES:
        shown = Image().load(Media(uri=str(path)))
        others = by_other_readers(path)
        assert len(others) == 2 or path.name in ("multipage_rgb.tif", "no_time_for_that_tiny.gif")
        for expected in others:
            limit = (
                3 if path.suffix == ".jpg" else ROUNDING
            )  # decoders of JPEG round the inverse transform their own way
            assert shown.shape == expected.shape and np.abs(shown - expected).max() <= limit, path.name


TIFFS = [
    (dtype, photometric, planar, compression)
    for dtype, photometric, planar, compression in itertools.product(
        ("uint8", "uint16", "uint32", "int16", "float32", "float64"),
        ("minisblack", "miniswhite", "rgb"),
        ("contig", "separate"),
        (None, "zlib", "lzw"),
    )
    if photometric == "rgb" or planar == "contig"
]


@pytest.mark.parametrize(("dtype", "photometric", "planar", "compression"), TIFFS)
def test_tiffs_of_every_layout_give_the_pixels_of_tifffile_and_opencv(
    dtype, photometric, planar, compression, tmp_path
):
    random, colour = np.random.default_rng(0), photometric == "rgb"
    values = random.integers(-200, 200, (18, 22, 3) if colour else (18, 22))
    values = (values - (values.min() if dtype.startswith("u") else 0)).astype(dtype)
    path = tmp_path / "a.tif"
    stored = values.transpose(2, 0, 1) if colour and planar == "separate" else values
    options = {"planarconfig": planar} if colour else {}
    tifffile.imwrite(path, stored, photometric=photometric, compression=compression, **options)
    read = tifffile.imread(path)
    read = read.transpose(1, 2, 0) if colour and planar == "separate" else read
    low, high = float(read.min()), float(read.max())
    if dtype.startswith("u"):
        low, high = 0.0, 2.0 ** max(8, int(high).bit_length()) - 1
    expected = (read.astype(float) - low) * 255 / (high - low)
    expected = 255 - expected if photometric == "miniswhite" else expected
    shown = Image().load(Media(uri=str(path)))
    assert np.abs(shown - (expected if colour else expected[..., None])).max() <= ROUNDING
    if planar == "contig" and photometric != "miniswhite":  # OpenCV reads no planes, and leaves white as it is stored
        decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert decoded is None or (decoded[..., ::-1] if colour else decoded).tolist() == read.tolist()


NIFTI_FILES = [
    *package_files("nibabel", "tests/data", ".nii", ".nii.gz"),
    *package_files("nilearn", "datasets/data", ".nii.gz"),
]


@pytest.mark.slow
def test_nifti_gives_the_voxels_of_nibabel_in_canonical_order():
    ours, num_equal = Nifti(percentiles=(0, 100), square_pixels=False), 0
    for path in NIFTI_FILES:
        try:
            canonical = nibabel.as_closest_canonical(nibabel.load(path))
            volume = np.asarray(canonical.dataobj)
        except Exception:
            continue
        if volume.ndim < 3:  # CIFTI: a matrix, and no volume
            with pytest.raises(DataError, match="no volume"):
                ours.probe(Media(kind="nifti", uri=str(path)))
            continue
        for axis in range(3):
            for index in sorted({0, volume.shape[axis] // 2, volume.shape[axis] - 1}):
                plane = np.take(volume.reshape(*volume.shape[:3], -1, order="F")[..., -1], index, axis)
                plane = np.fliplr(np.rot90(plane.astype(float)))
                if np.isnan(plane).all():
                    continue  # a fault of its own
                plane = np.where(np.isnan(plane), np.nanmin(plane), plane)
                low, high = float(plane.min()), float(plane.max())
                expected = (plane - low) / (high - low) * 255 if high > low else np.zeros(plane.shape)
                last = int(np.prod(volume.shape[3:])) - 1
                options = {"axis": axis, "index": index, "volume": last}
                shown = ours.load(Media(kind="nifti", uri=str(path), options=options))[..., 0]
                assert np.abs(shown - expected).max() <= ROUNDING, (path.name, options)
                num_equal += 1
    assert num_equal >= 50
