"""What a rationale is refused for, what it is not, and how reflective patterns are made."""

import json
from pathlib import Path

import pytest

from infimed_core import Answer, Benchmark, Candidate, DataError, Generation, InfimedError, Sample, Turn, load_plugins
from infimed_core.testing import check_selector
from infimed_plugins.reasoning.checks import Limits, quality, refused
from infimed_plugins.reasoning.draws import Drawing, question_of
from infimed_plugins.reasoning.languages import written_in
from infimed_plugins.reasoning.leaks import leak
from infimed_plugins.reasoning.minimal import MinimalSample
from infimed_plugins.reasoning.rationales import Rationale, take_apart
from infimed_plugins.reasoning.reflection import Reflective, attempt, is_sparse, read_templates, reflect
from infimed_plugins.reasoning.rejection import INSTRUCTION, RejectionSampling
from infimed_plugins.solvers.chain_of_thought import ChainOfThought
from tests.plugins.rationale_texts import HELD_OUT_HONEST, HELD_OUT_LEAKS, HONEST, LEAKS

LIMITS = Limits(5, 60)


@pytest.mark.parametrize("text", [*LEAKS, *HELD_OUT_LEAKS])
def test_a_rationale_that_was_told_the_answer_is_found(text: str) -> None:
    assert leak(text)


@pytest.mark.parametrize("text", [*HONEST, *HELD_OUT_HONEST])
def test_a_rationale_that_argues_from_what_was_given_is_left_alone(text: str) -> None:
    assert leak(text) is None


def sample(question: str = "Which slice is higher in the head?", answer: str = "first", **more: object) -> Sample:
    turns = (Turn(role="user", content=(question,)), Turn(role="assistant", content=(answer,)))
    body = {"id": "s", "turns": turns, "references": (answer,), "tags": {"language": "en"}, **more}
    return Sample.model_validate(body)


GOOD = "The first slice shows the vertex. The second slice shows the eyes, which lie lower. So the first is higher."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{GOOD}\n<answer>first</answer>", None),
        (GOOD, "no_final_answer"),
        ("<answer>first</answer>", "too_short"),
        (f"{GOOD}<answer>first</answer> or <answer>second</answer>", "several_answers"),
        ("word " * 10 + ", ".join(map(str, range(80))) + "<answer>first</answer>", "too_long"),
        ("Die erste Schicht zeigt den Scheitel und die zweite ist tiefer.<answer>first</answer>", "other_language"),
        ("第一张图像显示头顶，第二张图像显示眼睛。<answer>first</answer>", "other_language"),
        ("It is higher up. " * 9 + "<answer>first</answer>", "repeats_itself"),
        ("Which slice is higher in the head?<answer>first</answer>", "copies_question"),
        (f"{GOOD} The reference answer agrees.<answer>first</answer>", "answer_leak"),
    ],
)
def test_every_check_refuses_its_own_kind(text: str, reason: str | None) -> None:
    answer = Answer(sample_id="s", text=text)
    assert refused(sample(), answer, take_apart(answer), LIMITS) == reason


def test_an_answer_that_was_cut_is_refused() -> None:
    answer = Answer(sample_id="s", text=f"{GOOD}<answer>first</answer>", finish_reason="length")
    assert refused(sample(), answer, take_apart(answer), LIMITS) == "cut"


def test_a_thought_that_the_server_returns_apart_is_the_reasoning() -> None:
    thought = ({"role": "reasoning", "content": GOOD},)
    assert take_apart(Answer(sample_id="s", text="<answer>first</answer>", transcript=thought)).reasoning == GOOD
    whole = take_apart(Answer(sample_id="s", text=f"<think>{GOOD}</think>\n<answer>first</answer>"))
    assert whole == Rationale(GOOD, "first", 1)


