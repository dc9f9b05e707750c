"""The same voxels as a DICOM series, as one file of many frames and as NIfTI give the same slices in the same order."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from infimed_core import Sample
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.volumes.reader import Volumes

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import dataset

SPACING, CORNER = (1.5, 1.5, 2.5), np.array([-30.0, -20.0, -100.0])
"""Millimetres along the patient's left, back and head (DICOM's axes), and where the first voxel lies."""
VOXELS = np.random.default_rng(0).integers(-500, 500, (10, 12, 8)).astype(np.int16)  # left, back, head
PLANES = {"axial": (2, (0, 1, 1, 1)), "coronal": (1, (0, 1, 2, -1)), "sagittal": (0, (1, 1, 2, -1))}
"""Across which axis, and the axes and directions that columns and rows of a slice run along, as scanners write them."""


def stored(plane):
    """The slices from the first on, and position and orientation of each."""
    across, (to_right, _, down, sign) = PLANES[plane]
    orientation = [float(axis == to_right) for axis in range(3)] + [sign * float(axis == down) for axis in range(3)]
    found = []
    for number in range(VOXELS.shape[across]):
        pixels = np.take(VOXELS, number, across)  # its two axes are in the order left, back, head
        pixels = pixels.T[::sign]
        place = [0, 0, 0]
        place[across] = number
        place[down] = VOXELS.shape[down] - 1 if sign < 0 else 0
        found.append((np.ascontiguousarray(pixels), list(CORNER + np.array(place) * SPACING), orientation))
    return found


def in_plane(plane):
    _, (to_right, _, down, _) = PLANES[plane]
    return [SPACING[down], SPACING[to_right]]


def series(folder, plane):
    folder.mkdir()
    uid, slices = generate_uid(), stored(plane)
    for name, number in enumerate(np.random.default_rng(1).permutation(len(slices))):
        pixels, position, orientation = slices[number]
        fields = {"Modality": "CT", "SeriesInstanceUID": uid, "InstanceNumber": int(name)}
        made = dataset(pixels, WindowCenter="0", WindowWidth="401", PixelSpacing=in_plane(plane), **fields)
        made.ImagePositionPatient, made.ImageOrientationPatient = position, orientation
        made.save_as(folder / f"{name}.dcm", enforce_file_format=True)


def one_file(path, plane):
    slices = stored(plane)
    order = np.random.default_rng(2).permutation(len(slices))
    made = dataset(np.stack([slices[number][0] for number in order]), WindowCenter="0", WindowWidth="401")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    frames, shared = [], Dataset()
    for number in order:
        frame, group = Dataset(), Dataset()
        group.ImagePositionPatient = slices[number][1]
        frame.PlanePositionSequence = [group]
        frames.append(frame)
    turned, measured = Dataset(), Dataset()
    turned.ImageOrientationPatient, measured.PixelSpacing = slices[0][2], in_plane(plane)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turned], [measured]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], frames
    made.save_as(path, enforce_file_format=True)


def shown(folder, name, plane, options):
    turns = [{"role": "user", "content": [0, "Q"]}, {"role": "assistant", "content": ["A"]}]
    media = [{"uri": name, "options": options}]
    (folder / "rows.jsonl").write_text(json.dumps({"turns": turns, "media": media}) + "\n")
    inner = {"use": "jsonl", "with": {"path": str(folder / "rows.jsonl")}}
    reader = Volumes(reader=inner, num_slices=20, planes=(plane,) if options else ())
    (row,) = (row for shard in reader.shards() for row in reader.read(shard))
    assert isinstance(row, Sample), row
    loader, told = media_loader(), row.meta["volumes"]
    return [loader.load(medium)[..., 0].astype(float) for medium in row.media], told


@pytest.mark.parametrize("plane", PLANES)
def test_a_series_many_frames_and_nifti_of_the_same_voxels_give_the_same_slices_in_the_same_order(tmp_path, plane):
    series(tmp_path / "ct", plane)
    one_file(tmp_path / "frames.dcm", plane)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    affine[:3, 3] = CORNER * [-1, -1, 1]
    nibabel.save(nibabel.Nifti1Image(VOXELS, affine), tmp_path / "v.nii.gz")
    by_series, told = shown(tmp_path, "ct", plane, {})
    by_frames, _ = shown(tmp_path, "frames.dcm", plane, {})
    by_nifti, also = shown(tmp_path, "v.nii.gz", plane, {"window": [0, 400]})
    assert len(by_series) == len(by_frames) == len(by_nifti) == VOXELS.shape[PLANES[plane][0]]
    for first, second, third in zip(by_series, by_frames, by_nifti, strict=True):
        assert first.shape == second.shape == third.shape
        assert (first == second).all()
        assert np.abs(first - third).max() <= 1  # DICOM's window has its centre half a unit lower, and ends as much
    (one,), (other,) = told, also
    assert one["positions"] == pytest.approx(other["positions"]) and one["plane"] == other["plane"] == plane
    assert one["spacing"] == pytest.approx(other["spacing"]) and sorted(one["positions"]) == one["positions"]
