"""What other tools publish is graded with its own questions, and nobody's accepted answer is taken for a model's."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infimed_core import DataError, Fault, Request, Sample, Turn
from infimed_core.records import Run, open_run
from infimed_plugins.predictions.answered import Answered, accepted_answers
from infimed_plugins.predictions.asked import options_of, right_answer
from infimed_plugins.predictions.commands import grade
from infimed_plugins.predictions.layouts import guessed_layout, holds_answers, read_predictions
from infimed_plugins.predictions.matching import match

sys.path.insert(0, str(Path(__file__).parent / "reporting"))

from browser import CHROMIUM, WHY_NOT, open_browser

STEM = "Which of the following statements is true?"
ROWS = [
    (70, STEM, ["The liver is lateral.", "The spleen is lateral.", "The heart is lateral."], "B"),
    (71, STEM, ["A kidney has lobes.", "A lung has lobes.", "A femur has lobes."], "B"),
    (72, "Which plane is shown?", ["axial", "coronal", "sagittal", "oblique"], "C"),
    (73, "Which organ is the largest?", ["liver", "spleen"], "A"),
]
SAID = {
    "good": ["The answer is (B).", "B", "C", "The answer is (A)"],  # 4 of 4
    "half": ["B", "Both A and B", "The answer is (A).", "liver"],  # 2 of 4, one names several
    "poor": ["A", "C", "B", "The answer is (B)"],  # none
}


def published(folder: Path, name: str, golds: str = "BBCA") -> Path:
    """As MMLU-Pro publishes: options as a list, the accepted answer, what its own tool read, and what was said."""
    rows = [
        {
            "question_id": number,
            "question": asked,
            "options": options,
            "answer": gold,
            "pred": gold,
            "model_outputs": text,
        }
        for (number, asked, options, _), gold, text in zip(ROWS, golds, SAID[name], strict=True)
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(rows))
    return path


def request(identity: str, text: str) -> Request:
    return Request(sample_id=identity, turns=(Turn(role="user", content=(text,)),))


def read(path: Path, layout: str | None = None) -> list[str | None]:
    return [one.text for one in read_predictions(path, layout or guessed_layout(path), None, None)]


def questions(path: Path) -> list[tuple[str, tuple[str, ...], str]]:
    rows = list(Answered(path=str(path)).read(""))
    assert all(isinstance(row, Sample) for row in rows), rows
    return [(row.id, row.options, row.references[0]) for row in rows if isinstance(row, Sample)]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three models' published answers by the command, without a file of questions."""
    folder = tmp_path_factory.mktemp("published")
    files = [str(published(folder, name)) for name in SAID]
    grade(files, directory=str(folder / "runs"))
    return open_run(folder / "runs" / "grade")


def test_three_published_models_get_the_values_that_a_person_counts(graded: Run) -> None:
    rows = [row for row in graded.record.results if not row.group]
    values = {row.model: row.metrics["accuracy"].value for row in rows}
    assert {name: values[name] for name in SAID} == {"good": 1.0, "half": 0.5, "poor": 0.0}
    steps = [step for step in graded.record.steps if step.kind == "evaluate" and step.subject["model"] in SAID]
    assert [step.details["asking"]["matched"] for step in steps] == [4, 4, 4]  # type: ignore[index, call-overload]


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_the_page_says_that_answers_came_from_files_and_fits_every_screen(graded: Run, tmp_path: Path) -> None:
    with open_browser(tmp_path / "browser", seconds=200) as page:
        for width in (1400, 360):
            page.resize(width, 900)
            page.open(graded.directory / "report.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            picture = tmp_path / f"{width}.png"
            page.screenshot(picture)
            assert picture.stat().st_size > 10_000 and not page.problems
        text = page.evaluate("document.body.innerText")
    assert "half on questions: 3 of 4 answers could be read (75.0%); 1 name several answers." in text
    assert "Its accuracy is 0.500 if all of these are wrong and 0.750 if all are right." in text
    assert "good: 4 answers of good.json, placed by id" in text and "not known here" in text


def test_the_accepted_answer_is_never_graded_as_what_a_model_said(tmp_path: Path) -> None:
    assert read(published(tmp_path, "poor")) == SAID["poor"]
    asked = {"id": 1, "question": STEM, "options": ["x", "y"], "answer": "B"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(asked) + "\n")
    with pytest.raises(DataError, match=r"no field for the answer's text .*; name it with --text-field"):
        read(tmp_path / "questions.jsonl", "jsonl")
    (tmp_path / "said.jsonl").write_text(json.dumps({"question_id": 1, "answer": "yes"}) + "\n")
    assert read(tmp_path / "said.jsonl") == ["yes"], "beside nothing else it is what was said"


def test_questions_of_one_wording_are_told_apart_by_their_options(tmp_path: Path) -> None:
    lettered = [
        "\n".join((asked, *(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False))))
        for _, asked, options, _ in ROWS
    ]
    requests = [request(f"mine-{number}", text) for number, text in enumerate(reversed(lettered))]
    found = match(requests, read_predictions(published(tmp_path, "good"), "jsonl", None, None))
    assert {name: one.id for name, one in found.answers.items()} == {
        "mine-0": "73", "mine-1": "72", "mine-2": "71", "mine-3": "70",
    }  # fmt: skip