@pytest.mark.parametrize(
    ("language", "text", "fits"),
    [
        ("en", "There is a large effusion in the right pleural space with a shift of the mediastinum.", True),
        ("en", "Es gibt einen großen Erguss im rechten Pleuraraum mit einer Verlagerung des Mediastinums.", False),
        ("en", "Il y a un épanchement dans la plèvre droite et le médiastin est déplacé vers la gauche.", False),
        ("de", "Es gibt einen großen Erguss im rechten Pleuraraum mit einer Verlagerung des Mediastinums.", True),
        ("zh", "右侧胸腔可见大量积液，纵隔向左移位，CT显示肺不张。", True),
        ("zh", "There is a large effusion in the right pleural space.", False),
        ("zh-CN", "右肺结节直径约为 8 mm，考虑良性。", True),
        ("en", "T2 FLAIR", True),
        ("en", "右侧胸腔可见大量积液", False),
        ("ru", "В правой плевральной полости определяется выпот.", True),
        ("sw", "Kuna maji mengi katika pafu la kulia.", True),
    ],
)
def test_the_language_of_a_text_is_told_by_script_and_common_words(language: str, text: str, fits: bool) -> None:
    assert written_in(text, language) is fits


def test_a_rationale_that_argues_is_better_than_one_that_asserts() -> None:
    argued, _ = quality(sample(), Rationale(GOOD, "first", 1), 1.0, LIMITS)
    asserted, _ = quality(sample(), Rationale("I think that one is it.", "first", 1), 1.0, LIMITS)
    less_agreed, _ = quality(sample(), Rationale(GOOD, "first", 1), 0.5, LIMITS)
    assert 0 < asserted < argued <= 1 and less_agreed < argued


def test_a_reflective_pattern_holds_the_attempt_the_evidence_and_the_correction() -> None:
    right = take_apart(Answer(sample_id="s", text=f"{GOOD}<answer>first</answer>"))
    wrong = [Rationale("The first slice shows the vertex. The second looks larger.", "second", 1)]
    tried = attempt(sample(), wrong)
    assert tried is not None
    found = reflect(sample(), right, tried, read_templates(None))
    assert found is not None
    text, template = found
    evidence = "The second slice shows the eyes, which lie lower."
    assert text.index("second") < text.index(evidence) and text.index(evidence) < text.rindex(GOOD)
    assert "{" not in text and "{wrong_reasoning}" in template


def test_without_a_wrong_draw_a_wrong_option_is_the_attempt_and_never_a_right_one() -> None:
    letters = sample(answer="B", references=("B", "axial"), options=("sagittal", "axial"))
    assert attempt(letters, []) == Rationale("", "sagittal", 1)
    assert attempt(sample(options=("first",)), []) is None
    assert attempt(sample(), []) is None


def test_braces_in_what_a_model_said_stay_as_they_are() -> None:
    right = Rationale("The set {reasoning} has one item. So it is {x}.", "first", 1)
    found = reflect(sample(), right, Rationale("", "second", 1), read_templates(None))
    assert found is not None and "The set {reasoning} has one item. So it is {x}." in found[0]


def test_only_what_says_little_gets_the_pattern() -> None:
    settings = Reflective(share=1.0, sparse_words=12)
    assert is_sparse(sample(), settings)
    assert not is_sparse(sample(question="word " * 30), settings)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[one]", "must map a language"),
        ("en: []", "must map a language"),
        ("en: ['It could be {wrong_answer}. {reasoning}']", "lacks {evidence}"),
        ("en: ['{wrong_answer} {evidence} {reasoning} {image}']", "has {image}"),
    ],
)
def test_patterns_that_lack_a_part_are_told_before_a_run(tmp_path: Path, body: str, message: str) -> None:
    file = tmp_path / "patterns.yaml"
    file.write_text(body)
    with pytest.raises(DataError, match=message.replace("{", r"\{")):
        read_templates(str(file))
    component = RejectionSampling.model_validate(
        {"grader": {"use": "demo-two-step"}, "reflective": {"templates": str(file)}}
    )
    assert message in component.problems({})["reflective.templates"]


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher": "t", "keep_at": 2, "escalate_at": 3},
        {"teacher": "t", "keep_at": 9},
        {"teacher": "t", "temperature": 0.0},
        {"least_words": 9, "most_words": 3},
        {"answer_form": "{answer}"},
        {"hint": "You know it."},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        RejectionSampling.model_validate({"grader": {"use": "demo-two-step"}, **settings})


