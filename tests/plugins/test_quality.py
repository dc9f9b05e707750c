"""The scorer ``five-dimension``: every reason reachable, no row lost, no sample swayed by another."""

from __future__ import annotations

import io
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimed_core import DataError, Media, Sample, Turn
from infimed_plugins.quality.corruptions import IMAGE_CORRUPTIONS, make_identity, png
from infimed_plugins.quality.identity import identities
from infimed_plugins.quality.installed import media_loader, reader
from infimed_plugins.quality.ladder import validate
from infimed_plugins.quality.profile import load_profile, profile_path
from infimed_plugins.quality.reasons import SELECTION, Reason
from infimed_plugins.quality.scorer import FiveDimension, composite

CAPTION = "Axial MRI of the brain shows a small lesion in the left frontal lobe."


@pytest.fixture(scope="module")
def loader():
    return media_loader()


def picture(seed: int = 0, side: int = 128, colour: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """A smooth head-like blob with texture."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    texture = np.kron(chance.normal(size=(side // 4 + 1, side // 4 + 1)), np.ones((4, 4)))[:side, :side]
    grey = np.clip(
        (np.hypot(x, y) < 0.4) * (120 + 40 * np.cos(9 * x) + 18 * texture) + chance.normal(0, 1.5, x.shape), 0, 240
    )
    return (grey[:, :, None] * np.array(colour)).astype(np.uint8)


def sample(
    answer: str | None = CAPTION,
    media: tuple[Media, ...] = (),
    question: str = "Describe the image.",
    used: tuple[int, ...] | None = None,
    task: str = "captioning",
    options: tuple[str, ...] = (),
    references: tuple[str, ...] = (),
    **tags: str,
) -> Sample:
    indices = tuple(range(len(media))) if used is None else used
    turns = (Turn(role="user", content=(*indices, question)),)
    if answer is not None:
        turns += (Turn(role="assistant", content=(answer,)),)
    return Sample(
        id="s", turns=turns, media=media, options=options, references=references, tags={"task_type": task, **tags}
    )


def with_exif(tag: int, value: object, gps: bool = False) -> Media:
    from PIL import Image

    image, file = Image.fromarray(picture()), io.BytesIO()
    exif = image.getexif()
    if gps:
        exif.get_ifd(0x8825)[1] = "N"
    else:
        exif[tag] = value
    image.save(file, "JPEG", exif=exif, quality=95)
    return Media(data=file.getvalue())


def dicom(name: str) -> Media:
    """A 16 x 16 DICOM file in memory."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.Rows, dataset.Columns = name, 16, 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = np.arange(256, dtype=np.uint8).tobytes()
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return Media(kind="dicom", data=file.getvalue())


P = png(picture())
RED = png(picture(colour=(1.0, 0.35, 0.2)))
YES_NO = {"task": "closed", "question": "Is there a pleural effusion?"}

REACHED = {
    Reason.IMAGE_MISSING: sample(media=(Media(uri="/nowhere/there.png"),)),
    Reason.IMAGE_TRUNCATED: sample(media=(IMAGE_CORRUPTIONS["cut_file"](picture(), 3, 0),)),
    Reason.IMAGE_CORRUPT: sample(media=(Media(data=b"no picture at all"),)),
    Reason.IMAGE_UNREADABLE: sample(media=(Media(kind="hologram", data=b"x"),)),
    Reason.MEDIA_INDEX_INVALID: sample(media=(P,), used=(0, 3)),
    Reason.NOTHING_TO_SCORE: None,
    Reason.IMAGE_BLURRED: sample(media=(IMAGE_CORRUPTIONS["blur"](picture(), 5, 0),)),
    Reason.IMAGE_NOISY: sample(media=(IMAGE_CORRUPTIONS["noise"](picture(), 5, 0),)),
    Reason.IMAGE_BLOCKY: sample(media=(IMAGE_CORRUPTIONS["jpeg"](picture(), 5, 0),)),
    Reason.IMAGE_RESAMPLED: sample(media=(IMAGE_CORRUPTIONS["resample"](picture(side=96), 5, 0),)),
    Reason.IMAGE_LOW_CONTRAST: sample(media=(IMAGE_CORRUPTIONS["darken"](picture(), 5, 0),)),
    Reason.IMAGE_OVEREXPOSED: sample(media=(IMAGE_CORRUPTIONS["brighten"](picture(), 5, 0),)),
    Reason.IMAGE_CLIPPED: None,  # these four in test_quality_films
    Reason.IMAGE_MARGIN: None,
    Reason.IMAGE_INVERTED: None,
    Reason.IMAGE_TURNED: None,
    Reason.MODALITY_UNKNOWN: sample(modality="hologram"),
    Reason.LANGUAGE_UNKNOWN: sample("胸部正位片显示右侧胸腔积液，心影不大。"),
    Reason.IMAGE_CONSTANT: sample(media=(png(np.full((128, 128, 3), 90, np.uint8)),)),
    Reason.IMAGE_TOO_SMALL: sample(media=(png(picture(side=32)),)),
    Reason.MODALITY_MISMATCH: sample("Axial CT of the brain without lesion.", (P,), modality="MR"),
    Reason.ANATOMY_MISMATCH: sample("The liver has a large cyst.", (P,), body_part="chest"),
    Reason.LATERALITY_MISMATCH: sample("Fracture of the left femur.", (P,), laterality="R"),
    Reason.COLOUR_MISMATCH: sample("Photomicrograph of the mucosa with dense stroma.", (P,)),
    Reason.PANEL_MISSING: sample("Brain lesion, enhanced in panel C of the figure.", (P,)),
    Reason.IMAGE_UNUSED: sample(media=(P,), used=()),
    Reason.TEXT_EMPTY: sample(""),
    Reason.QUESTION_EMPTY: None,
    Reason.TEXT_TOO_SHORT: sample("Brain."),
    Reason.TEXT_TOO_LONG: sample(" ".join(f"lesion{number}" for number in range(1000)) + "."),
    Reason.TEXT_MOJIBAKE: sample("The patientâ€™s lung shows a mass of 3Â°, no oedÃ©ma."),
    Reason.TEXT_GARBLED: sample("Lxqz mwkt brain xgpt zqfv kxjq lwzt in the vqxh."),
    Reason.TEXT_TRUNCATED: sample("Axial image of the brain with a lesion in the"),
    Reason.TEXT_MARKUP: sample("Axial <b>MRI</b> of the brain &nbsp; with a lesion."),
    Reason.TEXT_REPEATED: sample(" ".join([CAPTION] * 4)),
    Reason.TEXT_WORDS_MISSING: sample("A lesion of in the of and brain tissue with the of margin."),
    Reason.TEXT_PLACEHOLDER: sample("Figure 3. See text."),
    Reason.NOT_MEDICAL: sample("A brown dog runs along the beach near the water."),
    Reason.ANSWER_NOT_IN_OPTIONS: sample("spleen", task="choice", options=("liver", "kidney")),
    Reason.ANSWER_KEY_INCONSISTENT: sample("A", task="choice", options=("liver", "kidney"), references=("B", "kidney")),
    Reason.OPTIONS_REPEATED: sample("liver", task="choice", options=("liver", "Liver")),
    Reason.POLARITY_CONTRADICTION: sample("No pleural effusion. There is a large pleural effusion on the left."),
    Reason.NUMBER_IMPLAUSIBLE: sample("Ejection fraction of 140% in a patient with heart failure."),
    Reason.PHI_RECORD_NUMBER: sample(f"{CAPTION} MRN: 00123456."),
    Reason.PHI_SOCIAL_SECURITY: sample(f"{CAPTION} SSN 123-45-6789."),
    Reason.PHI_PHONE: sample(f"{CAPTION} Call (617) 555-0123."),
    Reason.PHI_EMAIL: sample(f"{CAPTION} Write to jane.doe@example.org."),
    Reason.PHI_BIRTH_DATE: sample(f"{CAPTION} DOB: 03/14/1961."),
    Reason.PHI_ADDRESS: sample(f"{CAPTION} Lives at 12 Baker Street."),
    Reason.PHI_NAME: sample(f"{CAPTION} Seen by Dr. Miller."),
    Reason.PHI_HEADER: sample(media=(dicom("Doe^Jane"),)),
    Reason.PHI_LOCATION: sample(media=(with_exif(0, None, gps=True),)),
    Reason.BELOW_MINIMUM_IMAGE_QUALITY: sample(media=(png(np.full((128, 128, 3), 90, np.uint8)),)),
    Reason.BELOW_MINIMUM_ALIGNMENT: sample("Axial CT of the brain without lesion.", (P,), modality="MR"),
    Reason.BELOW_MINIMUM_COMPLETENESS: sample(""),
    Reason.BELOW_MINIMUM_MEDICAL_VALIDITY: sample("A brown dog runs along the beach near the water."),
    Reason.BELOW_MINIMUM_COMPLIANCE: sample(f"{CAPTION} SSN 123-45-6789."),
}


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ("B. Right lower lobe", ()),
        ("(C) Left lung", ()),
        ("The lower lobe of the right lung and its pleura", ("the lower lobe of the right lung and its pleura", "x")),
        (
            "A. the lower lobe of the right lung and its pleura",
            ("The lower lobe of the right lung and its pleura", "x"),
        ),
    ],
)
def test_an_option_is_whole_without_a_full_stop(answer, options):
    (score,) = FiveDimension().score([sample(answer, question="Where is it?", task="vqa", options=options)], loader)
    assert "text_truncated" not in score.reasons
    (cut,) = FiveDimension().score([sample(answer + " with the", question="Where is it?", task="vqa")], loader)
    assert "text_truncated" in cut.reasons


