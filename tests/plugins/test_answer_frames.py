"""What a sentence says of an option, a finding or a reference is read the same whatever the thing is called."""

from __future__ import annotations

from itertools import product

import pytest

from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed
from infimed_plugins.medevalkit.answers.open_answers import grade_open
from infimed_plugins.medevalkit.answers.polar import read_polar

OPTIONS = [
    "Aspirin|Warfarin|Heparin|Clopidogrel",
    "8|6|9|1|10|3|5|7|4|2",
    "yes|no|maybe",
    "True|False",
    "<5 mm|5-10 mm|>10 mm|None of these",
    "Hepatitis A|Hepatitis B|Hepatitis C|Hepatitis D|Hepatitis E",
    "C. krusei|C. albicans|A. niger|E. coli",
    "Left lung|Left lung, lower lobe|Right lung|Both lungs",
    "No, benign|Yes, malignant|Yes, benign|No, malignant",
    "高血压|糖尿病|冠心病|哮喘",
]
CHOOSING = [
    "The answer is {L} ({T}).",
    "{L}) {T} because it fits best.",
    "{L} rather than {M}",
    "Although {M} is tempting, {L} is correct.",
    "{L} is the correct answer.",
    "Not {M}. The answer is {L}.",
    "Answer: {M}\n\nWait, that is wrong. Answer: {L}",
    "Both {L} and {M} are plausible, but {L} is more likely.",
    "We can rule out {M}. This leaves {L}.",
    "正解は{L}です。",
    "정답은 {L}입니다.",
    "Верный ответ - {L}",
    "{L}\n<|assistant|>\n{M}",
    "Step 1: {M} is looked at.\n\nFinal answer: {L}",
]
NOT_CHOOSING = [
    "{L} and {M} are both wrong.",
    "Neither {L} nor {M} is right.",
    "Some people think the answer is {L}.",
    "If it were so, the answer would be {L}.",
    "First, look at option {L}:",
    "Maybe {L}, maybe {M}.",
    "No evidence supports {L}.",
    "There is no reason to choose {L}.",
    "One might answer {L}, but that would be a mistake.",
    "Everything but {L} is correct.",
    "I cannot decide between {L} and {M}.",
    "{L} was considered but rejected.",
]
FINDINGS = ["pneumothorax", "pleural effusion", "fracture", "mass", "brain tumor"]
ASKED = ["Is there a {x}?", "Does the image show a {x}?", "is there evidence of {x} in this image", "Is a {x} present?"]
SAYING = {
    "yes": "There is a {x}.|{x} can be seen on the left.|The findings are consistent with {x}.|"
    "Positive for {x}.|{x}? Yes.",
    "no": "No {x} is seen.|{x} is ruled out.|The scan fails to show {x}.|{x} has been excluded.|Negative for {x}.",
    "": "To rule out {x}, a CT is needed.|To decide if there is a {x}, we|I am not sure if there is a {x}.|"
    "Further tests are needed to exclude {x}.|Clinical correlation is needed for {x}.|A {x} is a dangerous condition.|"
    "A {x} means that something is wrong.|If there is a {x}, drain it.|Yes or no",
}
OPEN = [
    ("What modality is this?", "MRI", "CT"),
    ("Where is the lesion?", "left lung", "right lung"),
    ("What organ is shown?", "liver", "spleen"),
    ("What cells are present?", "lymphocytes", "neutrophils"),
    ("How many nodules are seen?", "3", "5"),
    ("Where does this belong to?", "digestive system", "respiratory system"),
]


@pytest.mark.parametrize("frame", CHOOSING)
def test_a_chosen_option_is_read_in_every_frame(frame: str) -> None:
    for texts in OPTIONS:
        options = texts.split("|")
        for index, text in enumerate(options[:8]):
            other = (index + 1) % len(options)
            answer = frame.format(L="ABCDEFGHIJ"[index], M="ABCDEFGHIJ"[other], T=text)
            assert read_choice(answer, options).letters == "ABCDEFGHIJ"[index], (answer, texts)


@pytest.mark.parametrize("frame", NOT_CHOOSING)
def test_an_option_that_is_only_spoken_of_is_not_chosen(frame: str) -> None:
    for texts in OPTIONS:
        options = texts.split("|")
        for index in range(len(options)):
            answer = frame.format(L="ABCDEFGHIJ"[index], M="ABCDEFGHIJ"[(index + 1) % len(options)])
            assert not read_choice(answer, options).letters, (answer, texts)


