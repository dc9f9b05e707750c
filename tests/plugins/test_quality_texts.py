"""Text rules on the field's own ways of writing: answers without a full stop, rare terms, other languages, notes."""

from __future__ import annotations

import pytest

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality.alignment import alignment
from infimed_plugins.quality.completeness import completeness
from infimed_plugins.quality.profile import load_profile
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.texts import texts_of
from infimed_plugins.quality.validity import medical_validity

PROFILE = load_profile("default")
ASKED = "What does this chest X-ray show?"


def pair(question: str, answer: str, picture: bool = True, **tags: str) -> Sample:
    content = (0, question) if picture else (question,)
    turns = (Turn(role="user", content=content), Turn(role="assistant", content=(answer,)))
    return Sample(id="pair", turns=turns, media=(Media(data=b"x"),) if picture else (), tags=tags)


def flags(sample: Sample) -> set[str]:
    texts = texts_of(sample)
    reasons = [*completeness(texts, PROFILE)[1], *medical_validity(sample, texts)[1]]
    return {reason.value for reason in reasons}


def aligned(question: str, answer: str, **tags: str) -> tuple[float | None, list[Reason]]:
    sample = pair(question, answer, **tags)
    return alignment(sample, texts_of(sample), (), PROFILE)[:2]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is present?", "Kaposi sarcoma"),
        ("What does the image show?", "malignant thymoma with extension into the great vessels"),
        ("What is shown?", "cavum vergae"),
        ("Is there an air-fluid level?", "No"),
        ("Which organ is abnormal in this picture and on which side does it lie?", "heart, right side"),
        ("Which is true?", "(B)"),
        ("What does this show?", "situs inversus with dextrocardia, the stomach bubble on the right"),
        ("What is seen?", "psammoma bodies and germinal centers beside toxic epidermal necrolysis"),
        ("How was the course?", "The heart rate rose by 5 and the ejection fraction fell from 65% to 35%"),
        ("Who pays?", "Medicaid pays for nursing education and/or training of aides in rural clinics"),
        ("What does the serology mean?", "Hepatitis A is excluded and hepatitis B is likely"),
        ("Describe the effusions.", "There is no left, moderate right pleural effusion"),
        ("Findings?", "No left pleural effusion. Moderate right pleural effusion."),
    ],
)
@pytest.mark.parametrize("picture", [True, False])
def test_good_answers_of_the_field_get_no_reason(question, answer, picture):
    assert flags(pair(question, answer, picture)) == set()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The left lung shows a large opacity with", "text_truncated"),
        ("The left lung shows a large opacity (arrow", "text_truncated"),
        ("The left lung shows a of opacity and of in the lower lobe", "text_words_missing"),
        ("Two friends drink coffee in a restaurant beside the beach and watch the boats go by slowly.", "not_medical"),
    ],
)
def test_real_faults_are_still_told(answer, reason):
    assert reason in flags(pair("Please describe it.", answer, picture=False))


@pytest.mark.parametrize(
    "answer",
    [
        "胸部正位片显示右侧胸腔积液。",
        "胸部X線写真で右下肺野に浸潤影を認める。",
        "La radiografía de tórax muestra un derrame pleural en el hemitórax derecho.",
        "На рентгенограмме определяется правосторонний плевральный выпот.",
        "Die Aufnahme zeigt einen Erguss auf der rechten Seite und keine Stauung.",
    ],
)
def test_a_language_that_the_rules_do_not_know_is_null_with_that_reason(answer):
    sample = pair("", answer)
    texts = texts_of(sample)
    for value, reasons, _ in (completeness(texts, PROFILE), medical_validity(sample, texts)):
        assert value is None and reasons == [Reason.LANGUAGE_UNKNOWN]


@pytest.mark.parametrize(
    "answer",
    [
        "CT of the abdomen shows a liver lesion.",
        "MRI of the knee with a torn meniscus.",
        "Axial CT of the brain shows a subdural hematoma.",
        "Ultrasound of the gallbladder shows several stones.",
        "This is a mammogram with microcalcifications.",
        "Knee radiograph with narrowing of the medial compartment.",
    ],
)
@pytest.mark.parametrize("tags", [{}, {"modality": "radiography"}, {"modality": "CXR", "anatomy": "chest"}])
def test_the_answer_is_graded_whatever_the_question_says(answer, tags):
    value, _ = aligned(ASKED, answer, **tags)
    assert value is not None and value < 0.2


@pytest.mark.parametrize(
    "answer",
    [
        "There is a right pleural effusion. CT performed the next day confirmed an embolus.",
        "28M with abdominal pain and fever, lungs are clear.",
        "Weakness of the upper extremities. No consolidation.",
        "Bilateral infiltrates; CT was recommended.",
        "Compared with the prior CT, the nodule is unchanged.",
    ],
)
def test_another_study_or_complaint_in_passing_is_no_mismatch(answer):
    value, reasons = aligned(ASKED, answer, modality="radiography", anatomy="chest")
    assert value in (None, 1.0) and not reasons


@pytest.mark.parametrize("name", ["radiography", "XR", "CXR", "DR", "chest x-ray", "X-ray", "CR", "DX"])
def test_every_name_of_radiography_is_one_modality(name):
    from infimed_plugins.quality.modalities import modality_of

    assert modality_of(pair("", "", modality=name)) == "CR"
