"""Kinds of answers that published outputs hold and that were once misread, each with its sisters."""

from __future__ import annotations

import pytest

from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed

DRUGS = ("aspirin", "heparin", "warfarin", "placebo")
SIGNED = ("-1.5", "1.5", "-3.0", "3.0")
STAGES = ("Stage IIId", "Stage Ic", "Stage IVb", "Stage IIIa")
ORDERS = ("3, 1, 2", "1, 2, 3", "2, 3, 1")
TYPING = ("aretriolar dilatation", "arteriolar constricton", "leucocyte migration", "lood flow stasis")
PARTS = "Give (a) the first drug and (b) the second."
ENTRIES = "The stages are:\n\n" + "\n".join(
    f"{letter}) {stage}: this stage suggests that it has grown." for letter, stage in zip("ABCD", STAGES, strict=True)
)
LONG = "The patient has had chest pain and shortness of breath on exertion for several weeks. "


def read(text: str, options: tuple[str, ...], question: str = "", multiple: bool = False) -> str:
    return read_choice(text, options, multiple, None, question).letters


@pytest.mark.parametrize(
    ("text", "options", "letters"),
    [
        ("Answer: (C) -3.0", SIGNED, "C"),  # the sign is the number's
        ("Answer: (C) −3.0", SIGNED, "C"),
        ("Answer: (B) - 1.5", SIGNED, "B"),  # a dash
        ("Answer: D (-3.0)", SIGNED, ""),
        ("Answer: D (3.1)", SIGNED, ""),
        ("B. arteriolar constriction", TYPING, "B"),  # a slip of the pen in the option
        ("D. blood flow stasis", TYPING, "D"),
        ("C. krusei", DRUGS, ""),  # a germ, and no option's text
        ("First 3, then 1, then 2", ORDERS, "A"),
        ("2 → 3 → 1", ORDERS, "C"),
    ],
)
def test_a_letter_with_its_own_text_is_that_option(text: str, options: tuple[str, ...], letters: str) -> None:
    assert read(text, options) == letters


def test_an_article_at_which_a_text_was_cut_is_no_letter() -> None:
    for text in ("It is a", "This is a", "The most likely cause is a"):
        assert read(LONG + text, DRUGS) == "", text
    assert read(LONG + "The answer is a", DRUGS) == "A" and read("It is a.", DRUGS) == "A"


def test_a_list_of_all_options_with_a_word_on_each_chooses_none() -> None:
    assert read(ENTRIES, STAGES) == "" and read(f"{ENTRIES}\n\nPlease choose one.", STAGES) == ""
    assert read(f"{ENTRIES}\n\nThe image shows Stage Ic.", STAGES) == "B"
    assert read(ENTRIES.replace("Ic: this", "Ic: the most likely one. This"), STAGES) == "B"
    assert read(f"{ENTRIES}\n\nB) Stage Ic", STAGES) == "B", "a line after the list is an answer"


OTHERS = "\nA. Aspirin acts on platelets.\nC. Warfarin is slow.\nD. Placebo does nothing."


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        (f"The answer is B. Heparin.\n\nThe others are not the best answer:{OTHERS}", "B"),
        ("It isn't the right choice: A. The answer is C.", "C"),
        ("I am not sure but the answer is B", "B"),
        ("C . Explanation: warfarin blocks vitamin K, heparin does not.", "C"),
        ("b, i.e. heparin", "B"),
        ("2.  Placebo.  It is the control. Aspirin is not.", "D"),
        ("1, aspirin. It blocks platelets, heparin blocks thrombin.", "A"),
    ],
)
def test_what_stands_round_an_answer_does_not_hide_or_replace_it(text: str, letters: str) -> None:
    assert read(text, DRUGS) == letters


def test_the_letter_that_was_asked_for_counts_where_every_option_is_a_letter_too() -> None:
    letters = ("C", "B", "D", "A", "E")
    assert read("The part labeled D is the inner one.\n\nAnswer: C", letters) == "C"
    assert read("C", letters) == "", "the letter of one, and the text of another"


def test_what_must_be_avoided_is_chosen_by_a_reason_against_it() -> None:
    text = "Warfarin because it is contraindicated in pregnancy. Heparin is given."
    assert read(text, DRUGS, "Which drug must be avoided in pregnancy?") == "C"


def test_small_letters_of_the_parts_of_a_question_choose_nothing() -> None:
    assert read("(a) B\n(b) C", DRUGS, PARTS) == "" and read("a. C\nb. D", DRUGS, PARTS) == ""
    assert read("(a) It is first.\n(b) It is second.\nThe answer is (C).", DRUGS, PARTS) == "C"
    assert read("(b)", DRUGS, PARTS) == "B" and read("b. heparin", DRUGS, PARTS) == "B"


def test_all_but_one_is_the_others_or_the_exception_that_was_asked_for() -> None:
    for text in ("Everything except D", "All of these but D.", "all are true except (D)", "All options apart from D"):
        assert read(text, DRUGS, multiple=True) == "ABC", text
        assert read(text, DRUGS, "Which of these is NOT an anticoagulant?") == "D", text
        assert read(text, DRUGS, "Which of these is an anticoagulant?") == "", text


@pytest.mark.parametrize(
    ("question", "text", "said"),
    [
        ("Does the rectum appear in this picture?", "The rectum does not appear in this picture.", "no"),
        ("Does the rectum appear in this picture?", "No, the rectum doesn't appear in this picture.", "no"),
        ("Does the rectum appear in this picture?", "The rectum appears in this picture.", "yes"),
        ("Is the spleen in the picture?", "The spleen is not in this picture.", "no"),
        ("Is there pneumonia?", "Pneumonia does not appear to be present.", "no"),
        ("Is there pneumonia?", "There does not appear to be pneumonia.", "no"),
        ("Is there edema?", "Edema appears to be present.", "yes"),
        ("Does the nerve appear swollen?", "The nerve does not appear swollen.", "no"),
        ("Is the liver healthy?", "The liver appears to be healthy in the image, as it is", "yes"),
        ("Are the findings normal?", "The findings are not normal, which suggests", "no"),
        ("Is there a mass in the left lung?", "There is a mass in the", None),
        ("Is the heart normal?", "The heart is normal, but", None),
    ],
)
def test_a_denial_behind_what_is_asked_denies_it_and_a_clause_cut_after_it_does_not(
    question: str, text: str, said: str | None
) -> None:
    verdict = grade_closed("yes", text, question, (), None)
    assert verdict.right == (None if said is None else said == "yes")
