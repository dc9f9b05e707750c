"""The reader of MedEvalKit-style folders: layouts of the fixtures, no image outside the folder, every row counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimed_core import DataError, Fault, Sample
from infimed_plugins.readers.medevalkit import MedEvalKit

DATA = Path(__file__).parent.parent / "fixtures" / "medevalkit" / "data"


def read(name: str, split: str = "test") -> list[Sample | Fault]:
    reader = MedEvalKit(path=str(DATA / name), split=split)
    return [row for shard in reader.shards() for row in reader.read(shard)]


LAYOUTS = [
    ("slake", "test"), ("pmc-vqa", "test"), ("vqa-rad", "test"), ("path-vqa", "test"), ("medxpertqa", "test"),
    ("medqa-usmle", "test"), ("medmcqa", "validation"), ("omnimedvqa", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "split"), LAYOUTS)
def test_every_row_of_a_data_set_is_a_sample_with_a_question_and_an_answer(name: str, split: str) -> None:
    rows = read(name, split)
    samples = [row for row in rows if isinstance(row, Sample)]
    assert rows and samples == rows, [row for row in rows if isinstance(row, Fault)][:2]
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples:
        assert [turn.role for turn in sample.turns] == ["user", "assistant"]
        assert all(turn.text.strip() for turn in sample.turns)
        for medium in sample.media:
            assert medium.data is not None or Path(medium.uri or "").is_file()


def test_options_follow_the_question_and_the_answer_is_the_letter_with_its_text() -> None:
    (first, *_) = [row for row in read("pmc-vqa") if isinstance(row, Sample)]
    assert first.options == ("An ellipse", "A square", "A line", "Nothing")
    assert first.references == ("A", "An ellipse") and first.turns[1].text == "A. An ellipse"
    assert first.turns[0].text.endswith("A. An ellipse\nB. A square\nC. A line\nD. Nothing")
    assert (first.media[0].uri or "").endswith("figures/PMC1_Fig0.jpg")


def test_images_lie_in_the_folders_of_the_kit_and_tags_have_our_names() -> None:
    (first, *_) = [row for row in read("slake") if isinstance(row, Sample)]
    assert (first.media[0].uri or "").endswith("imgs/xmlab0/source.jpg")
    assert first.tags["modality"] == "CT" and first.tags["body_part"] == "Abdomen" and first.tags["language"] == "en"
    pairs = [row for row in read("medxpertqa") if isinstance(row, Sample) and len(row.media) == 2]
    assert pairs and all(turn.media_indices for sample in pairs for turn in sample.turns[:1])


def test_a_split_that_is_not_there_is_told_with_the_tables_that_are() -> None:
    with pytest.raises(DataError, match=r"no table of the split 'dev' \(tables: test.json\)"):
        MedEvalKit(path=str(DATA / "slake"), split="dev").files()
    with pytest.raises(DataError, match="no such folder"):
        MedEvalKit(path=str(DATA / "nowhere")).files()


def test_a_bad_row_is_a_fault_that_names_file_and_line_and_a_path_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    rows = [
        {"question": "Which?", "answer": "D", "options": ["left", "right"]},
        {"question": "Where?", "answer": "here", "image": "../../secret.png"},
        {"note": "nothing"},
        {"question": "Fine?", "answer": "yes"},
    ]
    (tmp_path / "train.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")
    reader = MedEvalKit(path=str(tmp_path))
    found = [row for shard in reader.shards() for row in reader.read(shard)]
    assert [row.code for row in found if isinstance(row, Fault)] == ["bad_row", "outside_root", "bad_row"]
    assert isinstance(found[0], Fault) and found[0].where == f"{tmp_path}/train.json:2"
    assert isinstance(found[3], Sample)
    assert reader.fingerprint() != MedEvalKit(path=str(tmp_path), split="").fingerprint()
