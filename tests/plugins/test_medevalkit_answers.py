"""Answers are read as a careful person reads them: kinds of answers, and what must hold for every answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import Answer, Sample, Turn
from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed
from infimed_plugins.medevalkit.answers.equality import key
from infimed_plugins.medevalkit.answers.open_answers import grade_open
from infimed_plugins.medevalkit.answers.prepared import LONGEST, prepare
from infimed_plugins.medevalkit.answers.thoughts import FAMILIES
from infimed_plugins.medevalkit.cards import find_card
from infimed_plugins.medevalkit.grading import grade_record

FIXTURES = Path(__file__).parents[1] / "fixtures" / "answers"


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines()]


CHOICES, OPEN, GRADED = _rows("choice.jsonl"), _rows("open.jsonl"), _rows("graded.jsonl")
VOCABULARIES = [
    ["Aspirin", "Warfarin", "Heparin", "Clopidogrel"],
    ["Right upper lobe", "Left upper lobe", "Right lower lobe", "Pleural effusion"],
    ["Parkinson's disease", "T-cell lymphoma", "Pick's disease", "Non-Hodgkin lymphoma"],
    ["8", "6", "9", "1", "10", "3"],
    ["A/(A+C)", "C/(A+C)", "B/(B+D)", "D/(B+D)"],
    ["<5 mm", ">5 mm", "5 mm", "50%"],
    ["Yes, deep infection", "No, superficial wound", "Not an infection"],
    ["yes", "no", "maybe"],
    ["A and C", "Only B", "B, C and D", "None of the above"],
    ["高血压", "糖尿病", "冠心病", "哮喘"],
    ["-5", "5", "0.5", "1.5"],
    ["Hepatitis A", "Hepatitis B", "Hepatitis C", "Vitamin B12"],
    ["E. coli", "K. pneumoniae", "P. mirabilis", "S. aureus"],
]
questions = st.sampled_from(VOCABULARIES).flatmap(
    lambda options: st.tuples(st.just(options), st.integers(0, len(options) - 1))
)
FORMS = ["{x}", "{t}", "{x}. {t}", "({x}) {t}", "{x}: {t}", "**{x}. {t}**", "{x}) {t}", "{x} - {t}"]
REFUSALS = [
    "I'm sorry, I can't identify the lesion.",
    "I am unable to interpret images.",
    "I cannot answer that.",
    "As an AI, I can't say.",
    "抱歉，我无法判断。",
    "Lo siento, no puedo responder.",
    "Je suis désolé, je ne peux pas répondre.",
    "申し訳ありません、判断できません。",
]
RUN_ON = [
    "\n\nQuestion: Which drug lowers lipids?\nA. Statin\nB. Niacin\nAnswer: A",
    "<|im_end|>\n<|im_start|>user\nA or B?",
    "\n\nUser: And option C?\nAssistant: The answer is C.",
    "\n\nQuestion 2: What is next?\nAnswer: D",
]


@pytest.mark.parametrize("row", CHOICES, ids=[f"{i}-{row['kind']}" for i, row in enumerate(CHOICES)])
def test_a_choice_is_read_as_a_person_reads_it(row: dict[str, Any]) -> None:
    choice = read_choice(row["response"], row["options"], row.get("multiple", False), row.get("ended"))
    assert (choice.letters or None) == row["read"], (choice, row)
    assert bool(choice.letters) != bool(choice.reason)


@pytest.mark.parametrize("row", OPEN, ids=[f"{i}-{row['kind']}" for i, row in enumerate(OPEN)])
def test_an_open_or_closed_answer_is_graded_as_a_person_grades_it(row: dict[str, Any]) -> None:
    grader = grade_closed if row["form"] == "CLOSED" else grade_open
    verdict = grader(row["answer"], row["response"], row["question"])
    assert (None if verdict.right is None else int(verdict.right)) == row["right"], (verdict, row)
    assert (verdict.right is None) == bool(verdict.reason)


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in GRADED}))
def test_records_are_graded_as_their_writer_labelled_them_before_grading(kind: str) -> None:
    rows = [row for row in GRADED if row["kind"] == kind]
    graded = [grade_record(find_card(row["task"]), row["item"], "strict").value for row in rows]
    assert [(row["item"], value) for row, value in zip(rows, graded, strict=True)] == [
        (row["item"], row["right"]) for row in rows
    ]


@given(questions, st.sampled_from(FORMS))
@settings(deadline=None)
def test_every_option_reads_as_itself(question: tuple[list[str], int], form: str) -> None:
    options, index = question
    letter = "ABCDEFGHIJ"[index]
    assert read_choice(form.format(x=letter, t=options[index]), options).letters == letter
    labelled = [f"{'ABCDEFGHIJ'[i]}. {text}" for i, text in enumerate(options)]
    assert read_choice(form.format(x=letter, t=options[index]), labelled).letters == letter


@given(
    questions,
    st.sampled_from(
        ["The answer is {x}.", "Answer: {x}", "**Answer: {x}**", "{x}. {t}", "I would choose {x}.", "\\boxed{{{x}}}"]
    ),
    st.sampled_from(
        [
            str.upper,
            str.lower,
            lambda text: f"**{text}**",
            lambda text: f"  {text}\n\n",
            lambda text: text.replace(" ", "  "),
        ]
    ),
)
@settings(deadline=None)
def test_case_markdown_and_white_space_change_nothing(question: tuple[list[str], int], form: str, change: Any) -> None:
    options, index = question
    letter = "ABCDEFGHIJ"[index]
    text = form.format(x=letter, t=options[index])
    if "boxed" in text and change is str.upper:
        return  # a command of TeX is in lower case
    assert read_choice(change(text), options).letters == letter


@given(questions, st.sampled_from(RUN_ON))
@settings(deadline=None)
def test_run_on_changes_no_grade(question: tuple[list[str], int], tail: str) -> None:
    options, index = question
    letter = "ABCDEFGHIJ"[index]
    for head in (letter, f"The answer is {letter}.", f"{letter}. {options[index]}"):
        assert read_choice(head + tail, options).letters == letter


@given(questions, st.sampled_from(REFUSALS))
@settings(deadline=None)
def test_a_refusal_chooses_nothing(question: tuple[list[str], int], refusal: str) -> None:
    options = [*question[0], "Infectious", "image", "Lesion"]
    choice = read_choice(refusal, options)
    assert (choice.letters, choice.reason) == ("", "refusal")
    assert grade_open("Infectious", refusal).right is None and grade_closed("yes", refusal).right is None


SIGNS = ("\x0f", "\ufffd", "\u200b", "\u202e", "\ue000", "…", "—", "*", "_", "|", "½", "🙂", "(", "\n", ".", "?", "1")


@given(st.lists(st.sampled_from(SIGNS), min_size=1, max_size=8), st.sampled_from(["no", "yes", "left", "maybe"]))
@settings(deadline=None)
def test_an_answer_of_signs_alone_is_unread_and_no_error(signs: list[str], gold: str) -> None:
    text = "".join(signs)
    for question in ("", "Are the lateral ventricles visible?", "Is the stain on the left or on the right?"):
        for ended in ("stop", "length"):
            assert not grade_closed(gold, text, question, (), ended).right
            assert not grade_open(gold, text, question, ended).right
            assert not read_choice(text, ["no", "yes"], False, ended, question).letters
            assert not grade_closed(gold, text, question, ("yes", "no", "maybe"), ended).right


@pytest.mark.parametrize(
    "options", [options for options in VOCABULARIES if len(options[0]) > 5 and options[0].isascii()]
)
def test_denial_takes_an_option_away(options: list[str]) -> None:
    for text in options[:3]:
        assert read_choice(f"It is not {text}.", options).letters == ""
        assert read_choice(f"{text} should be avoided.", options).letters == ""
    assert read_choice("Option B is wrong.", options).letters == ""


def test_what_has_not_concluded_is_unread() -> None:
    answer = (
        "Let us go through the options. Option A describes a drug that inhibits platelets, which would be of use in "
        "stroke. Option B describes an anticoagulant that needs monitoring. The patient has atrial fibrillation. "
        "Therefore, the answer is B."
    )
    end = answer.index("the answer is B") + len("the answer is B")
    options = ["Aspirin", "Warfarin", "Heparin", "Clopidogrel"]
    for stop in range(10, end - 1, 3):
        assert read_choice(answer[:stop], options, ended="length").letters == "", answer[:stop]
    assert read_choice(answer, options).letters == "B"


GOLDS = [
    "Liver",
    "left lung",
    "CT",
    "2",
    "<5 mm",
    "the image shows a fracture",
    "unable to determine",
    "Vitamin A",
    "pneumonia",
    "是",
    "yes",
    "No",
]
FRAMES = [
    "{}",
    "{}.",
    "It is {}.",
    "The answer is {}.",
    "Answer: {}",
    "**{}**",
    "The image shows {}.",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    "<think>Perhaps something else.</think>{}",
    "I think it is {}.",
    "In my opinion, this is {}.",
]


@pytest.mark.parametrize("gold", GOLDS)
def test_what_equals_the_reference_is_right(gold: str) -> None:
    assert grade_open(gold, gold).right is True and grade_closed(gold, gold).right is True
    assert key(gold) == key(f"  {gold.upper()}. ")


@pytest.mark.parametrize("gold", ["liver", "left lung", "CT", "pneumonia", "2", "spleen"])
def test_an_open_answer_grades_alike_in_any_frame(gold: str) -> None:
    for frame in FRAMES:
        assert grade_open(gold, frame.format(gold), "What is seen?").right is True, frame
        assert grade_open("kidney", frame.format("spleen"), "Which organ?").right is False, frame


def test_closed_sets_grade_every_reference_alike() -> None:
    for gold in ("yes", "no", "maybe"):
        assert grade_closed(gold, "Maybe.", "q", ("yes", "no", "maybe")).right is (gold == "maybe")
        assert grade_closed(gold, "It depends.", "q", ("yes", "no", "maybe")).right is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thought_is_no_answer_in_any_family(family: str) -> None:
    start, end = FAMILIES[family]
    options = ["Aspirin", "Warfarin", "Heparin"]
    assert read_choice(f"{start}The answer is A.{end}B", options).letters == "B"
    assert read_choice(f"{start}The answer is A.", options).reason == "truncated"


def test_how_an_answer_ended_is_kept_and_counts() -> None:
    sample = Sample(id="1", turns=(Turn(role="user", content=("q",)),))
    assert Answer(sample_id=sample.id, text="x", finish_reason="length").finish_reason == "length"
    options = ["Aspirin", "Warfarin"]
    assert read_choice("We look at warfarin, which is given", options, ended="length").reason == "truncated"
    assert read_choice(None, options, ended="content_filter").reason == "content_filter"
    assert grade_open("liver", "The image shows the large", "q", "length").reason == "truncated"


def test_the_deciding_statement_is_told() -> None:
    choice = read_choice("C is unsafe in pregnancy.\n\n**Answer: B** (see above)", ["Aspirin", "Heparin", "Warfarin"])
    assert choice.letters == "B" and choice.statement == "Answer: B"


HOSTILE = {
    "spaces": lambda n: "The" + " " * n + "lung",
    "stops": lambda n: "." * n,
    "letters": lambda n: "A. " * (n // 3),
    "cues": lambda n: "answer is " * (n // 10),
    "boxes": lambda n: "\\boxed{" * (n // 7),
    "thoughts": lambda n: "<think>" * (n // 7),
    "ends": lambda n: "</think>a" * (n // 9),
    "stars": lambda n: "*" * n,
    "fields": lambda n: '{"answer"' * (n // 9),
    "lines": lambda n: "A\n" * (n // 2),
    "options": lambda n: "right upper lobe, " * (n // 18),
    "prose": lambda n: "The right upper lobe is not seen well, so option B may be correct. " * (n // 66),
    "dollars": lambda n: "$a" * (n // 2),
    "denials": lambda n: "not " * (n // 4),
    "questions": lambda n: "Question: a?\nA. x\nB. y\n" * (n // 24),
    "word": lambda n: "a" * n,
    "brackets": lambda n: "(" * n,
    "underscores": lambda n: "_" * n,
    "and": lambda n: "A and " * (n // 6),
    "no": lambda n: "no " * (n // 3),
    "quotes": lambda n: "\"'" * (n // 2),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_reading_takes_time_in_proportion_to_the_text(kind: str) -> None:
    def seconds(size: int) -> float:
        text = HOSTILE[kind](size)
        times = []
        for round_ in range(2):
            started = time.process_time()
            read_choice(f"{text}{round_}", VOCABULARIES[1])
            grade_open("right upper lobe", f"{text}{round_}", "Where is it?")
            grade_closed("yes", f"{text}{round_}", "Is there a mass?")
            times.append(time.process_time() - started)
        return min(times)

    small, large = seconds(5_000), seconds(40_000)
    assert large < 0.05 + 20 * small  # 8 times the text: 64 times the time where a rule is quadratic


def test_what_no_answer_needs_is_cut_with_a_reason() -> None:
    assert prepare("x" * (LONGEST + 1)).reason == "too_long"