@pytest.mark.parametrize("reason", [reason for reason, made in REACHED.items() if made])
def test_a_sample_with_the_fault_gets_the_reason(reason, loader):
    (score,) = FiveDimension().score([REACHED[reason]], loader)
    assert reason.value in score.reasons


def test_clean_text_and_anonymous_headers_get_no_reason_of_theirs(loader):
    scores = FiveDimension().score([sample(), sample(media=(dicom("ANONYMOUS"),))], loader)
    assert scores[0].reasons == () and scores[0].value == pytest.approx(1.0)
    assert not [reason for reason in scores[1].reasons if reason.startswith("phi_")]


def test_every_reason_is_in_the_closed_list(loader):
    known = {reason.value for reason in Reason} - SELECTION
    for score in FiveDimension().score([made for made in REACHED.values() if made is not None], loader):
        assert set(score.reasons) <= known


def test_a_picture_that_cannot_be_opened_is_an_error_row_with_no_value(loader):
    bad = [
        REACHED[r]
        for r in (Reason.IMAGE_MISSING, Reason.IMAGE_TRUNCATED, Reason.IMAGE_CORRUPT, Reason.IMAGE_UNREADABLE)
    ]
    scores = FiveDimension().score(bad, loader)
    assert [score.status for score in scores] == ["error"] * 4
    assert all(score.value is None and score.parts["image_quality"] is None and score.note for score in scores)


