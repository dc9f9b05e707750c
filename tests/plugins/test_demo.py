"""The demo data keep their promises: one split per picture, true answers, the same samples every time."""

from __future__ import annotations

import collections
import hashlib
import io

import numpy as np
import pytest

from infimed_core import MODALITIES, TASK_TYPES, DataError, InfimedError, Sample
from infimed_core.plugins import load_plugins
from infimed_plugins.demo import blocks, facts, pictures, samples, sources
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.demo.vqa import DemoText, DemoVqa


def read(**settings: object) -> list[Sample]:
    rows = list(DemoAnatomy(**settings).read(""))
    assert all(isinstance(row, Sample) for row in rows)
    return rows


@pytest.fixture(scope="module")
def train() -> list[Sample]:
    return read()


@pytest.fixture(scope="module")
def questions() -> list[Sample]:
    return list(DemoVqa().samples())


def digest(rows: list[Sample]) -> str:
    whole = hashlib.sha256()
    for row in rows:
        whole.update(row.model_dump_json().encode())
    return whole.hexdigest()


def test_the_plugin_offers_its_reader_and_its_benchmarks() -> None:

    registry = load_plugins()
    assert registry.find("reader", "demo/demo-anatomy") is DemoAnatomy
    assert registry.find("benchmark", "demo/demo-vqa") is DemoVqa
    assert registry.find("benchmark", "demo/demo-text") is DemoText