def test_a_model_is_asked_as_it_was_taught() -> None:
    assert ChainOfThought().instruction == INSTRUCTION


def candidates(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"c{place}",
            "tags": {"modality": ("CT", "MR", "US")[min(place % 10, 2)], "task_type": "vqa", "study": f"s{place // 4}"},
            "score": {"value": (place * 37 % 100) / 100, "parts": {"right": (place % 9) / 8}},
        }
        for place in range(count)
    ]


def test_a_small_budget_is_spread_over_kinds_and_takes_the_best_of_each() -> None:
    rows = [Candidate.model_validate(row) for row in candidates(200)]
    selector = MinimalSample(budget=30, difficulty="right", minimum=0.1)
    selection = selector.select(rows)
    assert len(selection.kept) == 30 and len(selection.rejected) == 170
    kept = [row for row in rows if row.id in selection.kept]
    counts = [sum(row.tags["modality"] == name for row in kept) for name in ("CT", "MR", "US")]
    assert counts == [10, 10, 10]  # although eight of ten samples are US
    assert all(0.25 <= (row.score.parts["right"] or 0) <= 0.75 for row in kept if row.tags["modality"] == "US")
    assert len({row.tags["study"] for row in kept if row.tags["modality"] == "US"}) == 10
    assert {row.id for row in rows if (row.score.value or 0) < 0.1} <= {
        name for name, why in selection.rejected.items() if why == ("below_minimum",)
    }


def test_the_choice_does_not_depend_on_the_order_of_the_samples() -> None:
    rows = [Candidate.model_validate(row) for row in candidates(100)]
    selector = MinimalSample(share=0.2)
    assert set(selector.select(rows).kept) == set(selector.select(rows[::-1]).kept)
    check_selector(selector, rows)


def test_either_a_budget_or_a_share_is_set() -> None:
    for settings in ({}, {"budget": 3, "share": 0.5}):
        with pytest.raises(ValueError, match="either budget or share"):
            MinimalSample.model_validate(settings)


def test_templates_of_every_language_are_sound() -> None:
    assert {"en", "zh"} <= set(read_templates(None))
    json.dumps(dict(read_templates(None)))
    assert isinstance(DataError("a", "b"), InfimedError) and load_plugins().names("synthesizer")


@pytest.mark.parametrize(
    ("accepted", "options", "answer", "value"),
    [
        (("B", "coronal"), ("axial", "coronal"), "B", 1.0),
        (("B", "coronal"), ("axial", "coronal"), "(B) coronal", 1.0),
        (("B", "coronal"), ("axial", "coronal"), "axial", 0.0),
        (("B", "coronal"), ("axial", "coronal"), "I cannot tell.", None),
        (("yes",), (), "No.", 0.0),
        (("left lung",), (), "the left lung", 1.0),
    ],
)
def test_training_samples_are_graded_by_the_strict_rules(
    accepted: tuple[str, ...], options: tuple[str, ...], answer: str, value: float | None
) -> None:
    reader = {"use": "jsonl", "with": {"path": "unused.jsonl"}}
    grader = load_plugins().make("benchmark", "questions", {"reader": reader})
    assert isinstance(grader, Benchmark)
    drawing = Drawing(lambda model, requests: [], grader, Generation())
    question = question_of(sample(answer=accepted[0], references=accepted, options=options))
    assert question is not None and drawing.is_checkable(question)
    assert drawing.grade(question, Answer(sample_id="s", text=answer)).value == value


def test_a_sample_whose_own_answer_the_grader_refuses_is_not_checkable() -> None:
    reader = {"use": "jsonl", "with": {"path": "unused.jsonl"}}
    grader = load_plugins().make("benchmark", "questions", {"reader": reader})
    assert isinstance(grader, Benchmark)
    drawing = Drawing(lambda model, requests: [], grader, Generation())
    outside = question_of(sample(references=("sagittal",), options=("axial", "coronal")))
    assert outside is not None and not drawing.is_checkable(outside)
    assert question_of(sample(answer="word " * 30, references=())) is None