def test_an_id_under_which_another_question_was_asked_is_no_match(tmp_path: Path) -> None:
    rows = [{"id": "0", "question": ROWS[3][1], "text": "A"}, {"id": "1", "question": ROWS[2][1], "text": "C"}]
    path = tmp_path / "other.json"
    path.write_text(json.dumps(rows))
    requests = [request("0", ROWS[2][1]), request("1", ROWS[3][1])]  # in the other order
    found = match(requests, read_predictions(path, "jsonl", None, None))
    assert {name: one.text for name, one in found.answers.items()} == {"0": "C", "1": "A"}


def test_results_of_medevalkit_are_read_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"question": STEM, "choices": ["A. fluid", "B. air"], "answer": "A", "response": "B. air", "correct": False},
        {"question": STEM, "choices": ["A. fluid", "B. air"], "answer": "B", "response": "B", "correct": True},
        {"question": "Is there fluid?", "answer": "Yes", "response": "no", "correct": False},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    assert guessed_layout(path) == "medevalkit" and read(path) == ["B. air", "B", "no"]
    assert questions(path) == [
        ("results-0", ("fluid", "air"), "A"), ("results-1", ("fluid", "air"), "B"), ("results-2", (), "Yes"),
    ]  # fmt: skip
    assert [one.id for one in read_predictions(path, "medevalkit", None, None)] == ["0", "1", "2"]


def test_logs_tables_and_lists_in_a_map_hold_their_questions(tmp_path: Path) -> None:
    doc = {"question": STEM, "choices": ["x-ray", "CT"], "answer": 1}
    said = [[["-3.0", "False"]], [["-0.5", "True"]]]
    logged = {"doc_id": 5, "doc": doc, "target": "1", "arguments": {}, "resps": said}
    (tmp_path / "samples.jsonl").write_text(2 * (json.dumps(logged) + "\n"))  # once for each filter
    assert questions(tmp_path / "samples.jsonl") == [("5", ("x-ray", "CT"), "B. CT")]
    with (tmp_path / "table.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["sample_id", "question", "answer", "A", "B", "C", "outputs", "preds"])
        table.writerow(["s1", STEM, "B", "air", "fluid", "", "It is A.", "A"])
    assert holds_answers(tmp_path / "table.csv") and read(tmp_path / "table.csv") == ["It is A."]
    assert questions(tmp_path / "table.csv") == [("s1", ("air", "fluid"), "B")]
    body: dict[str, Any] = {
        "accuracy": 0.5,
        "results": [{"id": 1, "question": STEM, "answer": "air", "response": "gas"}],
    }
    (tmp_path / "map.json").write_text(json.dumps(body))
    assert read(tmp_path / "map.json", "jsonl") == ["gas"] and questions(tmp_path / "map.json")[0][2] == "air"
    (tmp_path / "figures.json").write_text(json.dumps({"accuracy": [0.5], "of": {"n": 3}}))
    with pytest.raises(DataError, match="neither a map from ids to texts"):
        read(tmp_path / "figures.json", "jsonl")


def test_what_does_not_say_what_is_right_is_a_fault_and_no_guess(tmp_path: Path) -> None:
    assert options_of({"options": "['a', 'b']"}) == options_of({"A": "a", "B": "b", "C": None}) == ("a", "b")
    assert options_of({"options": "__import__('os')"}) == options_of({"A": "alone"}) == ()
    assert right_answer(["B"], ("a", "b"), False) == "B" and right_answer(1, ("a", "b"), False) == "B. b"
    assert right_answer("3", ("2", "3", "4"), False) == "3", "the text of an option before a place"
    for gold, options in (("B", ()), (2, ("a", "b")), (2, ("2", "3", "4")), ("", ("a",)), ({"x": 1}, ())):
        with pytest.raises(DataError):
            right_answer(gold, options, False)
    rows = [{"id": 1, "question": STEM, "answer": "B", "response": "B"}, {"id": 2, "answer": "x", "response": "x"}]
    path = tmp_path / "bare.json"
    path.write_text(json.dumps(rows))
    found = list(Answered(path=str(path)).read(""))
    assert [row.code for row in found if isinstance(row, Fault)] == ["no_options", "no_question"]


def test_files_that_differ_in_what_is_right_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from infimed_plugins.predictions.commands import _tell_other_golds

    first, second = published(tmp_path, "good"), published(tmp_path, "half", "BBAA")
    assert len(accepted_answers(str(first))) == 4
    _tell_other_golds(str(first), [str(first), str(second)])
    told = capsys.readouterr().err
    assert "in 1 of 4 questions" in told and "'Which plane is shown?': A, not C" in told


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_rows_without_ids_are_known_by_their_place_in_whatever_file_they_stand(tmp_path: Path, kind: str) -> None:
    """Most questions of one wording: a place that is off by one would give each the answer of another."""
    asked = ["What modality is this?"] * 3 + ["Which side is it on?"] + ["What modality is this?"] * 2
    rows = [{"question": one, "answer": gold, "response": gold} for one, gold in zip(asked, "yxzzyx", strict=True)]
    path = tmp_path / f"results.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        lines = "\n\n".join(map(json.dumps, rows))
        path.write_text(json.dumps(rows) if kind == "json" else f"\n{lines}\n")
    assert guessed_layout(path) == "medevalkit"
    said = read_predictions(path, "medevalkit", None, None)
    questions = [one for one in Answered(path=str(path), ids="place").read("") if isinstance(one, Sample)]
    matched = match([request(one.id, one.turns[0].text) for one in questions], said)
    assert {one.id: one.references[0] for one in questions} == {name: one.text for name, one in matched.answers.items()}