def test_a_score_does_not_depend_on_the_other_samples(loader):
    samples = [made for made in REACHED.values() if made is not None]
    scorer = FiveDimension()
    together = scorer.score(samples, loader)
    assert together == [scorer.score([one], loader)[0] for one in samples]
    assert together == scorer.score(samples[::-1], loader)[::-1]


def test_equal_media_are_opened_once_a_call(loader):
    class Counting:
        opened = 0

        def load(self, media, at_most=None):
            self.opened += 1
            return loader.load(media, at_most)

    counting = Counting()
    FiveDimension().score([sample(media=(P,)), sample("yes", (P, RED)), sample(media=(P,))], counting)
    assert counting.opened == 2


def test_a_modality_that_raises_anything_costs_one_row_and_no_more():
    class Broken:
        def load(self, media, at_most=None):
            raise ZeroDivisionError("oh")

    scores = FiveDimension().score([sample(media=(P,)), sample()], Broken())
    assert [score.status for score in scores] == ["error", "ok"]
    assert "image_unreadable" in scores[0].reasons


@given(st.integers(0, 2**32))
def test_made_up_structured_identity_is_found(seed):
    chance = random.Random(seed)
    assert identities(f"{CAPTION} {make_identity(chance)}.")


@given(st.integers(0, 400), st.integers(1, 60), st.sampled_from(["T2", "L4", "S1", "segment VII", "5 mm", "12/24"]))
def test_measurements_are_no_identity(number, other, code):
    assert (
        identities(f"Nodule of {number} x {other} mm at {code}, slice {number} of {other}, 3.5 cm, grade {other}.")
        == []
    )


