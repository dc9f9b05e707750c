"""The promises of point grading: negation, doubt, the past and others are no statement; labels by hand agree."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimed_core import Sample, cohen_kappa
from infimed_plugins.mdt.assertion import is_stated, mentions
from infimed_plugins.mdt.benchmark import MdtCases, points_of
from infimed_plugins.mdt.cases import Point
from infimed_plugins.mdt.context_modifiers import table
from infimed_plugins.mdt.grading import grade_points, is_met, score_of
from infimed_plugins.mdt.words import even, find, read

FRAGMENTS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "mdt_fragments.jsonl").read_text(encoding="utf-8").splitlines()
]


def point(*wordings: str, importance: str = "required", stance: str = "for", weight: float | None = None) -> Point:
    body = {"text": "x", "wordings": wordings, "importance": importance, "stance": stance, "weight": weight}
    return Point.model_validate(body)


def statuses(text: str, *wordings: str) -> list[str]:
    return [mention.status for mention in mentions(text, wordings)]


@pytest.mark.parametrize(("split", "number"), [("tuning", 120), ("held-out", 40)])
def test_hand_labelled_fragments_agree_at_kappa_0_9(split: str, number: int) -> None:
    rows = [row for row in FRAGMENTS if row["split"] == split]
    assert len(rows) == number and sum(row["role"] == "forbidden" for row in rows) >= 5
    found = []
    for row in rows:
        against = row["role"] == "against"
        importance = "required" if against else row["role"]
        wanted = point(*row["wordings"], importance=importance, stance="against" if against else "for")
        found.append(is_met(wanted, row["text"]))
    kappa = cohen_kappa(found, [row["met"] for row in rows])
    assert kappa is not None and kappa >= 0.9


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Acute pneumonia.", "stated"),
        ("There is no evidence of pneumonia.", "denied"),
        ("Pneumonia was ruled out.", "denied"),
        ("Pneumonia cannot be ruled out.", "uncertain"),
        ("This may be pneumonia.", "uncertain"),
        ("Is it pneumonia?", "uncertain"),
        ("Pneumonia? No.", "denied"),
        ("Her mother had pneumonia.", "other"),
        ("History of pneumonia.", "past"),
        ("Pneumonia in 2019.", "past"),
        ("If pneumonia develops, call us.", "uncertain"),
        ("No effusion, but pneumonia.", "stated"),
        ("No effusion; pneumonia on the left.", "stated"),
        ("There is no doubt that this is pneumonia.", "stated"),
        ("It is not unlikely that this is pneumonia.", "stated"),
        ("Not only pneumonia but sepsis.", "stated"),
        ("Bronchitis rather than pneumonia.", "denied"),
        ("Neither fever nor pneumonia.", "denied"),
        ("No fever and no pneumonia.", "denied"),
        ("Without treatment, pneumonia is fatal.", "stated"),
        ("The lungs are clear of pneumonia.", "denied"),
        ("The pneumonia has resolved.", "denied"),
    ],
)
def test_how_a_mention_is_put(text: str, status: str) -> None:
    assert statuses(text, "pneumonia") == [status]


def test_a_negation_in_the_gap_of_a_wording_counts() -> None:
    assert statuses("The heart is enlarged.", "heart ... enlarged") == ["stated"]
    assert statuses("The heart is not enlarged.", "heart ... enlarged") == ["denied"]


def test_a_negator_that_belongs_to_the_wording_denies_nothing() -> None:
    assert statuses("There are no distant metastases.", "no distant metastases") == ["stated"]
    assert is_stated("Stop ibuprofen today.", ["stop ibuprofen"])


@pytest.mark.parametrize(
    ("wording", "text"),
    [
        ("T3 N1 M0", "pT3N1M0"),
        ("T3", "cT3b, N1"),
        ("stage III", "stage IIIB"),
        ("stage 3", "Stage III"),
        ("N1b", "ypT2 N1b"),
        ("tumour", "the tumors"),
        ("oesophageal haemorrhage", "Esophageal hemorrhages"),
        ("liver metast*", "liver metastases"),
        ("5 mg", "5mg"),
        ("three months", "3 months"),
        ("anti-HER2", "anti HER2"),
        ("PE", "massive PE"),
        ("NSAID", "NSAIDs"),
        ("KCl", "kcl"),
    ],
)
def test_spellings_of_one_thing_are_found(wording: str, text: str) -> None:
    assert list(find(wording, read(text)))


@pytest.mark.parametrize(
    ("wording", "text"),
    [
        ("PE", "a pe ratio"),
        ("MS", "Ms Jones"),
        ("stage III", "stage IV"),
        ("stage III", "stage II"),
        ("T3", "T2b"),
        ("T2", "T21"),
        ("liver", "delivery"),
        ("M1", "M10"),
        ("heart ... enlarged", "The heart is normal. The liver is enlarged."),
    ],
)
def test_what_only_looks_alike_is_not_found(wording: str, text: str) -> None:
    assert not list(find(wording, read(text)))


def test_no_cue_is_both_an_affirmation_and_a_negation() -> None:
    cues = table()
    for kind in ("negates what follows", "negates what precedes"):
        assert not cues["affirms"] & cues[kind]
    assert all(cue and all(word.isalnum() for word in cue) for found in cues.values() for cue in found)


POINTS = [
    point("surgery"),
    point("chemotherapy"),
    point("physiotherapy", importance="optional"),
    point("warfarin", importance="forbidden"),
    point("aspirin", importance="forbidden"),
]


def test_the_value_is_coverage_halved_for_each_forbidden_point() -> None:
    score = grade_points(POINTS, "Surgery, then physiotherapy. Warfarin. No aspirin.", 0.5)
    assert score.parts == {"coverage": 1.5 / 2.5, "required": 0.5, "violations": 0.5}
    assert score.value == pytest.approx(0.3) and score.reasons == ("forbidden_point",)
    assert grade_points(POINTS, "Surgery. Warfarin and aspirin.", 0.0).value == 0.0
    assert "! forbidden: x" in score.note and "- required: x" in score.note


@pytest.mark.parametrize("text", [None, "", "  \n "])
def test_no_answer_is_unscored(text: str | None) -> None:
    score = grade_points(POINTS, text, 0.5)
    assert (score.value, score.status, score.reasons) == (None, "unscored", ("empty_answer",))


def test_an_answer_that_says_nothing_of_the_points_is_zero_and_not_unscored() -> None:
    assert grade_points(POINTS, "I am a language model.", 0.5).value == 0.0


ANSWERS = json.loads((Path(__file__).parent / "data" / "mdt_answers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row["question"])
def test_whole_answers_are_graded_as_a_reader_would(row: dict[str, Any]) -> None:
    samples = MdtCases(images=False).samples()
    sample = next(one for one in samples if isinstance(one, Sample) and one.id == row["question"])
    score = grade_points(points_of(sample), row["text"], 0.5)
    assert score.raw["forbidden_met"] == row["forbidden"], score.note
    if row["required"] is not None:
        assert score.parts["required"] == row["required"], score.note


def test_stances() -> None:
    against, named = point("biopsy", stance="against"), point("biopsy", stance="named")
    assert (
        is_met(against, "Avoid biopsy.") and not is_met(against, "Take a biopsy.") and not is_met(against, "Nothing.")
    )
    assert not is_met(against, "No biopsy today. Biopsy tomorrow.")
    assert is_met(named, "Consider a biopsy.") and is_met(named, "Biopsy.") and not is_met(named, "No biopsy.")


@given(st.lists(st.booleans(), min_size=5, max_size=5), st.floats(0, 1))
def test_more_wanted_points_never_lower_and_more_forbidden_never_raise_the_value(
    met: list[bool], factor: float
) -> None:
    value = score_of(POINTS, met, factor).value
    assert value is not None and 0.0 <= value <= 1.0
    for place, wanted in enumerate(POINTS):
        if not met[place]:
            other = score_of(POINTS, [*met[:place], True, *met[place + 1 :]], factor).value
            assert other is not None
            assert other <= value if wanted.importance == "forbidden" else other >= value


WORDS = st.sampled_from(
    [
        "no",
        "not",
        "pneumonia",
        "surgery",
        "is",
        "the",
        "and",
        ",",
        ".",
        ";",
        "?",
        "but",
        "without",
        "if",
        "would",
        "history",
        "of",
        "2019",
        "(",
        ":",
        "T3",
        "IIIb",
        "\n",
    ]
)


@given(st.lists(WORDS, max_size=25))
def test_any_text_is_graded_the_same_twice_and_told_in_reading_order(words: list[str]) -> None:
    text = " ".join(words)
    found = mentions(text, ["pneumonia", "surgery", "pneumonia ... surgery"])
    assert found == mentions(text, ["pneumonia", "surgery", "pneumonia ... surgery"])
    assert len(mentions(text, ["pneumonia"])) == sum(word == "pneumonia" for word in words)


@given(st.text(max_size=60))
def test_no_text_is_too_odd_to_read(text: str) -> None:
    for word in read(text):
        assert word.form and even(word.form) is not None
    mentions(text + " pneumonia " + text, ["pneumonia", "*", "...", "a ... b"])


@given(st.sampled_from(["pneumonia", "small cell lung cancer", "a stroke"]), st.integers(0, 4))
def test_each_added_double_negation_changes_nothing(thing: str, times: int) -> None:
    text = "There is no doubt that " * (times % 2) + f"this is {thing}."
    assert is_stated(text, [thing.removeprefix("a ")])
    assert not is_stated(f"There is no sign of {thing}.", [thing.removeprefix("a ")])
