"""Studies: several views, series and volumes in one sample, each named; read, trained on, asked, shown and cleaned."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from infimed_core import Fault, Media, Sample, load_plugins
from infimed_core.records import open_run
from infimed_core.testing import run
from infimed_plugins.quality.privacy.command import deidentify
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.studies import Studies
from infimed_plugins.readers.tables import Csv
from infimed_plugins.volumes.reader import Volumes

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import dataset

LOADER = load_plugins().media_loader()


def read(reader: Any) -> list[Sample | Fault]:
    return [row for shard in reader.shards() for row in reader.read(shard)]


def picture(seed: tuple[int, int], levels: int) -> Any:
    """A picture with shapes of its own, large and smooth enough to be scored as one."""
    from PIL.Image import Resampling

    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((128, 128), Resampling.BICUBIC)
    return np.asarray(smooth, np.uint32) * (levels - 1) // 255


def write_series(folder: Path, num_slices: int = 6, seed: int = 0, name: str = "Doe^Jane") -> None:
    """Slices whose names run against their positions."""
    folder.mkdir(parents=True)
    for number in range(num_slices):
        pixels = picture((seed, number), 1000).astype(np.uint16)
        made = dataset(pixels, SeriesInstanceUID="1.2.3.4", InstanceNumber=str(number), PixelSpacing=["1", "1"])
        made.PatientName, made.ImageOrientationPatient = name, [1, 0, 0, 0, 1, 0]
        made.ImagePositionPatient = [0, 0, 3.0 * number]
        made.save_as(folder / f"IM{num_slices - number:04d}", enforce_file_format=True)


def write_study(folder: Path, text: str, seed: int = 0, name: str = "Doe^Jane") -> None:
    write_series(folder / "ct", seed=seed, name=name)
    voxels = np.stack([picture((seed, 50 + number), 900) for number in range(10)], axis=2).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])), folder / "t1.nii.gz")
    Image.fromarray(picture((seed, 99), 256).astype(np.uint8)).save(folder / "lateral.png")
    (folder / "report.txt").write_text(text)


def test_everything_in_a_studys_folder_is_a_view_that_is_named_before_its_images(tmp_path: Path) -> None:
    write_study(tmp_path / "p1", "No fracture.")
    (sample,) = read(Studies(path=str(tmp_path), question="What is found?"))
    assert isinstance(sample, Sample) and sample.id == "p1" and sample.tags == {"study": "p1"}
    content = ("lateral: ", 0, "\n", "t1: ", 1, "\n", "ct: ", 2, "\n", "What is found?")
    assert sample.turns[0].content == content and sample.turns[1].text == "No fracture."
    assert [item.kind for item in sample.media] == ["image", "nifti", "dicom"]
    reader = {"use": "studies", "with": {"path": str(tmp_path)}}
    (cut,) = read(Volumes(reader=reader, num_slices=2, label="{plane} {number}/{total} at {position}: "))
    assert isinstance(cut, Sample) and [item.kind for item in cut.media] == [
        "image",
        "nifti",
        "nifti",
        "dicom",
        "dicom",
    ]
    assert cut.turns[0].text.startswith(
        "lateral: \nt1: axial 1/2 at 4 mm: axial 2/2 at 14 mm: \nct: axial 1/2 at 3 mm: "
    )
    assert [told["num_slices"] for told in cut.meta["volumes"]] == [10, 6]
    for item in cut.media:
        assert LOADER.probe(item) == LOADER.load(item).shape[:2]


def test_files_without_a_telling_name_are_numbered_and_what_belongs_to_no_study_is_a_fault(tmp_path: Path) -> None:
    for place in ("a", "b/deep", "lost", "text", "empty"):
        (tmp_path / place).mkdir(parents=True)
    for name in ("a/00012.png", "a/1.2.840.7.png", "b/deep/pa view.png", "lost/x.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    for name in ("a", "b", "text"):
        (tmp_path / name / "report.txt").write_text("Fine.")
    (tmp_path / "a" / ".hidden.png").write_bytes(b"x")
    rows = read(Studies(path=str(tmp_path)))
    assert isinstance(rows[0], Sample) and rows[0].turns[0].content[::3] == ("image 1: ", "image 2: ")
    assert isinstance(rows[1], Sample) and rows[1].turns[0].content == ("deep/pa view: ", 0)
    faults = {Path(row.where).name: row.code for row in rows if isinstance(row, Fault)}
    assert faults == {"text": "missing_media", "lost": "empty_text"} and len(rows) == 4


def test_a_study_stays_in_its_root_and_its_fingerprint_follows_every_file(tmp_path: Path) -> None:
    write_study(tmp_path / "data" / "p1", "Fine.")
    reader = Studies(path=str(tmp_path / "data"))
    before = reader.fingerprint()
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    Image.new("RGB", (8, 9)).save(tmp_path / "data" / "p1" / "lateral.png")
    assert reader.fingerprint() != before
    (tmp_path / "data" / "p1" / "link.png").symlink_to(tmp_path / "secret.png")
    (fault,) = read(reader)
    assert isinstance(fault, Fault) and fault.code == "outside_root"


@pytest.mark.parametrize("use", ["csv", "parquet"])
def test_columns_may_name_views_and_one_that_is_empty_is_left_out(tmp_path: Path, use: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in "ab":
        Image.new("RGB", (20, 30)).save(tmp_path / f"{name}.png")
    columns = {"pa": ["a.png", "a.png", None], "lat": ["b.png", None, None], "question": ["Normal?"] * 3}
    table = pa.table({**columns, "answer": ["yes"] * 3})
    pq.write_table(table, tmp_path / "t.parquet")
    table.to_pandas().to_csv(tmp_path / "t.csv", index=False)
    kind: Any = {"csv": Csv, "parquet": Parquet}[use]
    reader = kind(path=str(tmp_path / f"t.{use}"), columns={"image": {"PA view": "pa", "Lateral view": "lat"}})
    both, one, none = read(reader)
    assert both.turns[0].content == ("PA view: ", 0, "\n", "Lateral view: ", 1, "\n", "Normal?")
    assert one.turns[0].content == ("PA view: ", 0, "\n", "Normal?")
    assert isinstance(none, Fault) and none.code == "missing_media"
    wrong = kind(path=str(tmp_path / f"t.{use}"), columns={"image": {"PA view": "ap"}})
    assert "columns.image.PA view" in wrong.problems({})


def deidentified(source: Path, target: Path, **more: Any) -> tuple[dict[str, Any], list[Sample]]:
    body = deidentify(source, target, key=b"k" * 32, read_pixels=False, **more)
    rows = target / "samples.jsonl"
    lines = rows.read_text().split("\n") if rows.exists() else []
    return body, [Sample.model_validate_json(line) for line in lines if line]


@pytest.mark.parametrize("sampler", [None, "uniform", "montage"])
def test_a_clean_copy_of_a_study_has_its_series_its_order_and_no_name(tmp_path: Path, sampler: str | None) -> None:
    write_study(tmp_path / "data" / "doe_jane_1950", "Fine.")
    inner = {"use": "studies", "with": {"path": str(tmp_path / "data")}}
    more: dict[str, Any] = {"reader": "studies"}
    if sampler:
        more = {"reader": "volumes", "reader_settings": {"reader": inner, "sampler": sampler, "num_slices": 4}}
    body, (sample,) = deidentified(tmp_path / "data", tmp_path / "copy", **more)
    text = sample.model_dump_json()
    assert not body["found_in_the_copy"] and "doe_jane" not in text and str(tmp_path / "data") not in text
    assert not any(b"Doe^Jane" in path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())
    copied = {"path": str(tmp_path / "copy" / "samples.jsonl")}
    (again,) = read(Jsonl(**copied) if sampler else Volumes(reader={"use": "jsonl", "with": copied}, num_slices=4))
    (first,) = read(Volumes(reader=inner, num_slices=4, sampler=sampler or "uniform"))
    assert isinstance(again, Sample) and isinstance(first, Sample) and len(again.media) == len(first.media)
    for copy, original in zip(again.media, first.media, strict=True):
        assert (LOADER.load(copy) == LOADER.load(original)).all()
    told = again.meta["volumes"]
    assert [one["num_slices"] for one in told] == [10, 6] and told[1]["ordered_by"] == "position"


def test_a_series_that_holds_what_must_be_withheld_withholds_its_sample_whole(tmp_path: Path) -> None:
    for name in ("bad", "linked"):
        write_series(tmp_path / "data" / name / "ct")
        (tmp_path / "data" / name / "report.txt").write_text("Fine.")
    (tmp_path / "data" / "bad" / "ct" / "IM0009").write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "data" / "linked" / "ct" / "IM0009").symlink_to(tmp_path / "secret")
    body, samples = deidentified(tmp_path / "data", tmp_path / "copy", reader="studies")
    assert samples == [] and sum(body["withheld"].values()) == 2
    assert not [path for path in (tmp_path / "copy").rglob("*") if path.is_file() and path.suffix == ".dcm"]


def test_links_pipes_and_files_outside_are_not_copied_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("secret.png", "in/fine.png"):
        Image.new("RGB", (9, len(name))).save(tmp_path / name)
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "none.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    body, _ = deidentified(tmp_path / "in", tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 1 and sum(body["left_out"].values()) == 3
    turns = [{"role": "user", "content": [0, "What?"]}, {"role": "assistant", "content": ["A."]}]
    for number, uri in enumerate(["/etc/hostname", "../secret.png", "link.png", "pipe.png"]):
        (tmp_path / "in" / "rows.jsonl").write_text(json.dumps({"turns": turns, "media": [{"uri": uri}]}))
        body, samples = deidentified(tmp_path / "in" / "rows.jsonl", tmp_path / f"out{number}", reader="jsonl")
        assert samples == [] and sum(body["left_out"].values()) + sum(body["withheld"].values()) == 1


def run_file(folder: Path, num_slices: int, **sampling: Any) -> dict[str, Any]:
    def volumes(part: str) -> dict[str, Any]:
        inner = {"use": "studies", "with": {"path": str(folder / part), "question": "What is found?"}}
        return {"use": "volumes", "with": {"reader": inner, "num_slices": num_slices, **sampling}}

    asked = {"use": "questions", "with": {"reader": volumes("test"), "max_new_tokens": 4}}
    model = {
        "hidden_size": 32,
        "layers": 1,
        "vision_hidden_size": 32,
        "vision_layers": 1,
        "answer_max_visual_tokens": 4,
    }
    model |= {"intermediate_size": 64, "vision_intermediate_size": 64, "vision_heads": 4}
    stage = {"name": "few", "num_samples": 8, "learning_rate": 1e-3, "rows_per_step": 1}
    return {
        "run": {"name": "studies"},
        "data": {"sources": [volumes("train")]},
        "quality": {"scorers": [{"use": "five-dimension"}]},
        "model": {"use": "tiny-qwen3-vl", "with": model},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 400}},
        "training": {"use": "staged", "with": {"stages": [stage]}},
        "evaluation": {"benchmarks": [asked]},
        "report": [{"use": "html"}],
    }


@pytest.mark.slow
def test_studies_go_the_whole_way_and_another_sampler_is_another_run(tmp_path: Path) -> None:
    findings = ["A fracture of the rib.", "No fracture is seen.", "The liver is enlarged.", "The lungs are clear."]
    for number, text in enumerate(findings):
        write_study(tmp_path / "data" / "train" / f"p{number}", text, seed=number, name="")
        write_study(tmp_path / "data" / "test" / f"q{number}", text, seed=10 + number, name="")
    run(run_file(tmp_path / "data", 3, label="{number} of {total}: "), tmp_path)
    done = open_run(tmp_path / "runs" / "studies")
    assert done.status == "done" and len(done.dataset) == 4 and all(row.scores for row in done.samples())
    assert all(len(sample.media) == 7 for sample in done.dataset)
    (train,) = done.steps("train")
    (plan,) = done.steps("plan")
    assert train.num_out and plan.dropped == {}
    answers = list(done.answers("questions", "few"))
    assert len(answers) == 4 and all(answer.answer.error is None for answer in answers)
    assert all(len(answer.sample.media) == 7 for answer in answers)
    page = (tmp_path / "runs" / "studies" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 4 * 7  # a strip of every study
    before = {step.name: step.artifact for step in done.record.steps}
    run(run_file(tmp_path / "data", 3, label="{number} of {total}: "), tmp_path)
    assert {step.status for step in open_run(tmp_path / "runs" / "studies").steps("read")} == {"reused"}
    run(run_file(tmp_path / "data", 2, sampler="montage"), tmp_path)
    again = open_run(tmp_path / "runs" / "studies")
    assert all(len(sample.media) == 3 for sample in again.dataset)
    changed = {step.name for step in again.record.steps if step.artifact != before.get(step.name)}
    assert {"read", "plan-few", "train-few"} <= changed
    assert isinstance(again.dataset[0].media[1], Media) and again.dataset[0].media[1].kind == "montage"


@pytest.mark.parametrize("place", ["", "brain"])
def test_slices_whose_names_differ_in_their_numbers_alone_are_a_series_also_beside_the_text(
    tmp_path: Path, place: str
) -> None:
    write_series(tmp_path / "p1" / place)
    for file in sorted((tmp_path / "p1" / place).iterdir()):
        file.rename(file.with_name(f"brain {file.name}.dcm") if place else file)
    Image.new("L", (9, 9)).save(tmp_path / "p1" / "lateral.png")
    (tmp_path / "p1" / "report.txt").write_text("Fine.")
    reader = {"use": "studies", "with": {"path": str(tmp_path)}}
    (cut,) = read(Volumes(reader=reader, num_slices=2))
    assert isinstance(cut, Sample) and [told["positions"] for told in cut.meta["volumes"]] == [[3.0, 12.0]]
    assert sorted(item.kind for item in cut.media) == ["dicom", "dicom", "image"]
    assert f"{place or 'series'}: " in cut.turns[0].content
