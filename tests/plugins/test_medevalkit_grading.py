"""Both scorings return, case by case and run by run, what MedEvalKit returned and what it should have."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_plugins.medevalkit import kit_grading, kit_text, mmmu, overlap, rubric
from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed
from infimed_plugins.medevalkit.answers.open_answers import grade_open
from infimed_plugins.medevalkit.answers.polar import grade_polar
from infimed_plugins.medevalkit.grading import best, golds
from infimed_plugins.medevalkit.measures import open_measures
from infimed_plugins.medevalkit.rescore import rescore

FIXTURES = Path(__file__).parents[1] / "fixtures" / "medevalkit"
CASES = [
    case
    for case in map(json.loads, (FIXTURES / "cases.jsonl").read_text(encoding="utf-8").splitlines())
    if case["function"] != "LLM-judge verdict parse"  # judges of a run answer by a schema; the kit's tag is not read
]
RUNS = sorted(path.name for path in (FIXTURES / "kit_runs").iterdir())

POLICY = {
    ("judge_judgement", "True"): "true is a synonym of yes only by convention: unscored, and counted",
    ("judge_close_end_vqa", "T1 weighted"): "more words than the gold: near, but for a judge to decide",
    ("judge_close_end_vqa", "MR"): "an abbreviation of the gold: near, but for a judge to decide",
    (
        "MMMU.parse_multi_choice_response",
        "I am not able to answer this question sorry",
    ): "a refusal gets no letter",
    ("MMMU.parse_multi_choice_response", ""): "an empty answer gets no random letter",
    (
        "extract+judge_multi_choice (text MCQ task path)",
        "<answer>B</answer> or <answer>C</answer>",
    ): "two answers that disagree are none",
    ("bleu(n=2)", None): "unsmoothed BLEU as nltk computes it, under both scorings",
    ("bleu(n=1)", None): "unsmoothed BLEU as nltk computes it, under both scorings",
    ("rouge", None): "ROUGE as the rouge package computes it, under both scorings",
    ("HealthBench.calculate_score", None): "an example without positive points has no score",
}
"""Cases whose sensible result is open, and what we decided."""


def kit_result(case: dict[str, Any]) -> Any:
    given_, gold = case["input"], case["gold"]
    response = given_.get("response")
    try:
        match case["function"]:
            case "judge_multi_choice":
                return kit_grading.choice(given_["options"], gold, response)
            case "extract+judge_multi_choice (text MCQ task path)":
                return kit_grading.extracted_choice(given_["options"], gold, response)
            case "parse_response":
                return kit_text.parse_response(response)
            case "extract(text,'answer')":
                return kit_text.extract(response)
            case "judge_judgement":
                return kit_grading.judgement(gold, response)
            case "judge_close_end_vqa":
                return kit_grading.closed(gold, response)
            case "judge_open_end_vqa":
                return kit_grading.open_answer(gold, response)
            case "MMMU.parse_multi_choice_response":
                return mmmu.parse_choice(response, given_["index2ans"]) or "RANDOM " + "".join(given_["index2ans"])
            case "MMMU.parse_open_response+eval_open":
                return mmmu.open_right(gold, mmmu.parse_open(response))
            case "MMMU.val open path (raw string)":
                return mmmu.open_right(gold, list(response))
            case "calculate_f1":
                try:
                    precision, recall, f1 = kit_grading.token_sets(gold, given_["prediction"])
                except kit_text.KitError:
                    return 0
                return [f1, precision, recall]
            case "rouge":
                try:
                    one, two, longest = overlap.rouge(gold, given_["prediction"])
                except ValueError as error:
                    return f"EXC ValueError: {error}"
                return {"rouge-1": one, "rouge-2": two, "rouge-l": longest}
            case "HealthBench.calculate_score":
                return rubric.example_score(given_["points"], given_["met"])
            case "HealthBench.parse_json_to_dict":
                return rubric.parse_reply(given_["reply"])
            case name if name.startswith("bleu(n="):
                tokens = overlap.bleu_tokens
                return overlap.bleu(tokens(gold), tokens(given_["prediction"]))[int(name[7]) - 1]
    except kit_text.KitError as error:
        return f"EXC {error}"
    raise AssertionError(case["function"])


def close(ours: Any, theirs: Any) -> bool:
    """Equal, with floats to the six digits that the cases were written with."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return ours.keys() >= theirs.keys() and all(close(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(ours) == len(theirs) and all(close(a, b) for a, b in zip(ours, theirs, strict=True))
    if isinstance(theirs, float) and isinstance(ours, (int, float)):
        return math.isclose(ours, theirs, abs_tol=1e-6)
    return bool(ours == theirs)


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c['function'][:24]}" for i, c in enumerate(CASES)])
def test_kit_returns_what_the_kit_returns(case: dict[str, Any]) -> None:
    assert close(kit_result(case), case["kit_result"])
    for letter in case.get("kit_accepts", ()):
        assert kit_result(case | {"gold": letter}) is True