@pytest.mark.parametrize(
    "frame", ["There is no evidence of {T}.", "No sign of {T}.", "{T} was considered but rejected."]
)
def test_an_option_that_is_denied_by_its_text_is_not_chosen(frame: str) -> None:
    for options in (["Pneumothorax", "Pleural effusion", "Consolidation"], ["Aspirin", "Warfarin", "Heparin"]):
        for text in options:
            assert not read_choice(frame.format(T=text), options).letters


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("Instead of warfarin, heparin.", "C"),
        ("Switch from heparin to warfarin.", "B"),
        ("There's no reason to use heparin.", ""),
        ("A: F", ""),
        ("A: F\nB: T\nC: F\nD: F", "B"),
        ("We choose among aspirin, warfarin, heparin and clopidogrel. Heparin is given at once.", "C"),
    ],
)
def test_what_takes_the_place_of_another_option_is_chosen(answer: str, letters: str) -> None:
    assert read_choice(answer, ["Aspirin", "Warfarin", "Heparin", "Clopidogrel"]).letters == letters


@pytest.mark.parametrize("answer", ["以上都对", "All of the above.", "全选", "A B C", "A，B，C均正确"])
def test_every_option_may_be_chosen_in_one_word_where_several_are_allowed(answer: str) -> None:
    assert read_choice(answer, ["高血压", "糖尿病", "冠心病"], multiple=True).letters == "ABC"


@pytest.mark.parametrize(("question", "said"), list(product(ASKED, SAYING)))
def test_a_statement_answers_yes_or_no_only_where_it_says_so(question: str, said: str) -> None:
    for finding, frame in product(FINDINGS, SAYING[said].split("|")):
        answer = frame.format(x=finding)
        assert read_polar(answer, question.format(x=finding))[0] == said, (answer, question)


@pytest.mark.parametrize(
    ("question", "gold", "answer", "right"),
    [
        ("图像中有骨折吗？", "没有", "图像中没有骨折。", True),
        ("图像中有骨折吗？", "没有", "可见骨折。", False),
        ("肝脏正常吗？", "正常", "肝脏不正常。", False),
        ("Is the liver normal?", "Normal", "Yes", True),
        ("Is the liver normal?", "Abnormal", "Yes", False),
        ("Single or multiple lesions?", "Multiple", "There are several lesions.", True),
        ("Is the lesion in the left lung?", "no", "It is in the right lung.", True),
        ("Was contrast used?", "no", "This is a non-contrast scan.", True),
        ("Is there anything abnormal in the image?", "no", "The image is normal.", True),
        ("Is it infected?", "yes", "Yes/No: Yes", True),
    ],
)
def test_the_words_of_the_question_are_read_as_its_answer(question: str, gold: str, answer: str, right: bool) -> None:
    assert grade_closed(gold, answer, question).right is right


@pytest.mark.parametrize(("question", "gold", "other"), OPEN)
def test_an_open_answer_is_denied_doubted_or_replaced_in_every_frame(question: str, gold: str, other: str) -> None:
    for frame in ("Not {x} but {y}.", "{y}, not {x}.", "It is {y} rather than {x}.", "It is not {x}."):
        assert grade_open(gold, frame.format(x=gold, y=other), question).right is False, frame
    for frame in ("{x} or {y}", "It may be {x}.", "Is it {x}?", "{x} cannot be excluded.", "It could be {x} or {y}."):
        assert grade_open(gold, frame.format(x=gold, y=other), question).right is None, frame


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("Fat", "adipose tissue", True),
        ("Adipose tissue", "The bright tissue is fat.", True),
        ("Both lungs", "The lesions are in the lungs bilaterally.", True),
        ("Both lungs", "In the left lung.", False),
        ("granuloma", "The slide shows granulomas.", True),
        ("Brain tumor", "The image shows a normal brain.", False),
        ("gastrointestinal", "The respiratory system.", False),
        ("肺炎", "没有气胸，诊断为肺炎。", True),
        ("肺炎", "不是肺炎。", False),
    ],
)
def test_names_of_one_thing_are_equal_and_of_another_are_not(gold: str, answer: str, right: bool) -> None:
    assert grade_open(gold, answer, "What is it?").right is right
