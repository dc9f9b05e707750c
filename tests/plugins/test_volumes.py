"""The reader ``volumes``: slices in their order through the body, chosen as declared, planned from headers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from infimed_core import Fault, Media, MediaLoader, Sample, load_plugins
from infimed_plugins.volumes.reader import Volumes
from infimed_plugins.volumes.samplers import in_range, spread_evenly

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of, dataset

LOADER = load_plugins().media_loader()
SERIES = generate_uid(entropy_srcs=["series"])


@pytest.fixture
def rows(tmp_path):
    """Writes rows of JSON lines and reads them through ``volumes``."""

    def read(*rows, **settings):
        lines = [json.dumps({"id": f"r{number}"} | row) for number, row in enumerate(rows)]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        reader = Volumes(reader={"use": "jsonl", "with": {"path": str(tmp_path / "rows.jsonl")}}, **settings)
        return reader, [row for shard in reader.shards() for row in reader.read(shard)]

    return read


def row(*media, text="What is shown?"):
    content = [*range(len(media)), text]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": ["The liver."]}]
    return {"turns": turns, "media": list(media)}


def slice_of(number, orientation=(1, 0, 0, 0, 1, 0), position=None, **fields):
    pixels = np.full((6, 8), 100 * number, np.uint16)
    pixels[0, :2] = (0, 4000)
    made = dataset(pixels, SeriesInstanceUID=SERIES, InstanceNumber=str(99 - number), PixelSpacing=["0.7", "0.7"])
    made.ImageOrientationPatient = list(orientation)
    made.ImagePositionPatient = list(position or (0, 0, -50 + 2.5 * number))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def series(tmp_path):
    """A folder of 20 slices whose names say nothing of their order, an index beside them."""
    folder = tmp_path / "ct"
    folder.mkdir()
    for number in range(20):
        name = generate_uid(entropy_srcs=[str(number)])
        slice_of(number).save_as(folder / f"{name}", enforce_file_format=True)
    (folder / "README.txt").write_text("Thorax")
    return folder


def level(medium):
    """Which slice of ``series`` a medium is, by what its header says."""
    return round((float(pydicom.dcmread(medium.uri).ImagePositionPatient[2]) + 50) / 2.5)


def test_a_folder_of_a_series_becomes_images_in_order_by_position(rows, series):
    (series / ".DS_Store").write_bytes(b"\0")
    (series / "._1.2.3").write_bytes(bytes(128) + b"DICM\xff")  # as macOS writes it beside a file
    _, (sample,) = rows(row({"uri": "ct"}), num_slices=5)
    assert isinstance(sample, Sample)
    assert [level(item) for item in sample.media] == [2, 6, 10, 14, 18] == sample.meta["volumes"][0]["slices"]
    assert sample.turns[0].content == (0, 1, 2, 3, 4, "What is shown?")
    (told,) = sample.meta["volumes"]
    assert told["plane"] == "axial" and told["spacing"] == [2.5, 0.7, 0.7] and told["ordered_by"] == "position"
    assert told["positions"] == [-45, -35, -25, -15, -5] and told["num_slices"] == 20
    for item in sample.media:
        assert LOADER.probe(item) == LOADER.load(item).shape[:2] == (6, 8)


def test_slices_are_planned_without_decoding_a_pixel(rows, series, monkeypatch):
    monkeypatch.setattr(MediaLoader, "load", lambda *_: pytest.fail("pixels were read"))
    for sampler in ("uniform", "range", "montage"):
        _, (sample,) = rows(row({"uri": "ct"}), sampler=sampler)
        assert isinstance(sample, Sample)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"first": 3, "last": 6}, [3, 4, 5, 6]),
        ({"first": -3}, [17, 18, 19]),
        ({"step": 7}, [0, 7, 14]),
        ({"first": 15, "last": 99, "step": 2}, [15, 17, 19]),
    ],
)
def test_a_range_is_counted_from_the_feet(rows, series, settings, expected):
    _, (sample,) = rows(row({"uri": "ct"}), sampler="range", **settings)
    assert [level(item) for item in sample.media] == expected


def test_the_best_contrast_is_found_by_looking(rows, tmp_path):
    random, volume = np.random.default_rng(0), np.full((8, 9, 12), 10, np.int16)
    for index in (3, 7):
        volume[:, :, index] = random.integers(0, 1000, (8, 9))
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii.gz")
    _, (sample,) = rows(row({"uri": "v.nii.gz"}), sampler="best-contrast", num_slices=2)
    assert [item.options["index"] for item in sample.media] == [3, 7]


@pytest.mark.parametrize("planes", [("axial",), ("sagittal", "coronal", "axial")])
def test_a_nifti_volume_is_cut_along_the_planes_asked_for(rows, tmp_path, planes):
    affine = np.diag([-2.0, 2.0, 5.0, 1])
    affine[:3, 3] = (10, -20, -30)
    volume = np.random.default_rng(0).integers(0, 999, (8, 10, 12)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "v.nii.gz")
    _, (sample,) = rows(
        row({"uri": "v.nii.gz"}), num_slices=2, planes=planes, label="{plane} {number}/{total}, {position}: "
    )
    told = sample.meta["volumes"]
    assert [one["plane"] for one in told] == list(planes) and len(sample.media) == 2 * len(planes)
    axial = told[-1]
    assert axial["slices"] == [3, 9] and axial["positions"] == [-15, 15] and axial["spacing"] == [5, 2, 2]
    assert sample.turns[0].content[-5:] == (
        "axial 1/2, -15 mm: ", len(sample.media) - 2, "axial 2/2, 15 mm: ", len(sample.media) - 1, "What is shown?",
    )  # fmt: skip
    if len(planes) == 3:
        assert told[0]["positions"] == [0, 8] and told[1]["positions"] == [-16, -6]
        expected = LOADER.load(Media(kind="nifti", uri=str(tmp_path / "v.nii.gz"), options={"axis": 0, "index": 2}))
        assert (LOADER.load(sample.media[0]) == expected).all()


@pytest.mark.parametrize(
    ("orientation", "step", "plane"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 0, 1), "axial"),
        ((1, 0, 0, 0, 0, -1), (0, -1, 0), "coronal"),
        ((0, 1, 0, 0, 0, -1), (-1, 0, 0), "sagittal"),
        ((-1, 0, 0, 0, 1, 0), (0, 0, 1), "axial"),
        ((0.98, 0.2, 0, -0.2, 0.98, 0), (0, 0, 1), "axial"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_every_series_runs_to_the_right_to_the_front_or_to_the_head(
    rows, tmp_path, orientation, step, plane, backwards
):
    (tmp_path / "mr").mkdir()
    for number in range(6):
        position = tuple(3.0 * number * part for part in step)
        made = slice_of(number, orientation, position, InstanceNumber=str(-number if backwards else number))
        made.save_as(tmp_path / "mr" / f"{9 - number if backwards else number}.dcm", enforce_file_format=True)
    _, (sample,) = rows(row({"uri": "mr", "kind": "dicom"}), num_slices=6)
    (told,) = sample.meta["volumes"]
    assert told["plane"] == plane and told["spacing"][0] == pytest.approx(3) and len(told["positions"]) == 6
    along = [np.dot(pydicom.dcmread(item.uri).ImagePositionPatient, step) for item in sample.media]
    assert along == sorted(along)


def test_the_frames_of_one_file_are_ordered_by_their_own_positions(rows, tmp_path):
    frames = np.stack([np.full((4, 4), number, np.uint16) for number in range(5)])
    made, places = dataset(frames), [4.0, 0.0, 3.0, 1.0, 2.0]
    for place in places:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient, group.PlanePositionSequence = [0, 0, place], [position]
        made.PerFrameFunctionalGroupsSequence = [*made.get("PerFrameFunctionalGroupsSequence", []), group]
    orientation, shared = Dataset(), Dataset()
    orientation.ImageOrientationPatient, shared.PlaneOrientationSequence = [1, 0, 0, 0, 1, 0], [orientation]
    made.SharedFunctionalGroupsSequence = [shared]
    made.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    _, (sample,) = rows(row({"uri": "e.dcm"}), num_slices=5)
    assert [item.options["frame"] for item in sample.media] == [1, 3, 4, 2, 0]
    del made.SharedFunctionalGroupsSequence
    made.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    _, (sample,) = rows(row({"uri": "e.dcm"}), num_slices=5)
    assert [item.options["frame"] for item in sample.media] == [0, 1, 2, 3, 4]
    assert sample.meta["volumes"][0]["ordered_by"] == "frame"


def test_a_list_of_files_of_one_series_is_a_volume_and_two_views_are_two_images(rows, series):
    names = [{"uri": f"ct/{path.name}", "kind": "dicom"} for path in sorted(series.iterdir()) if path.suffix != ".txt"]
    _, (sample, views) = rows(row(*names), row(*names[:2]), num_slices=4)
    assert [level(item) for item in sample.media] == [2, 7, 12, 17]
    assert sample.turns[0].content == (0, 1, 2, 3, "What is shown?")
    assert len(views.media) == 2 and "volumes" not in views.meta


def test_a_montage_is_one_image_planned_from_headers(rows, series):
    _, (sample,) = rows(row({"uri": "ct"}), sampler="montage", num_slices=5, columns=3)
    (medium,) = sample.media
    assert medium.kind == "montage" and sample.turns[0].content == (0, "What is shown?")
    shown = LOADER.load(medium)
    assert LOADER.probe(medium) == shown.shape[:2] == (12, 24)
    for number, place in enumerate([(0, 0), (0, 8), (0, 16), (6, 0), (6, 8)]):
        part = Media.model_validate(medium.options["parts"][number])
        assert (shown[place[0] : place[0] + 6, place[1] : place[1] + 8] == LOADER.load(part)).all()
    assert (shown[6:, 16:] == 0).all()
    for wrong in (
        {},
        {"parts": []},
        {"parts": [7]},
        {"parts": [medium.model_dump()]},
        {**medium.options, "columns": 0},
    ):
        assert code_of(LOADER.probe, Media(kind="montage", options=wrong)) == "bad_option"


def test_several_windows_are_the_channels_of_every_slice(rows, series):
    _, (sample,) = rows(row({"uri": "ct"}), num_slices=2, windows=["lung", [500, 1000], "bone"])
    for item in sample.media:
        shown = LOADER.load(item)
        for channel, window in enumerate(["lung", [500, 1000], "bone"]):
            alone = item.model_copy(update={"options": {"window": window}})
            assert (shown[..., channel] == LOADER.load(alone)[..., 0]).all()


def test_windows_as_channels_hold_for_nifti_too():
    volume = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    data = nibabel.Nifti1Image(volume, np.eye(4)).to_bytes()
    windows = [[40, 400], [-600, 1500], [0, 100]]
    shown = LOADER.load(Media(kind="nifti", data=data, options={"window": windows}))
    for channel, window in enumerate(windows):
        alone = LOADER.load(Media(kind="nifti", data=data, options={"window": window}))
        assert (shown[..., channel] == alone[..., 0]).all()


def test_what_is_no_volume_or_picks_its_slice_stays_as_it_is(rows, series, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "v.nii")
    single = next(path.name for path in sorted(series.iterdir()) if path.suffix != ".txt")
    plain = [{"uri": "a.png"}, {"uri": "v.nii", "options": {"index": 2}}, {"uri": f"ct/{single}", "kind": "dicom"}]
    _, (sample,) = rows(row(*plain))
    assert [Path(item.uri).name for item in sample.media] == ["a.png", "v.nii", single]
    assert sample.turns[0].content == (0, 1, 2, "What is shown?") and "volumes" not in sample.meta


def test_other_media_keep_their_places_around_a_volume(rows, series):
    _, (sample,) = rows(row({"uri": "a.png"}, {"uri": "ct"}, {"uri": "b.png"}), num_slices=2)
    assert [item.kind for item in sample.media] == ["image", "dicom", "dicom", "image"]
    assert sample.turns[0].content == (0, 1, 2, 3, "What is shown?")


def test_a_volume_that_cannot_be_put_in_order_is_its_rows_fault_and_the_rest_goes_on(rows, series, tmp_path):
    for name, fields in (
        ("two", {"SeriesInstanceUID": generate_uid()}),
        ("again", {"ImagePositionPatient": [0, 0, -50]}),
    ):
        (tmp_path / name).mkdir()
        slice_of(0).save_as(tmp_path / name / "a", enforce_file_format=True)
        slice_of(1, **fields).save_as(tmp_path / name / "b", enforce_file_format=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut").mkdir()
    slice_of(0).save_as(tmp_path / "cut" / "a", enforce_file_format=True)
    (tmp_path / "cut" / "a").write_bytes((tmp_path / "cut" / "a").read_bytes()[:300])
    names = ("two", "again", "empty", "cut", "ct")
    _, read = rows(*(row({"uri": name}) for name in names), row({"uri": "ct"}), planes=())
    faults = {item.sample_id: item.code for item in read if isinstance(item, Fault)}
    assert faults == {"r0": "mixed_series", "r1": "repeated_position", "r2": "no_volume", "r3": "truncated"}
    assert len(read) == 6 and all(":" in item.where for item in read if isinstance(item, Fault))
    _, (fault,) = rows(row({"uri": "ct"}), planes=("coronal",))
    assert fault.code == "bad_option"


def test_one_of_several_series_in_a_folder_is_chosen_by_its_uid(rows, series):
    for number in range(4):
        slice_of(number, SeriesInstanceUID="1.2.3").save_as(series / f"other{number}", enforce_file_format=True)
    _, (fault, first, second) = rows(
        row({"uri": "ct"}),
        row({"uri": "ct", "options": {"series": "1.2.3", "window": "bone"}}),
        row({"uri": "ct", "options": {"series": str(SERIES)}}),
    )
    assert fault.code == "mixed_series" and "1.2.3" in fault.detail
    assert [level(item) for item in first.media] == [0, 1, 2, 3] and first.media[0].options == {"window": "bone"}
    assert second.meta["volumes"][0]["num_slices"] == 20


def test_a_scout_among_the_slices_is_none_of_them_and_another_orientation_is_a_fault(rows, series):
    sagittal = (0, 1, 0, 0, 0, -1)
    scout = slice_of(30, sagittal, (0, -100, 100), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scout.save_as(series / "scout", enforce_file_format=True)
    _, (sample,) = rows(row({"uri": "ct"}), num_slices=4)
    assert [level(item) for item in sample.media] == [2, 7, 12, 17]
    assert sample.meta["volumes"][0]["left_out"] == 1 and sample.meta["volumes"][0]["num_slices"] == 20
    slice_of(30, sagittal, (0, -100, 100)).save_as(series / "other", enforce_file_format=True)
    _, (fault,) = rows(row({"uri": "ct"}))
    assert fault.code == "mixed_series"


def test_the_fingerprint_follows_the_sampler_the_rows_and_the_files_of_a_series(rows, series):
    first, _ = rows(row({"uri": "ct"}))
    same, _ = rows(row({"uri": "ct"}))
    fewer, _ = rows(row({"uri": "ct"}), num_slices=3)
    assert first.fingerprint() == same.fingerprint() != fewer.fingerprint()
    before = first.fingerprint()
    slice_of(20).save_as(series / "new", enforce_file_format=True)
    again, _ = rows(row({"uri": "ct"}))
    assert again.fingerprint() != before


@pytest.mark.parametrize(("num_slices", "wanted"), [(1, 8), (5, 8), (8, 8), (9, 8), (100, 8), (155, 1), (2, 2)])
def test_an_even_spread_is_even_has_no_repeats_and_is_the_middle_where_one_is_wanted(num_slices, wanted):
    chosen = spread_evenly(num_slices, wanted)
    assert len(chosen) == len(set(chosen)) == min(num_slices, wanted) and chosen == sorted(chosen)
    assert all(0 <= index < num_slices for index in chosen)
    assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 2 else True
    if wanted == 1:
        assert chosen == [num_slices // 2]


def test_a_range_beyond_the_volume_is_a_fault():
    assert code_of(in_range, 10, 20, 30, 1) == "no_such_slice"
    assert in_range(10, -100, 1, 1) == [0, 1]


def test_a_label_that_cannot_be_filled_is_told_when_the_run_file_is_checked():
    with pytest.raises(ValueError, match="label knows number"):
        Volumes(reader={"use": "jsonl"}, label="{slice}")