def strict_result(case: dict[str, Any]) -> Any:
    """What strict returns: right, wrong or ``None``; measures for open answers; the letter for MMMU's parser."""
    given_, gold = case["input"], case["gold"]
    response = given_.get("response")
    match case["function"]:
        case "judge_multi_choice" | "extract+judge_multi_choice (text MCQ task path)":
            letters = read_choice(response, given_["options"], multiple=len(gold) > 1).letters
            return letters == "".join(sorted(gold)) if letters else None
        case "MMMU.parse_multi_choice_response":
            return read_choice(response, list(given_["index2ans"].values())).letters or None
        case "judge_judgement":
            return grade_polar(gold, response).right
        case "judge_close_end_vqa":
            return grade_closed(gold, response).right
        case "judge_open_end_vqa":
            return open_measures(gold, response)
        case "MMMU.parse_open_response+eval_open" | "MMMU.val open path (raw string)":
            return best([grade_open(one, response) for one in golds(gold)]).right
        case "calculate_f1":
            measures = open_measures(gold, given_["prediction"])
            return [measures["precision"], measures["recall"], measures["f1"]]
        case "parse_response":
            return kit_text.parse_response(response).strip()
        case _:  # where the kit's own function is the right one
            return kit_result(case)


GRADED = [(i, case) for i, case in enumerate(CASES)]


@pytest.mark.parametrize("case", [c for _, c in GRADED], ids=[f"{i}-{c['function'][:24]}" for i, c in GRADED])
def test_strict_returns_what_is_sensible(case: dict[str, Any]) -> None:
    ours, sensible = strict_result(case), case["sensible_result"]
    if sensible is None:
        key = (case["function"], case["input"].get("response"))
        assert POLICY.get(key), "a case without a sensible result needs a policy"
        if "response" in case["input"]:
            assert ours is None, "undecided is unscored"
    elif sensible is False:
        assert ours in (False, None), "not right: wrong, or unread and counted"
    else:
        assert close(ours, sensible.strip() if isinstance(sensible, str) else sensible)


