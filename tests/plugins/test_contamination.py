"""the filter ``contamination``: a benchmark's pictures and questions are found in training data, templates are not."""

from __future__ import annotations

import io

import cv2
import numpy as np

from infimed_core import Media, Sample, Turn
from infimed_core.testing import check_component
from infimed_plugins.executors.local import Processes, Serial
from infimed_plugins.filters.contamination import Contamination
from infimed_plugins.quality.installed import media_loader

VIGNETTE = (
    "A 54-year-old man presents with three days of fever and productive cough. He smokes a pack a day and has "
    "type 2 diabetes. His temperature is 38.9 degrees and crackles are heard over the right lower lobe. A sputum "
    "stain shows gram-positive diplococci. Which of the following is the best next step in his treatment?"
)
TEMPLATE = "Look at the picture shown above and name the imaging plane in which it was taken by the scanner."


def media(seed: int, form: str = "PNG", change=None, **options) -> Media:
    from PIL import Image

    coarse = np.random.default_rng(seed).normal(128, 60, (12, 12)).astype(np.float32)
    grey = np.clip(cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey if change is None else change(grey)).convert("RGB").save(file, form, **options)
    return Media(data=file.getvalue())


def trained(identity: str, question: str, *images: Media, answer: str = "axial", **tags: str) -> Sample:
    asked = Turn(role="user", content=(*range(len(images)), question))
    return Sample(id=identity, turns=(asked, Turn(role="assistant", content=(answer,))), media=images, tags=tags)


def asked(identity: str, question: str, *images: Media, **tags: str) -> Sample:
    turn = Turn(role="user", content=(*range(len(images)), question))
    return Sample(id=identity, turns=(turn,), media=images, references=("axial",), tags=tags)


def check(samples, benchmarks, filter_=None, executor=None):
    return (filter_ or Contamination()).check(samples, benchmarks, media_loader(), executor or Serial())


def test_a_benchmark_picture_is_found_in_any_encoding_and_size():
    bench = {"vqa": [asked("q1", TEMPLATE, media(1)), asked("q2", TEMPLATE, media(2))]}
    samples = [
        trained("same", "Anything else?", media(1, "BMP")),
        trained("jpeg", "Anything?", media(1, "JPEG", quality=80)),
        trained("larger", "Anything?", media(2, change=lambda grey: cv2.resize(grey, (180, 180)))),
        trained("other", TEMPLATE, media(3)),
    ]
    filtered = check(samples, bench)
    assert filtered.rejected == {
        "same": ("benchmark_picture",),
        "jpeg": ("benchmark_near_picture",),
        "larger": ("benchmark_near_picture",),
    }
    row = filtered.details["by_benchmark"]["vqa"]
    assert row == {
        "num_questions": 2,
        "num_questions_met": 2,
        "reasons": {"benchmark_near_picture": 2, "benchmark_picture": 1},
    }
    assert {pair["question"] for pair in filtered.details["pairs"]} == {"q1", "q2"}


def test_the_same_question_about_another_picture_is_no_contamination():
    bench = {"vqa": [asked(f"q{n}", TEMPLATE, media(n)) for n in range(3)]}
    assert check([trained(f"t{n}", TEMPLATE, media(10 + n)) for n in range(3)], bench).rejected == {}


def test_a_long_question_is_found_inside_other_text_whatever_its_case_and_punctuation():
    bench = {"qa": [asked("q", VIGNETTE)]}
    samples = [
        trained("copied", VIGNETTE),
        trained("embedded", "Read the case.\n" + VIGNETTE.upper().replace(",", " ;") + "\nA. Amoxicillin B. Rest"),
        trained("half", VIGNETTE[: len(VIGNETTE) // 2]),
        trained("with a picture", VIGNETTE, media(4)),
        trained("another", "A 23-year-old woman presents with an itching rash on both arms since last week."),
    ]
    filtered = check(samples, bench)
    assert set(filtered.rejected) == {"copied", "embedded", "with a picture"}
    assert set(filtered.rejected.values()) == {("benchmark_text",)}


def test_short_text_questions_must_be_the_same():
    bench = {"qa": [asked("q", "What does ICD-10 code J18 stand for?")]}
    samples = [
        trained("same", "what does  ICD-10 code J18 stand for?"),
        trained("other code", "What does ICD-10 code J19 stand for?"),
        trained("about a picture", "What does ICD-10 code J18 stand for?", media(1)),
    ]
    assert check(samples, bench).rejected == {"same": ("benchmark_text",)}


def test_a_template_that_questions_share_counts_for_nothing():
    def question(name: str) -> str:
        return (
            "You are given the name of a disease and shall state to which chapter of the classification it belongs, "
            f"answering with the chapter's full title and nothing besides: {name}"
        )

    bench = {"qa": [asked(f"q{n}", question(f"disease{n}")) for n in range(6)]}
    samples = [trained("new", question("another one")), trained("old", question("disease3"))]
    assert check(samples, bench).rejected == {"old": ("benchmark_text",)}


def test_counts_by_benchmark_and_pairs_are_told_and_the_list_is_capped():
    bench = {"one": [asked("q", TEMPLATE, media(1))], "two": [asked("q", TEMPLATE, media(1)), asked("r", VIGNETTE)]}
    samples = [trained(f"t{n}", "Which plane?", media(1)) for n in range(5)] + [trained("v", VIGNETTE)]
    filtered = check(samples, bench, Contamination(max_pairs=3))
    assert len(filtered.rejected) == filtered.details["num_contaminated"] == 6
    assert len(filtered.details["pairs"]) == 3
    assert filtered.details["by_benchmark"]["one"]["reasons"] == {"benchmark_picture": 5}
    assert filtered.details["by_benchmark"]["two"]["reasons"] == {"benchmark_picture": 5, "benchmark_text": 1}


def test_reporting_only_rejects_nothing_and_tells_the_same():
    bench = {"vqa": [asked("q", TEMPLATE, media(1), study="7")]}
    samples = [trained("t", "Which?", media(1)), trained("u", "Which?", media(2), study="7")]
    removing, reporting = check(samples, bench), check(samples, bench, Contamination(remove=False))
    assert set(removing.rejected) == {"t"} and reporting.rejected == {}
    assert {**removing.details, "removed": False} == reporting.details
    assert reporting.details["num_samples_of_a_benchmark_study"] == 1


def test_without_benchmarks_nothing_is_opened_or_rejected():
    filtered = check([trained("t", "Which?", Media(uri="/nowhere.png"))], {})
    assert filtered.rejected == {} and filtered.details["num_questions"] == 0


def test_unreadable_pictures_are_counted_and_do_not_match_each_other():
    bench = {"vqa": [asked("q", TEMPLATE, Media(data=b"bad"))]}
    filtered = check([trained("t", "Which?", Media(data=b"bad too"))], bench)
    assert filtered.rejected == {} and filtered.details["num_unreadable_media"] == 2


def test_the_verdict_does_not_depend_on_the_executor():
    check_component(Contamination())
    bench = {"vqa": [asked(f"q{n}", TEMPLATE, media(n)) for n in range(5)]}
    samples = [trained(str(n), TEMPLATE, media(n)) for n in range(40)]
    assert check(samples, bench) == check(samples, bench, executor=Processes(num_processes=2))
