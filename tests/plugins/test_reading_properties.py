"""What holds for every answer, with options and references drawn from real vocabularies, numbers, letters, formulas."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.equality import key
from infimed_plugins.medevalkit.answers.polar import read_polar
from infimed_plugins.medevalkit.cards import find_card
from infimed_plugins.medevalkit.grading import grade_record

NAMES = sorted(
    {
        name
        for line in files("infimed_plugins.medevalkit.answers").joinpath("synonyms.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
        for name in line.split("|")
        if 2 < len(name) < 60
    }
)
NUMBERS = st.one_of(
    st.integers(-200, 2000).map(str),
    st.floats(0.01, 99, allow_nan=False).map(lambda value: f"{value:.2f}"),
    st.tuples(st.sampled_from("<>≤≥"), st.integers(1, 90), st.sampled_from(["mm", "cm", "%", "mg/dL"])).map(
        lambda parts: f"{parts[0]}{parts[1]} {parts[2]}"
    ),
)
FORMULAS = st.sampled_from(
    ["A/(A+C)", "B/(B+D)", "TP/(TP+FN)", "TN/(TN+FP)", "x^2 + 1", "CO2", "H2O", "Na+ > K+", "1:2", "3:1", "p < 0.05"]
)  # fmt: skip
LETTERS = "ABCDEFGHIJ"
TEXTS = {"names": st.sampled_from(NAMES), "numbers": NUMBERS, "letters": st.sampled_from(LETTERS), "formulas": FORMULAS}


def questions(kind: str) -> Any:
    options = st.lists(TEXTS[kind], min_size=2, max_size=6, unique_by=key)
    return options.flatmap(lambda texts: st.tuples(st.just(texts), st.integers(0, len(texts) - 1)))


@pytest.mark.parametrize("kind", ["names", "numbers", "formulas"])
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_an_options_letter_text_and_both_read_as_that_option(kind: str, data: Any) -> None:
    options, index = data.draw(questions(kind))
    letter = LETTERS[index]
    for form in (
        letter,
        options[index],
        f"{letter}. {options[index]}",
        f"({letter}) {options[index]}",
        f"Answer: {letter}",
    ):
        assert read_choice(form, options).letters == letter, (form, options)


@given(questions("letters"))
@settings(deadline=None, max_examples=150)
def test_of_options_that_are_letters_only_what_is_sure_is_read(question: tuple[list[str], int]) -> None:
    options, index = question
    letter, text = LETTERS[index], options[index]
    assert read_choice(f"{letter}. {text}", options).letters == letter
    meant = {letter} | {LETTERS[at] for at, own in enumerate(options) if own == letter}
    assert read_choice(letter, options).letters in (("", letter) if len(meant) > 1 else (letter,))


@pytest.mark.parametrize("kind", ["names", "numbers", "formulas"])
@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_a_reference_answered_word_for_word_is_right_in_every_form_of_task(kind: str, data: Any) -> None:
    options, index = data.draw(questions(kind))
    gold = options[index]
    labelled = [f"{LETTERS[at]}. {text}" for at, text in enumerate(options)]
    choice = {"question": "q", "choices": labelled, "response": gold}
    for answer in (gold, LETTERS[index]):
        assert grade_record(find_card("MedQA_USMLE"), {**choice, "answer": answer}, "strict").value == 1
    shown = {"question": "q", "answer": gold, "response": gold}
    forms: list[dict[str, Any]] = [{"answer_type": "OPEN"}, {"answer_type": "CLOSED"}]
    for task, more in (("VQA_RAD", {}), ("PATH_VQA", {}), *(("SLAKE", form) for form in forms)):
        assert grade_record(find_card(task), {**shown, **more}, "strict").value == 1, (task, gold)
    mmmu = {"id": "validation_Pharmacy_1", "question_type": "open", "choices": [], **shown}
    assert grade_record(find_card("MMMU-Medical-val"), mmmu, "strict").value == 1


POLAR_FORMS = ["{}", "{}.", "**{}**", "Answer: {}", "The answer is {}.", "<answer>{}</answer>"]


@given(st.sampled_from(["yes", "no"]), st.sampled_from(POLAR_FORMS))
def test_yes_and_no_are_right_in_every_form(gold: str, form: str) -> None:
    for said in ("yes", "no"):
        for text in (form.format(said), form.format(said.upper())):
            value = grade_record(
                find_card("VQA_RAD"), {"question": "Is it?", "answer": gold, "response": text}, "strict"
            ).value
            assert value == (said == gold)


FINDINGS = [
    "pleural effusion",
    "pneumothorax",
    "cardiomegaly",
    "aneurysm",
    "midline shift",
    "free air",
    "consolidation",
]


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_denial_flips_what_a_statement_answers(finding: str) -> None:
    question = f"Is there {finding}?"
    for said, denied in (
        ("There is {}.", "There is no {}."),
        ("The image shows {}.", "The image does not show {}."),
        ("{} is present.", "{} is not present."),
        ("There is evidence of {}.", "There is no evidence of {}."),
        ("The scan shows {} in the left chest.", "The scan is without {}."),
    ):
        assert read_polar(said.format(finding), question)[0] == "yes", said
        assert read_polar(denied.format(finding), question)[0] == "no", denied


@given(questions("names"), st.sampled_from(["#7", "[3]", "(2)", "#1234.", "[12]."]))
@settings(deadline=None, max_examples=80)
def test_a_reference_number_behind_an_answer_changes_nothing(question: tuple[list[str], int], number: str) -> None:
    options, index = question
    letter = LETTERS[index]
    for form in (f"{letter} {number}", f"The answer is {letter}. {number}", f"{letter}. {options[index]} {number}"):
        assert read_choice(form, options).letters == letter, (form, options)


TAIL = "\n\nThus we weigh what was said. Therefore, the answer is {}."
REASONS = " ".join(
    [
        "The patient is 40 years old.", "Option A would be considered if there were a fracture.", "B is a drug used",
        "in other settings, but it is not given here.", "However, the findings fit none of the first impressions.",
    ]
)  # fmt: skip


@given(questions("names"), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_a_long_answer_is_read_alike_whatever_its_length(question: tuple[list[str], int], rounds: int) -> None:
    options, index = question
    text = "\n".join(f"{number}. {REASONS}" for number in range(rounds)) + TAIL.format(LETTERS[index])
    assert read_choice(text, options).letters == LETTERS[index]
    assert json.dumps(read_choice(text, options).statement)