def equal_metrics(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if isinstance(value, dict):
            equal_metrics(ours[key], value)
        else:
            assert ours[key] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("task", RUNS)
def test_rescoring_a_run_of_the_kit_gives_its_metrics(task: str) -> None:
    folder = FIXTURES / "kit_runs" / task
    result = rescore(folder, task, samples=True, explain=True)
    equal_metrics(result["kit"]["metrics"], json.loads((folder / "metrics.json").read_text()))
    rows = json.loads((folder / "results.json").read_text())
    assert [sample["value"] for sample in result["kit"]["samples"]] == [float(row["correct"]) for row in rows]
    strict = json.loads((folder / "strict.json").read_text())
    for sample, expected in zip(result["strict"]["samples"], strict, strict=True):
        if expected != "open":
            assert sample["value"] == (None if expected is None else float(expected))
            assert (sample["value"] is None) == bool(sample["reason"])
    differing = {row["index"] for row in result["disagreements"]}
    pairs = zip(result["kit"]["samples"], result["strict"]["samples"], strict=True)
    assert differing == {i for i, (a, b) in enumerate(pairs) if a["value"] != b["value"]}


def test_rescoring_imports_no_torch() -> None:
    code = (
        "import sys; from infimed_plugins.medevalkit.rescore import rescore;"
        f"rescore({str(FIXTURES / 'kit_runs' / 'SLAKE')!r}, 'SLAKE');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'datasets', 'nltk')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


OPTIONS = ["Right upper lobe", "Left upper lobe", "Right lower lobe", "Pleural effusion"]
FORMS = [
    "{x}", "{x}.", "({x})", "[{x}]", "{x})", "**{x}**", "**{x}**.", "{x}. {t}", "{x}: {t}", "({x}) {t}", "**{x}. {t}**",
    "{t}", "{t}.", "The answer is {x}", "The answer is {x}.", "The answer is: {x}", "The answer is ({x}).",
    "The answer is **{x}**", "Answer: {x}", "Answer: **{x}**",
    "**Answer:** {x}", "**Answer: {x}**", "Final answer: {x}",
    "The correct option is {x}.", "The answer is option {x}.", "Option {x}", "Option: {x}", "\\boxed{{{x}}}",
    "$\\boxed{{\\text{{{x}}}}}$", "\\boxed{{{x}", "\\boxed{{{x}. {t}}}", "<answer>{x}</answer>", "<answer>{x}",
    "<think>Could it be A or B?</think>{x}", "<think>hm</think>\n<answer>{x}. {t}</answer>",
    "{x}\nBecause of the opacity.",
    "{x}\n\nThe image shows it.", "There is an opacity. Therefore, {x} is correct.", "I would choose {x}.",
    "So the best choice is ({x}) {t}.", "答案：{x}", "答案是{x}。", "正确答案为{x}", "选{x}",
    "故选{x}。", "{x}。", "【答案】{x}",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("style", ["{x}. {t}", "{x}.{t}", "{t}", " {x}: {t} "])
def test_a_right_letter_is_read_in_every_common_form(form: str, style: str) -> None:
    options = [style.format(x="ABCD"[i], t=text) for i, text in enumerate(OPTIONS)]
    for index, text in enumerate(OPTIONS):
        letter = "ABCD"[index]
        assert read_choice(form.format(x=letter, t=text), options).letters == letter
        full_width = chr(ord(letter) + 0xFEE0)
        assert read_choice(form.format(x=full_width, t=text), options).letters == letter


@pytest.mark.parametrize(
    "response",
    [
        None, "", "   ", "?", "42", "None", "I'm sorry, but I can't help with that.", "无法判断", "It could be A or B.",
        "The answer is A or C.", "\\boxed{A} or \\boxed{B}", "A. Left upper lobe", "<think>The left upper lobe, so B",
        "Both the right upper lobe and the left upper lobe", "It is not the left upper lobe.", "The answer is E",
        "The answer is a mass.", "I think so.", "A chest radiograph.",
        "A. Right upper lobe: no\nB. Left upper lobe: no",
        "AB", "The answer is not A.", "Option B is wrong.", "E. coli", "The answer is I do not know",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_never_a_guess(response: str | None) -> None:
    choice = read_choice(response, OPTIONS)
    assert choice.letters == "" and choice.reason


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B. Warfarin is wrong here. I would pick C", "C"),
        ("Not A. The answer is B, not C.", "B"),
        ("E. coli is the most likely cause, so the answer is B.", "B"),
        ("If A were right there would be fever. So the answer is C.", "C"),
        ("A fracture line is seen; the answer is D because A is normal.", "D"),
        ("First I thought the answer is A. On second look, the answer is B.", "B"),
    ],
)
def test_the_conclusion_counts(response: str, letter: str) -> None:
    assert read_choice(response, ["Aspirin", "Warfarin", "Heparin", "Clopidogrel"]).letters == letter


@pytest.mark.parametrize(
    "response",
    ["BD", "DB", "B,D", "B, D", "B、D", "B和D", "B and D", "答案：BD", "答案是B、D。", "The answers are B and D."],
)
def test_several_letters_are_a_set_where_the_question_allows_them(response: str) -> None:
    assert read_choice(response, OPTIONS, multiple=True).letters == "BD"
    assert read_choice(response, OPTIONS, multiple=False).reason == "several_answers"


@given(st.text(max_size=80), st.integers(2, 10))
@settings(max_examples=300)
def test_any_text_is_read_as_letters_of_options_or_not_at_all(text: str, num_options: int) -> None:
    options = [f"option text {index}" for index in range(num_options)]
    choice = read_choice(text, options)
    assert bool(choice.letters) != bool(choice.reason)
    assert set(choice.letters) <= set("ABCDEFGHIJ"[:num_options])
    for function in (grade_polar, grade_closed, grade_open):
        verdict = function("yes", text)
        assert (verdict.right is None) == bool(verdict.reason)


@given(st.lists(st.text("abc .", max_size=12), min_size=1, max_size=5), st.text("abc .", max_size=30))
def test_the_nearest_option_is_difflibs(options: list[str], text: str) -> None:
    ratios = [SequenceMatcher(None, option, text).ratio() for option in options]
    expected = ratios.index(max(ratios)) if max(ratios) > 0 else 0
    assert kit_grading.most_similar(tuple(options), text) == expected


words = st.lists(st.sampled_from(["left", "lung", "no", "a", "."]), min_size=1, max_size=9)


@given(words, words)
@settings(deadline=None)  # nltk is imported on the first example
def test_bleu_equals_nltk(reference: list[str], hypothesis: list[str]) -> None:
    bleu_score = pytest.importorskip("nltk.translate.bleu_score")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [bleu_score.sentence_bleu([reference], hypothesis, [1 / n] * n) for n in (1, 2, 3, 4)]
    assert overlap.bleu(reference, hypothesis) == pytest.approx(expected, rel=1e-12)


@given(words, words)
def test_rouge_holds_its_bounds(reference: list[str], hypothesis: list[str]) -> None:
    try:
        scores = overlap.rouge(" ".join(reference), " ".join(hypothesis))
    except ValueError:
        return
    assert all(0.0 <= score < 1.0 for score in scores)
    if sorted(reference) == sorted(hypothesis):
        assert scores[0] == pytest.approx(1.0, abs=1e-7)
    if reference == hypothesis:
        assert scores[2] == pytest.approx(1.0, abs=1e-7)
