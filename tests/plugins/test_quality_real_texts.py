"""The text rules on what people write: other languages, short and rare answers, questions that are answered with no."""

from __future__ import annotations

import pytest

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality.alignment import alignment
from infimed_plugins.quality.completeness import completeness
from infimed_plugins.quality.modalities import normalise_modality
from infimed_plugins.quality.profile import load_profile
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.texts import texts_of
from infimed_plugins.quality.validity import medical_validity

PROFILE = load_profile("default")


def sample(answer: str, question: str = "", **tags: str) -> Sample:
    content = (0, question) if question else (0,)
    turns = (Turn(role="user", content=content), Turn(role="assistant", content=(answer,)))
    return Sample(id="s", turns=turns, media=(Media(data=b"x"),), tags=tags)


@pytest.mark.parametrize(
    "text",
    [
        "RX torace: addensamento al lobo inferiore destro.",
        "Radiografia de tórax: consolidação no lobo inferior direito.",
        "Akciğer grafisinde sağ alt lobda konsolidasyon izlenmektedir.",
        "Zdjęcie klatki piersiowej: zagęszczenie w prawym płacie dolnym.",
        "Röntgen-Thorax: Infiltrat im rechten Unterlappen.",
        "Na snímku hrudníku je patrné zastínění v pravém dolním laloku.",
    ],
)
def test_a_language_that_the_rules_do_not_know_has_no_value_and_says_so(text):
    own = texts_of(sample(text))
    assert completeness(own, PROFILE)[:2] == (None, [Reason.LANGUAGE_UNKNOWN])
    assert medical_validity(sample(text), own)[:2] == (None, [Reason.LANGUAGE_UNKNOWN])


@pytest.mark.parametrize(
    "text",
    [
        "Sjögren syndrome with Ménière disease and a café-au-lait spot.",
        "PatientÃ¢â‚¬â„¢s chest x-ray shows consolidaciÃ³n",
        "Guillain-Barré syndrome after influenza.",
        "Situs inversus totalis",
    ],
)
def test_english_with_foreign_names_or_a_broken_encoding_is_english(text):
    assert completeness(texts_of(sample(text)), PROFILE)[0] is not None


def test_one_rare_word_costs_little():
    assert (completeness(texts_of(sample("kaposi sarcoma", "What is present?")), PROFILE)[0] or 0) >= 0.85


@pytest.mark.parametrize("text", ["[insert findings here]", "To be added.", "Caption here", "XXXX"])
def test_what_stands_in_for_a_caption_is_told(text):
    assert Reason.TEXT_PLACEHOLDER in completeness(texts_of(sample(text)), PROFILE)[1]


def test_a_text_of_business_is_not_medical_because_of_technology():
    text = "The stock market rose sharply as technology companies reported profit."
    assert Reason.NOT_MEDICAL in medical_validity(sample(text), texts_of(sample(text)))[1]


@pytest.mark.parametrize(
    ("question", "answer", "wrong"),
    [
        ("Is this an MRI?", "no", False),
        ("Is this a CT?", "No, it is a radiograph.", False),
        ("Was this image taken by ultrasound?", "No", False),
        ("Is this an MRI?", "Yes", True),
        ("Is this a chest X-ray?", "yes", False),
    ],
)
def test_a_question_that_asks_whether_claims_nothing_until_it_is_agreed_with(question, answer, wrong):
    one = sample(answer, question, modality="CR")
    assert (Reason.MODALITY_MISMATCH in alignment(one, texts_of(one), (), PROFILE)[1]) is wrong


def test_every_answer_agrees_with_its_own_question_alone():
    turns = [("Is there a lesion?", "Yes, there is one."), ("Is this an MRI?", "No, it is not.")]
    both = tuple(
        Turn(role=role, content=(text,))
        for pair in turns
        for role, text in zip(("user", "assistant"), pair, strict=True)
    )
    one = sample("", "", modality="CT").model_copy(update={"turns": both})
    assert alignment(one, texts_of(one), (), PROFILE)[0] is not None
    assert Reason.MODALITY_MISMATCH not in alignment(one, texts_of(one), (), PROFILE)[1]


def test_the_time_for_a_question_grows_with_its_length():
    one = sample("no", "Is this " + "a" * 60 + " normal, or is it not", modality="CR")
    alignment(one, texts_of(one), (), PROFILE)  # a word could once be cut in 2 ** 60 ways


@pytest.mark.parametrize(
    ("tag", "key"),
    [
        ("plain radiograph", "CR"), ("X-ray photograph", "CR"), ("RX", "CR"), ("Röntgen", "CR"), ("H&E", "histology"),
        ("WSI", "histology"), ("colour fundus photography", "fundus"), ("hologram", ""),
    ],
)  # fmt: skip
def test_a_longer_name_of_a_modality_is_the_one_that_it_holds(tag, key):
    assert normalise_modality(tag) == key
