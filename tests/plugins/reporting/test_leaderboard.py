"""A leaderboard of many runs: only what was asked alike in one table, ties as ties, every part in its own order."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from infimed_core import InfimedError, load_plugins
from infimed_core.testing import run
from infimed_plugins.reporting.board.board import make_board, runs_in
from infimed_plugins.reporting.board.page import page

NUM = 120


def questions(tmp_path: Path) -> dict[str, Any]:
    rows = [
        {
            "id": f"q{number}",
            "turns": [{"role": "user", "content": [f"Is it {number}?"]}, {"role": "assistant", "content": ["yes"]}],
            "tags": {"modality": ("CT", "MR")[number % 2], "task_type": "recognition"},
        }
        for number in range(NUM)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "questions.jsonl")}}
    return {"use": "questions", "name": "own", "with": {"reader": reader}}


def graded(tmp_path: Path, name: str, share: float, **more: Any) -> dict[str, bool]:
    """A run of a model that is right on so many questions; which, by question."""
    draw = random.Random(name)
    right = {f"q{number}": draw.random() < share for number in range(NUM)}
    file = tmp_path / f"{name}.jsonl"
    file.write_text(
        "".join(json.dumps({"id": key, "text": "Yes" if own else "No"}) + "\n" for key, own in right.items())
    )
    document = {
        "run": {"name": f"run-{name}"},
        "models": {name: {"use": "predictions", "with": {"path": str(file)}}},
        "evaluation": {"models": [name], "benchmarks": [questions(tmp_path)], **more},
        "report": [{"use": "html"}],
    }
    run(document, tmp_path)
    return right


def test_models_of_a_folder_stand_in_order_with_ties_and_parts(tmp_path: Path) -> None:
    right = {name: graded(tmp_path, name, share) for name, share in (("good", 0.9), ("alike", 0.88), ("bad", 0.4))}
    board = make_board([str(tmp_path / "runs")], load_plugins(), tmp_path / "board")
    (own,) = board.boards
    assert [order.part for order in own.orders] == ["", "modality: CT", "modality: MR"]
    whole = {entry.model: entry for entry in own.orders[0].entries}
    for name, answers in right.items():
        assert whole[name].value == pytest.approx(sum(answers.values()) / NUM) and whole[name].num_questions == NUM
    assert (whole["good"].rank, whole["alike"].rank, whole["bad"].rank) == ("1–2", "1–2", "3")
    assert [entry.model for entry in own.orders[0].entries][-2:] == ["bad", "most-common-answer"]
    assert whole["most-common-answer"].rank == "" and whole["most-common-answer"].value == 1.0
    part = {entry.model: entry for entry in own.orders[1].entries}
    assert part["bad"].value == pytest.approx(sum(right["bad"][f"q{n}"] for n in range(0, NUM, 2)) / (NUM / 2))
    assert whole["good"].report == "../runs/run-good/report.html#browse?benchmark=own&model=good"
    text = page(board)
    assert "1–2" in text and "modality: MR" in text and text.count("<script>") == 1


def test_what_was_asked_otherwise_stands_in_a_table_of_its_own(tmp_path: Path) -> None:
    graded(tmp_path, "whole", 0.8)
    graded(tmp_path, "part", 0.8, limit=50)
    first, second = make_board([str(tmp_path / "runs")], load_plugins(), tmp_path).boards
    assert not first.differs and any(line.startswith("limit: ") for line in second.differs)


def test_a_model_without_any_answer_has_no_rank_and_takes_none(tmp_path: Path) -> None:
    for name, share in (("good", 0.9), ("bad", 0.4)):
        graded(tmp_path, name, share)
    (tmp_path / "silent.jsonl").write_text(json.dumps({"id": "other", "text": "Yes"}) + "\n")
    document = {
        "run": {"name": "run-silent"},
        "models": {"silent": {"use": "predictions", "with": {"path": str(tmp_path / "silent.jsonl")}}},
        "evaluation": {"models": ["silent"], "benchmarks": [questions(tmp_path)]},
    }
    run(document, tmp_path)
    (own,) = make_board([str(tmp_path / "runs")], load_plugins(), tmp_path).boards
    assert {e.model: (e.rank, e.value is None) for e in own.orders[0].entries} == {
        "good": ("1", False), "bad": ("2", False), "silent": ("", True), "most-common-answer": ("", False),
    }  # fmt: skip


def test_a_run_without_a_graded_model_is_told_and_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    graded(tmp_path, "one", 0.8)
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{}")
    board = make_board([str(tmp_path / "runs")], load_plugins(), tmp_path)
    assert len(board.left_out) == 1 and "broken" in board.left_out[0] and len(board.boards) == 1
    with pytest.raises(InfimedError, match="no run, and no folder with runs in it"):
        runs_in([str(tmp_path / "runs" / "nothing")])