def test_the_same_settings_give_the_same_samples_made_again_without_a_network(
    train: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the demo data must need no network")

    monkeypatch.setattr("socket.socket", refuse)
    before = digest(train[::7])
    pictures.pictures.cache_clear()
    sources.volume.cache_clear()
    assert digest(read()[::7]) == before


def test_another_seed_words_the_same_facts_otherwise(train: list[Sample]) -> None:
    other = read(seed=1)
    assert [row.turns for row in other] != [row.turns for row in train]
    assert {row.tags["image"] for row in other if row.media} == {row.tags["image"] for row in train if row.media}


def test_sample_ids_are_unique_and_every_media_carries_its_hash(train: list[Sample]) -> None:
    from PIL import Image

    assert len({row.id for row in train}) == len(train)
    for row in train[::97]:
        for media in row.media:
            assert media.data is not None and hashlib.sha256(media.data).hexdigest() == media.sha256
            with Image.open(io.BytesIO(media.data)) as opened:
                assert opened.size == (128, 128) and opened.mode in ("L", "RGB")


def test_no_image_study_or_picture_content_is_in_two_splits() -> None:
    owner: dict[str, str] = {}
    for picture in pictures.pictures(128):
        for key in (picture.image, picture.study, picture.media.sha256):
            assert owner.setdefault(str(key), picture.split) == picture.split, key
    assert set(owner.values()) == set(blocks.SPLITS)


def test_no_held_out_slice_has_a_neighbour_in_training_in_any_volume() -> None:
    by_split: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for position in blocks.places():
        by_split[position.plane, position.split].append(position.index)
        # The volumes are mirror images of themselves: what counts is also the distance to the mirrored slice.
        if position.plane == "sagittal":
            by_split[position.plane, position.split].append(2 * blocks.MIDLINE - position.index)
    for plane in blocks.PLANES:
        for index in by_split[plane, "test"]:
            for other in ("train", "validation"):
                nearest = min((abs(index - seen) for seen in by_split[plane, other]), default=blocks.GAP + 1)
                assert nearest > blocks.GAP, (plane, index, other)
    for picture in pictures.pictures(128):
        if picture.package == "nilearn":
            _, _, plane, index = picture.id.split("-")
            where = blocks.place(plane, int(index))
            assert where is not None and where.split == picture.split


def test_every_test_slice_looks_less_like_training_than_training_slices_like_each_other() -> None:
    """Nearest neighbour by root mean square difference at 32 pixels, within one volume and plane."""
    shrunk: dict[tuple[str, str, str], list[np.ndarray]] = collections.defaultdict(list)
    for picture in pictures.pictures(128):
        if picture.source == "mni152-t1":
            small = picture.pixels.reshape(32, 4, 32, 4).mean(axis=(1, 3)).ravel()
            shrunk[picture.source, picture.id.split("-")[2], picture.split].append(small)
    for (source, plane, split), found in shrunk.items():
        if split != "test":
            continue
        seen = np.stack(shrunk[source, plane, "train"])
        to_train = [float(np.sqrt(((seen - one) ** 2).mean(axis=1)).min()) for one in found]
        within = [float(np.sort(np.sqrt(((seen - one) ** 2).mean(axis=1)))[1]) for one in seen]
        assert min(to_train) > 2.0
        assert np.median(to_train) > 2 * np.median(within), (plane, np.median(to_train), np.median(within))


def test_windows_of_different_splits_share_no_pixel_and_keep_the_gap() -> None:
    tiles = blocks.windows(512, 400, side=128, stride=48, gap=16)
    for one in tiles:
        assert 0 <= one.left <= 512 - one.side and 0 <= one.top <= 400 - one.side
        for other in tiles:
            if one.split != other.split:
                assert max(one.left, other.left) - min(one.left, other.left) >= one.side + 16


def test_dicom_studies_are_held_out_whole_and_only_where_a_modality_can_spare_one() -> None:
    studies = {
        f"{modality}{number}": modality
        for modality, many in (("CT", 6), ("MR", 3), ("CR", 2))
        for number in range(many)
    }
    splits = blocks.study_splits(studies)
    assert [splits[f"CT{number}"] for number in range(6)] == ["train", "test", "train", "train", "validation", "train"]
    assert [splits[f"MR{number}"] for number in range(3)] == ["train", "test", "train"]
    assert {splits["CR0"], splits["CR1"]} == {"train"}


def test_answers_about_the_volumes_follow_from_the_masks() -> None:
    """Recomputed from the files, along the axes of the affine, without the plugin's own slicing."""
    import nibabel

    folder = sources.package_file("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz").parent
    image = nibabel.load(folder / "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz")
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.affine[0, 3] + blocks.MIDLINE * image.affine[0, 0] == 0
    grey = np.asarray(image.dataobj, dtype=np.float64)
    white = np.asarray(
        nibabel.load(folder / "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz").dataobj, dtype=np.float64
    )
    inside = grey + white > 127
    checked = collections.Counter()
    for picture in pictures.pictures(128):
        if picture.package != "nilearn":
            continue
        _, _, plane, text = picture.id.split("-")
        axis, index = ("sagittal", "coronal", "axial").index(plane), int(text)
        assert picture.facts["plane"].answer == plane
        slices = np.moveaxis(grey, axis, 0)[index], np.moveaxis(white, axis, 0)[index]
        if "tissue" in picture.facts:
            centre = [middle for other, middle in enumerate(pictures.MNI_CENTRE) if other != axis]
            box = tuple(slice(middle - 32, middle + 32) for middle in centre)
            names = ("grey matter", "white matter")
            assert picture.facts["tissue"].answer == names[int(slices[1][box].sum() > slices[0][box].sum())]
            checked["tissue"] += 1
        if "white_matter" in picture.facts:
            share = slices[1].sum() / (slices[0].sum() + slices[1].sum())
            assert picture.facts["white_matter"].answer == ("poor" if share < 0.37 else "rich")
            assert share < 0.37 or share > 0.43
            checked["white_matter"] += 1
        if "position" in picture.facts:
            where = np.flatnonzero(inside.any(axis=tuple(i for i in range(3) if i != axis)))
            far = (
                index - blocks.MIDLINE > (where[-1] - blocks.MIDLINE) / 2
                if axis == 0
                else index > (where[0] + where[-1]) / 2
            )
            names = {
                0: ("near the midline", "far from the midline"),
                1: ("back half", "front half"),
                2: ("lower half", "upper half"),
            }
            assert picture.facts["position"].answer == names[axis][int(far)]
            checked["position"] += 1
    assert min(checked.values()) > 300


def test_answers_about_dicom_follow_from_the_header() -> None:
    import pydicom

    file = sources.package_file("data_store", "data/RG1_UNCR.dcm")
    known = facts.from_header(pydicom.dcmread(file, stop_before_pixels=True))
    assert (known["modality"].answer, known["body_part"].answer) == ("X-ray", "chest")
    assert "plane" not in known
    header = pydicom.Dataset()
    header.Modality, header.ImageOrientationPatient = "MR", [0, 1, 0, 0, 0, -1]
    assert facts.from_header(header)["plane"].answer == "sagittal"
    header.ImageOrientationPatient = [0.7, 0.7, 0, 0, 0, -1]
    assert "plane" not in facts.from_header(header)


def test_answers_about_appearance_follow_from_the_pixels() -> None:
    picture = np.zeros((100, 100), dtype=np.uint8)
    picture[60:, :] = 200
    known = facts.appearance(picture)
    assert known["brightest_side"].answer == "bottom" and known["colour"].answer == "grey"
    assert "coverage" not in known, "40 percent is too close to a border to ask"
    assert facts.appearance(picture[::-1])["brightest_side"].answer == "top"
    assert facts.appearance(picture.T)["brightest_side"].answer == "right"
    assert "brightest_side" not in facts.appearance(np.full((100, 100), 90, dtype=np.uint8))
    red = np.zeros((100, 100, 3), dtype=np.uint8)
    red[:30, :, 0] = 200
    assert (facts.appearance(red)["colour"].answer, facts.appearance(red)["coverage"].answer) == ("colour", "medium")


def test_there_is_enough_of_everything_to_train_on(train: list[Sample]) -> None:
    assert 600 <= len({row.tags["image"] for row in train if row.media}) <= 900
    num_pairs = sum(len(row.turns) // 2 for row in train if row.media)
    assert 15_000 <= num_pairs <= 30_000
    by_stage = collections.Counter(row.tags["stage"] for row in train)
    assert set(by_stage) == set(samples.STAGES) and min(by_stage.values()) >= 1_000
    assert {row.tags["form"] for row in train} == {*samples.ALL_FORMS, "several"}
    assert {row.tags["kind"] for row in train} >= set(samples.ALL_KINDS)
    needed = {"kind", "form", "modality", "task_type", "split", "source", "study", "image", "stage"}
    assert all(needed <= set(row.tags) and row.licence for row in train)
    for row in train:
        assert [turn.role for turn in row.turns] == ["user", "assistant"] * (len(row.turns) // 2)
        assert [turn.media_indices for turn in row.turns] == [(0,) if row.media else ()] + [()] * (len(row.turns) - 1)


def test_the_benchmark_is_balanced_over_forms_and_answers(questions: list[Sample]) -> None:
    assert 800 <= len(questions) <= 1_500
    forms = collections.Counter(row.tags["form"] for row in questions)
    for form, share in (("open", 0.45), ("option-text", 0.35), ("option-letter", 0.10), ("yes-no", 0.10)):
        assert abs(forms[form] / len(questions) - share) < 0.03, form
    groups: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in questions:
        groups[row.tags["kind"], row.tags["form"]][row.references[0]] += 1
    constant = sum(max(answers.values()) for answers in groups.values()) / len(questions)
    assert constant <= 0.45
    for group, answers in groups.items():
        assert max(answers.values()) / answers.total() <= 0.65, group


def test_every_test_question_is_about_an_unseen_image_and_holds_no_answer(
    train: list[Sample], questions: list[Sample]
) -> None:
    seen = {media.sha256 for row in train for media in row.media}
    for row in questions:
        assert row.turns[-1].role == "user" and len(row.turns) == 1 and row.media and row.references
        assert row.media[0].sha256 not in seen and row.tags["split"] == "test"


def test_every_answer_that_is_tested_is_also_taught(train: list[Sample], questions: list[Sample]) -> None:
    taught = {turn.text for row in train for turn in row.turns if turn.role == "assistant"}
    assert {row.references[0] for row in questions} <= taught


def test_options_hold_the_answer_once_and_the_letter_points_at_it(questions: list[Sample]) -> None:
    for row in questions:
        if row.tags["form"] in ("option-text", "option-letter"):
            assert len(set(row.options)) == len(row.options) and 2 <= len(row.options) <= 4
        if row.tags["form"] == "option-text":
            assert row.options.count(row.references[0]) == 1
            assert all(option in row.turns[0].text for option in row.options)
        if row.tags["form"] == "option-letter":
            letter, text = row.references
            assert row.options["ABCD".index(letter)] == text
            assert f"{letter}. {text}" in row.turns[0].text


def test_every_kind_is_asked_in_several_phrasings(questions: list[Sample]) -> None:
    for kind in samples.ALL_KINDS:
        phrasings = {row.turns[0].text for row in questions if row.tags["kind"] == kind and row.tags["form"] == "open"}
        assert len(phrasings) >= 4, kind


def test_text_questions_are_apart_and_ask_about_unseen_diseases(train: list[Sample]) -> None:
    asked = list(DemoText().samples())
    assert len(asked) >= 100 and all(not row.media and row.tags["modality"] == "text" for row in asked)
    assert not {row.tags["study"] for row in asked} & {row.tags["study"] for row in train}
    with_text = list(DemoVqa(include_text=True).samples())
    assert {row.id for row in asked} < {row.id for row in with_text}
    assert all(row.tags["task_type"] == "knowledge" for row in asked)


def test_the_share_of_defects_is_exact_and_every_defect_changes_its_sample(train: list[Sample]) -> None:
    damaged = read(injected_defects=0.1, max_images=150)
    clean = {row.id: row for row in read(max_images=150)}
    marked = [row for row in damaged if "defect" in row.tags]
    assert len(damaged) == len(clean) and len(marked) == round(0.1 * len(damaged))
    kinds = collections.Counter(row.tags["defect"] for row in marked)
    assert (
        set(kinds) == {"blur", "noise", "shuffled_answer", "garbled_text"} and min(kinds.values()) > len(marked) // 10
    )
    for row in damaged:
        original = clean[row.id]
        same_image = [media.sha256 for media in row.media] == [media.sha256 for media in original.media]
        same_text = row.turns == original.turns
        expected = row.tags.get("defect")
        assert same_image == (expected not in ("blur", "noise")), row.id
        assert same_text == (expected not in ("shuffled_answer", "garbled_text")), row.id
        assert [turn.text for turn in row.turns[::2]] == [turn.text for turn in original.turns[::2]]


def test_filters_narrow_what_is_read() -> None:
    rows = read(max_images=40, kinds=("plane", "position"), forms=("open",), include_text=False)
    assert rows and {row.tags["form"] for row in rows} == {"open"}
    assert {row.tags["kind"] for row in rows} <= {"plane", "position", "several"}
    assert len({row.tags["image"] for row in rows}) <= 40
    assert {row.tags["stage"] for row in read(max_images=30, stages=("pretrain",))} == {"pretrain"}
    assert len(list(DemoVqa(max_samples=60).samples())) == 60
    assert {row.tags["kind"] for row in DemoVqa(max_samples=60).samples()} == set(samples.ALL_KINDS)


def test_an_unknown_filter_is_refused_with_what_there_is() -> None:
    with pytest.raises(InfimedError, match=r"unknown kind 'plan' \(known: plane"):
        read(kinds=("plan",))
    with pytest.raises(InfimedError, match="unknown form"):
        read(forms=("essay",))


def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"nilearn is not installed; run: pip install 'infimed\[demo\]'") as caught:
        sources.package_file("nilearn", "anything")
    assert caught.value.code == "missing_package"


def test_the_fingerprint_follows_the_settings() -> None:
    assert DemoAnatomy().fingerprint() == DemoAnatomy().fingerprint() != DemoAnatomy(seed=1).fingerprint()
    assert DemoVqa().fingerprint() != DemoVqa(max_samples=3).fingerprint()


def test_questions_are_filed_under_the_vocabulary_of_results() -> None:
    found = list(DemoVqa(max_samples=400).samples())
    assert {row.tags["modality"] for row in found if isinstance(row, Sample)} <= set(MODALITIES)
    assert {row.tags["task_type"] for row in found if isinstance(row, Sample)} <= set(TASK_TYPES)
