"""The modality ``nifti`` over files as they come: misnamed, in pairs, of two axes, with junk behind, cut, too large."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from infimed_core import Media
from infimed_plugins.nifti import files
from infimed_plugins.nifti.modality import Nifti

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of

NIFTI = Nifti(percentiles=(0, 100))
VOLUME = np.random.default_rng(1).integers(0, 1000, (8, 10, 12)).astype(np.int16)
PLAIN = nibabel.Nifti1Image(VOLUME, np.eye(4)).to_bytes()
PACKED = gzip.compress(PLAIN, mtime=0)
EXPECTED = NIFTI.load(Media(kind="nifti", data=PLAIN))


def inline(data, **options):
    return Media(kind="nifti", data=data, options=options)


def on_disk(path, data, **options):
    path.write_bytes(data)
    return Media(kind="nifti", uri=str(path), options=options)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.NII.GZ", "a", "a.dat"])
@pytest.mark.parametrize(
    "data",
    [PLAIN, PACKED, PACKED + b"junk", PACKED + bytes(512), gzip.compress(PLAIN[:900]) + gzip.compress(PLAIN[900:])],
)
def test_a_file_is_what_its_bytes_are_and_not_what_its_name_says(tmp_path, name, data):
    for medium in (on_disk(tmp_path / name, data), inline(data)):
        assert (NIFTI.load(medium) == EXPECTED).all() and NIFTI.probe(medium) == EXPECTED.shape[:2]


@pytest.mark.parametrize("size", [8, 600, 1000, 200_000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_remarks_of_any_length_before_the_voxels_cost_no_picture(version, pack, size):
    image = version(VOLUME, np.eye(4))  # as AFNI writes them: its whole history stands in such a remark
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("afni", b"<AFNI_attributes " + b"x" * size))
    data = image.to_bytes()
    assert (np.asarray(version.from_bytes(data).dataobj) == VOLUME).all()
    assert (NIFTI.load(inline(pack(data))) == EXPECTED).all()
    assert NIFTI.probe(inline(pack(data))) == EXPECTED.shape[:2]
    assert code_of(NIFTI.load, inline(pack(data[: len(data) - 100]))) == "truncated"


def test_a_matrix_of_cifti_is_no_volume():
    header = nibabel.Nifti2Header()
    header.set_data_shape((1, 1, 1, 1, 10, 10))
    data = nibabel.Nifti2Image(np.ones((1, 1, 1, 1, 10, 10), np.float32), None, header).to_bytes()
    assert code_of(NIFTI.probe, inline(data)) == code_of(NIFTI.load, inline(data)) == "not_nifti"


@pytest.mark.parametrize("ending", [".hdr", ".hdr.gz"])
@pytest.mark.parametrize("version", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_a_pair_is_read_by_either_name_and_a_cut_half_is_truncated(tmp_path, version, ending):
    nibabel.save(version(VOLUME, np.eye(4)), tmp_path / f"p{ending}")
    voxels = tmp_path / f"p{ending}".replace("hdr", "img")
    for path in (tmp_path / f"p{ending}", voxels):
        assert (NIFTI.load(Media(kind="nifti", uri=str(path))) == EXPECTED).all()
        assert NIFTI.probe(Media(kind="nifti", uri=str(path))) == EXPECTED.shape[:2]
    whole = voxels.read_bytes()
    voxels.write_bytes(whole[: len(whole) * 3 // 4])
    for path in (tmp_path / f"p{ending}", voxels):
        assert code_of(NIFTI.load, Media(kind="nifti", uri=str(path), options={"index": 0})) == "truncated"
    voxels.unlink()
    assert code_of(NIFTI.probe, Media(kind="nifti", uri=str(tmp_path / f"p{ending}"))) == "missing_file"


@pytest.mark.parametrize("share", [0.05, 0.3, 0.75, 0.99])
@pytest.mark.parametrize("data", [PLAIN, PACKED])
def test_what_is_cut_is_truncated(tmp_path, data, share):
    data = data[: int(len(data) * share)]
    for medium in (on_disk(tmp_path / "cut", data, index=0), inline(data, index=0)):
        assert code_of(NIFTI.load, medium) == "truncated"


def test_a_damaged_stream_and_a_wrong_checksum_are_corrupt():
    spoilt = bytearray(PACKED)
    spoilt[-6] ^= 1
    assert code_of(NIFTI.load, inline(bytes(spoilt))) == "corrupt"
    spoilt = bytearray(PACKED)
    spoilt[len(spoilt) // 2] ^= 0xFF
    assert code_of(NIFTI.load, inline(bytes(spoilt))) == "corrupt"


@pytest.mark.parametrize("shape", [(8, 10), (8, 10, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_picture_of_two_axes_is_one_slice_across_the_axis_that_it_lacks(shape, axis):
    picture = VOLUME[:, :, 0].reshape(shape)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    first, second = (other for other in range(3) if other != axis)
    affine[first, 0] = affine[second, 1] = affine[axis, 2] = 1
    data = nibabel.Nifti1Image(picture, affine).to_bytes()
    header = nibabel.Nifti1Image.from_bytes(data).header
    header["qform_code"], header[f"srow_{'xyz'[axis]}"][2] = 0, 0  # a picture may be silent on the axis that it lacks
    for medium in (inline(data), inline(header.binaryblock + data[348:])):
        assert (NIFTI.load(medium)[..., 0] == np.rint(np.fliplr(np.rot90(scaled(VOLUME[:, :, 0]))))).all()
        assert NIFTI.probe(medium) == (10, 8)


def scaled(values):
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) * 255


@pytest.mark.parametrize(("axis", "shape"), [(0, (60, 20)), (1, (60, 16)), (2, (10, 8))])
def test_thick_slices_are_stretched_to_true_shapes_by_probe_and_load_alike(axis, shape):
    data = nibabel.Nifti1Image(VOLUME, np.diag([2.0, 2.0, 10.0, 1])).to_bytes()
    shape = {0: (60, 10), 1: (60, 8), 2: (10, 8)}[axis]
    assert NIFTI.probe(inline(data, axis=axis)) == NIFTI.load(inline(data, axis=axis)).shape[:2] == shape
    stored = Nifti(square_pixels=False).probe(inline(data, axis=axis))
    assert stored == {0: (12, 10), 1: (12, 8), 2: (10, 8)}[axis]


def test_a_file_that_unpacks_to_more_than_is_allowed_is_refused_and_never_unpacked(tmp_path, monkeypatch):
    header = nibabel.Nifti1Image(np.zeros((1, 1, 1), np.int16), np.eye(4)).header
    header.set_data_shape((1024, 1024, 512))
    bomb = on_disk(tmp_path / "bomb.nii.gz", gzip.compress(header.binaryblock + bytes(2**20)))
    limited = Nifti(max_bytes=2**29)
    monkeypatch.setattr(files, "_read_part", lambda *_: pytest.fail("it was unpacked"))
    assert code_of(limited.probe, bomb) == code_of(limited.load, bomb) == "too_large"
    assert code_of(Nifti(max_voxels=2**28).probe, bomb) == "too_large"


def test_bytes_behind_the_voxels_of_a_compressed_file_are_not_unpacked_without_end(tmp_path):
    medium = on_disk(tmp_path / "tail.nii.gz", gzip.compress(PLAIN + bytes(2**28), compresslevel=1))
    with files.open_source(medium) as file:
        end = len(PLAIN)
        assert sum(len(chunk) for chunk in files.unpacked(medium, file, end)) <= end + 2 * files.CHUNK
    assert (NIFTI.load(medium) == EXPECTED).all()


@pytest.mark.parametrize("data", [PLAIN, PACKED])
def test_only_the_volume_asked_for_is_kept(tmp_path, data):
    series = np.stack([VOLUME + number for number in range(4)], axis=-1).astype(np.int16)
    series[0, 0, 0, :] = np.arange(4) * 2000
    plain = nibabel.Nifti1Image(series, np.eye(4)).to_bytes()
    medium = on_disk(tmp_path / "t", gzip.compress(plain) if data is PACKED else plain, volume=2, index=0)
    expected = np.fliplr(np.rot90(scaled(series[:, :, 0, 2].astype(float))))
    assert (NIFTI.load(medium)[..., 0] == np.rint(expected)).all()
    assert VOLUME.nbytes == files.unpacked_part(medium, None, 0, VOLUME.nbytes, VOLUME.nbytes).__len__()


def test_what_is_not_nifti_or_not_supported_says_so():
    assert code_of(NIFTI.probe, inline(nibabel.AnalyzeImage(VOLUME, np.eye(4)).header.binaryblock)) == "not_nifti"
    odd = bytearray(PLAIN)
    odd[70:72] = (1).to_bytes(2, "little")  # one bit per voxel
    assert code_of(NIFTI.probe, inline(bytes(odd))) == "unsupported"
    pair = bytearray(PLAIN)
    pair[344:348] = b"ni1\0"
    assert code_of(NIFTI.probe, inline(bytes(pair[:348]))) == "unsupported"


def test_numbers_near_the_largest_there_are_are_scaled():
    values = (np.linspace(-1, 1, 960) * 1.7e308).reshape(8, 10, 12)
    shown = NIFTI.load(inline(nibabel.Nifti1Image(values, np.eye(4)).to_bytes()))
    assert shown.min() == 0 and shown.max() == 255