@given(st.text(max_size=300))
def test_any_text_is_scored(text):
    (score,) = FiveDimension().score([sample(text)], media_loader_once())
    assert score.status == "ok" and score.value is not None


_loaders: list = []


def media_loader_once():
    if not _loaders:
        _loaders.append(media_loader())
    return _loaders[0]


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.integers(0, 4), st.floats(0, 1))
def test_a_worse_dimension_never_raises_the_value(values, place, lower):
    names = [*load_profile("default").dimensions]
    parts = dict(zip(names, values, strict=True))
    worse = {**parts, names[place]: min(lower, parts[names[place]])}
    assert composite(worse, dict.fromkeys(names, 1.0)) <= composite(parts, dict.fromkeys(names, 1.0)) + 1e-9


def test_dimensions_without_a_value_take_no_part():
    assert composite({"a": 0.5, "b": None}, {"a": 2.0, "b": 1.0}) == pytest.approx(0.5)
    assert composite({"a": None}, {"a": 1.0}) is None


@pytest.fixture(scope="module")
def real_pictures(loader):
    """Six different real pictures of installed packages."""
    made: dict[str, Sample] = {}
    for row in reader("demo-anatomy", max_images=60, include_text=False, forms=("caption",)).read(""):
        if isinstance(row, Sample):
            made.setdefault(row.tags["image"], row)
    return [(row.tags["modality"], loader.load(row.media[0])) for row in list(made.values())[::10][:6]]


@pytest.mark.parametrize("name", ["blur", "noise", "jpeg", "resample", "darken"])
def test_more_damage_to_real_pictures_never_means_more_quality(name, loader, real_pictures):
    means = []
    for severity in range(6):
        damage = IMAGE_CORRUPTIONS[name]
        media = [png(pixels) if not severity else damage(pixels, severity, 0) for _, pixels in real_pictures]
        made = [sample(media=(one,), modality=tag) for one, (tag, _) in zip(media, real_pictures, strict=True)]
        means.append(np.mean([score.parts["image_quality"] for score in FiveDimension().score(made, loader)]))
    assert all(later <= earlier + 0.02 for earlier, later in itertools.pairwise(means))
    assert means[0] > 0.8 and means[-1] < 0.2


def test_a_profile_names_its_mistake_and_changes_the_identity(tmp_path):
    with pytest.raises(DataError, match="no quality profile"):
        load_profile("nowhere.yaml")
    path = tmp_path / "mine.yaml"
    text = profile_path("default").read_text(encoding="utf-8")
    path.write_text(text.replace("compliance: 0.5", "compliance: 0.9"), encoding="utf-8")
    assert load_profile(str(path)).hard_minimums["compliance"] == 0.9
    assert FiveDimension(profile=str(path)).identity() != FiveDimension().identity()
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace("flag_below: 0.5", "flag_below: 5"), encoding="utf-8")
    with pytest.raises(DataError, match="flag_below"):
        load_profile(str(broken))


def test_the_ladder_reports_what_a_scorer_sees(loader):
    samples = [sample(media=(png(picture(n)),), modality="MR").model_copy(update={"id": str(n)}) for n in range(3)]
    report = validate(FiveDimension(), samples, loader, (3,), ("cut_file",), ("mojibake_text", "identity_text"))
    assert {name: row["auroc"]["3"] for name, row in report["corruptions"].items()} == {
        "cut_file": 1.0,
        "mojibake_text": 1.0,
        "identity_text": 1.0,
    }
    assert set(report["false_flags"]) <= set(FiveDimension.dimensions)
