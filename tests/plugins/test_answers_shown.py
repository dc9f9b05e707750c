"""How an answer was read is shown: where the deciding statement stands, and how the answer ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infimed_core import MediaLoader
from infimed_core.records import open_run
from infimed_core.testing import run
from infimed_plugins.medevalkit.benchmarks import table
from infimed_plugins.medevalkit.command import lines
from infimed_plugins.medevalkit.grades import span_of
from infimed_plugins.medevalkit.rescore import rescore
from infimed_plugins.reporting.page.answers import read_tables
from infimed_plugins.reporting.page.thumbnails import Thumbnails

DATA = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"
ANSWER = "\U0001f914 C is unsafe in pregnancy.\n\n**Answer: B** (see above)"


@pytest.mark.parametrize(
    ("statement", "response", "shown"),
    [
        ("Answer: B", ANSWER, "Answer: B"),
        ("B", "\\boxed{\\text{B}}", "B"),
        ("the right lung", "It shows **the right** lung.", "the right** lung"),
        ("答案:B", "所以【答案】：B", "答案】：B"),
        ("B", "B? No.\n\nB", "B"),
    ],
)
def test_the_place_of_a_statement_is_told_in_the_answer_as_given(statement: str, response: str, shown: str) -> None:
    span = span_of(statement, response)
    assert span is not None and response[span[0] : span[1]] == shown
    assert span_of("liver", "spleen") is None and span_of("", "x") is None


def test_explain_tells_the_deciding_characters(tmp_path: Path) -> None:
    choices = ["A. Aspirin", "B. Heparin", "C. Warfarin"]
    rows = [{"question": "q", "choices": choices, "answer": "C", "response": ANSWER}]
    (tmp_path / "results.json").write_text(json.dumps(rows), encoding="utf-8")
    told = rescore(tmp_path, "MedQA_USMLE", explain=True)
    for row in told["disagreements"]:
        start, end = row["span"]
        assert ANSWER[start:end] == "Answer: B" and f"at {start}:{end}" in "\n".join(lines(told))
    graded: Any = rescore(tmp_path, "MedQA_USMLE", explain=True, samples=True)["strict"]["samples"]
    assert graded[0]["value"] == 0.0


def test_the_report_marks_what_was_read_in_utf16_units(tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "run": {"name": "shown"},
        "model": {"use": "constant", "with": {"text": ANSWER[2:]}},
        "evaluation": {"benchmarks": [{"use": "pmc-vqa", "with": {"path": str(DATA / "pmc-vqa")}}]},
    }
    run(told, tmp_path)
    opened = open_run(tmp_path / "runs" / "shown")
    tables = read_tables(opened, Thumbnails(opened.directory, MediaLoader({}), 0))
    places = [answer[12] for answer in tables.answers if answer[12] and answer[2] == ANSWER[2:]]
    units = ANSWER[2:].encode("utf-16-le")
    assert places and all(units[2 * start : 2 * end].decode("utf-16-le") == "Answer: B" for start, end in places)
    assert all("[" not in note for answer in tables.answers for note in answer[6])


def test_prompts_that_list_options_stop_before_the_next_list() -> None:
    made = {
        name: component(path=str(DATA / name))
        for name, component in table().items()
        if name in ("pmc-vqa", "vqa-rad", "cmexam")
    }
    assert made["pmc-vqa"].generation().stop == ("\nOptions: \n",) and made["vqa-rad"].generation().stop == ()
    question = next(made["pmc-vqa"].samples())
    assert made["pmc-vqa"].generation().stop[0] in question.turns[-1].text
