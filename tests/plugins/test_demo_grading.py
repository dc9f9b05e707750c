"""How the demo benchmark reads answers: right is 1, wrong is 0, unreadable is neither."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimed_core import Answer, Sample, Turn
from infimed_plugins.demo import grading
from infimed_plugins.demo.vqa import DemoVqa

OPTIONS = ("sagittal", "coronal", "axial")


def question(form: str, references: tuple[str, ...], options: tuple[str, ...] = ()) -> Sample:
    turns = (Turn(role="user", content=("Which plane?",)),)
    return Sample(id="s", turns=turns, references=references, options=options, tags={"form": form, "kind": "plane"})


OPEN = question("open", ("axial", "transverse"))
TEXT = question("option-text", ("axial", "transverse"), OPTIONS)
LETTER = question("option-letter", ("C", "axial"), OPTIONS)
FIRST = question("option-letter", ("A", "sagittal"), OPTIONS)
YES = question("yes-no", ("yes",), ("yes", "no"))


def value(sample: Sample, text: str | None) -> float | None:
    answer = Answer(sample_id="s", text=text, error=None if text is not None else "timed out")
    score = DemoVqa().grade(sample, answer, "strict")
    assert (score.value is None) == (score.status == "unscored") and (score.value is not None or score.reasons)
    return score.value


@pytest.mark.parametrize(
    "text", ["axial", "Axial.", " AXIAL ", "the axial", "an axial", "transverse", "Answer: axial", '"axial"']
)
def test_open_and_option_text_are_read_by_normalised_match(text: str) -> None:
    assert value(OPEN, text) == value(TEXT, text) == 1.0


@pytest.mark.parametrize("text", ["coronal", "axial or coronal", "not axial", "axia", "xq zz"])
def test_a_readable_wrong_answer_is_zero(text: str) -> None:
    assert value(OPEN, text) == value(TEXT, text) == 0.0


LETTER_SHAPES = ["C", "c", "C.", "(C)", "[C]", "**C**", "C) axial", "C: axial", "C. Axial."]
LETTER_SHAPES += ["Answer: C", "The answer is C.", "Option C", "axial", "The axial", "answer: axial"]


@pytest.mark.parametrize("text", LETTER_SHAPES)
def test_letters_are_read_in_their_common_shapes(text: str) -> None:
    assert value(LETTER, text) == 1.0


@pytest.mark.parametrize("text", ["A", "a", "A.", "(A)", "A) sagittal", "sagittal"])
def test_the_letter_a_is_an_answer_not_an_article(text: str) -> None:
    assert value(FIRST, text) == 1.0
    assert value(LETTER, text) == 0.0


@pytest.mark.parametrize("text", ["D", "Z.", "A or C", "AC", "dog", "I think so", "A coronal view", "C. coronal"])
def test_a_letter_answer_that_names_no_option_or_two_is_unscored(text: str) -> None:
    assert value(LETTER, text) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("yes", 1.0), ("Yes.", 1.0), ("Yes, it is.", 1.0), ("no", 0.0), ("No, coronal", 0.0)]
)
def test_yes_and_no_are_read_by_word(text: str, expected: float) -> None:
    assert value(YES, text) == expected


@pytest.mark.parametrize("text", ["yes and no", "maybe", "north", "yesterday"])
def test_neither_or_both_of_yes_and_no_is_unscored(text: str) -> None:
    assert value(YES, text) is None


@pytest.mark.parametrize("sample", [OPEN, TEXT, LETTER, FIRST, YES], ids=lambda sample: sample.tags["form"])
@pytest.mark.parametrize("text", [None, "", "  \n", "...", "**"])
def test_nothing_said_is_unscored_in_every_form(sample: Sample, text: str | None) -> None:
    assert value(sample, text) is None


@given(st.text())
def test_any_text_gets_a_grade_or_a_reason(text: str) -> None:
    for sample in (OPEN, TEXT, LETTER, FIRST, YES):
        assert value(sample, text) in (None, 0.0, 1.0)


@given(st.text(alphabet=string.ascii_letters + string.punctuation + " ", max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = grading.normalise(text)
    assert grading.normalise(once) == once


def test_every_correct_answer_of_the_benchmark_is_graded_right_and_every_other_option_wrong() -> None:
    benchmark = DemoVqa(include_text=True)
    for sample in benchmark.samples():
        assert isinstance(sample, Sample)
        for reference in sample.references:
            assert benchmark.grade(sample, Answer(sample_id=sample.id, text=reference), "strict").value == 1.0, sample
        if sample.tags["form"] != "open":
            right = sample.references[-1] if sample.tags["form"] == "option-letter" else sample.references[0]
            for option in sample.options:
                expected = float(option == right)
                assert benchmark.grade(sample, Answer(sample_id=sample.id, text=option), "strict").value == expected, (
                    sample
                )
