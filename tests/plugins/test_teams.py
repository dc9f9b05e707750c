"""Published protocols of several calls: each step by hand, the same after a kill, and what they cost told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Answer, Request, Sample, Turn
from infimed_core.testing import check_component, run
from infimed_plugins.solvers.comparing import compare_solvers, lines_of
from infimed_plugins.solvers.teams.case import named_list
from infimed_plugins.solvers.teams.mdagents import MDAgents
from infimed_plugins.solvers.teams.medagents import MedAgents
from infimed_plugins.solvers.teams.reconcile import ReConcile, confidence_of, weight

SAMPLE = Sample(
    id="q",
    turns=(Turn(role="user", content=("Which organ? A. liver B. heart",)),),
    options=("liver", "heart"),
    references=("B",),
)
Say = Callable[[Request, str | None], str | None]


class Asked:
    """Answers by a rule, and keeps what it was asked."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.requests: list[tuple[Request, str | None]] = []

    def __call__(self, requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        found = []
        for request in requests:
            self.requests.append((request, model))
            text = self.say(request, model)
            error = None if text is not None else "down"
            found.append(
                Answer(sample_id=request.sample_id, text=text, error=error, num_prompt_tokens=10, num_answer_tokens=2)
            )
        return found


def last(request: Request) -> str:
    return request.turns[-1].text


def system(request: Request) -> str:
    return request.turns[0].text if request.turns[0].role == "system" else ""


def test_medagents_gathers_analyses_votes_revises_and_decides() -> None:
    def say(request: Request, model: str | None) -> str:
        text = last(request)
        if "List 2 medical" in text:
            return "1. Cardiology\n2. Hepatology"
        if "List 1 medical" in text:
            return "Radiology"
        if "Begin with yes or no" in text:
            return "Yes." if "revised" in text else "No, the heart is missing."
        if "Objections" in text:
            return "revised report"
        return "<answer>B</answer>" if "inside <answer>" in text else "an analysis"

    asked = Asked(say)
    (answer,) = MedAgents(question_experts=2, option_experts=1, max_revisions=3).solve([SAMPLE], asked, None)
    roles = [turn["role"] for turn in answer.transcript]
    assert roles == [
        "gathering: experts", "gathering: option_experts", "Cardiology (question)", "Hepatology (question)",
        "Radiology (options)", "report", "Cardiology (vote 1)", "Hepatology (vote 1)", "Radiology (vote 1)", "report 2",
        "Cardiology (vote 2)", "Hepatology (vote 2)", "Radiology (vote 2)", "decision",
    ]  # fmt: skip
    assert (answer.text, answer.num_calls, answer.num_prompt_tokens, answer.num_answer_tokens) == ("B", 14, 140, 28)
    assert "an analysis" in last(asked.requests[5][0]), "the report is made of the analyses"


@pytest.mark.parametrize(
    ("complexity", "calls"),
    [("low", 2), ("moderate", 1 + 1 + 2 * 2 + 1), ("high", 1 + 3 * (1 + 2 + 1) + 1)],
)
def test_mdagents_goes_the_way_that_the_complexity_says(complexity: str, calls: int) -> None:
    def say(request: Request, model: str | None) -> str:
        text = last(request)
        if "How complex" in text:
            return f"This is of {complexity} complexity."
        if "who should discuss" in text:
            return "cardiologist, hepatologist"
        first = "cardiologist" in system(request)
        return "I think <answer>A</answer>" if first else "I think <answer>B</answer>"

    asked = Asked(say)
    (answer,) = MDAgents(experts=2, rounds=1).solve([SAMPLE], asked, None)
    assert answer.text == "B" and answer.num_calls == calls == len(asked.requests)
    if complexity == "moderate":
        again = [last(request) for request, _ in asked.requests if "cardiologist" in system(request)][1]
        assert "hepatologist: I think <answer>B</answer>" in again, "the second round sees the first"
    (alone,) = MDAgents(complexity="low").solve([SAMPLE], Asked(lambda request, model: "<answer>B</answer>"), None)
    assert alone.num_calls == 1


def test_mdagents_stops_where_the_team_agrees() -> None:
    asked = Asked(lambda request, model: "a, b" if "List" in last(request) else "Sure: <answer>B</answer>")
    (answer,) = MDAgents(complexity="moderate", experts=2, rounds=5).solve([SAMPLE], asked, None)
    assert (answer.text, answer.num_calls) == ("B", 3), "recruited, two opinions, no moderator"


def test_reconcile_votes_by_recalibrated_confidence() -> None:
    said = {
        None: "<answer>A</answer> <confidence>0.7</confidence>",
        "x": "<answer>B</answer><confidence>0.95</confidence>",
    }
    asked = Asked(lambda request, model: said[model])
    solver = ReConcile(agents=("graded", "graded", "x"), rounds=2)
    assert solver.models() == ("x",)
    (answer,) = solver.solve([SAMPLE], asked, None)
    assert answer.text == "B" and answer.confidence == pytest.approx(0.8 / (0.8 + 2 * 0.3))
    assert answer.num_calls == 3 * 3 and {turn["round"] for turn in answer.transcript} == {0, 1, 2}
    seen = last(asked.requests[3][0])
    assert "Answer 'A', given by 2:" in seen and "agent 3 (x), confidence 0.95" in seen
    seeds = {request.generation.seed for request, model in asked.requests if model is None}
    assert len(seeds) == 2, "seats of one model draw answers of their own"


@pytest.mark.parametrize(("said", "wanted"), [(1.0, 1.0), (0.95, 0.8), (0.85, 0.5), (0.65, 0.3), (0.2, 0.1)])
def test_the_papers_weights(said: float, wanted: float) -> None:
    assert weight(said) == wanted
    assert confidence_of(f"x <confidence>{said}</confidence>") == said


def test_confidences_in_percent_and_none() -> None:
    assert (confidence_of("<confidence>85%</confidence>"), confidence_of("A")) == (0.85, 0.5)


@pytest.mark.parametrize("solver", [MedAgents(), MDAgents(), ReConcile()])
def test_a_team_of_which_every_call_fails_answers_with_an_error(solver: Any) -> None:
    check_component(solver)
    (answer,) = solver.solve([SAMPLE], Asked(lambda request, model: None), None)
    assert answer.text is None and "down" in (answer.error or "")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1. Cardiology\n2) Hepatology\n- Cardiology", ["Cardiology", "Hepatology"]),
        ("Cardiology, Hepatology", ["Cardiology", "Hepatology"]),
        ("Cardiology; Hepatology.", ["Cardiology", "Hepatology"]),
        ("", []),
    ],
)
def test_lists_of_names(text: str, names: list[str]) -> None:
    assert named_list(text, 5) == names


def test_a_team_without_a_row_at_equal_cost_is_told(tmp_path: Path) -> None:
    row = {"id": "q", "turns": [{"role": "user", "content": ["Is it so?"]}, {"role": "assistant", "content": ["yes"]}]}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    use = {"use": "questions", "with": {"reader": {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}}}
    solvers: dict[str, Any] = {"team": {"use": "mdagents", "with": {"complexity": "low"}}}
    document = {
        "run": {"name": "teams"},
        "model": {"use": "constant", "with": {"text": "yes"}},
        "evaluation": {"benchmarks": [{**use, "name": name, "solver": solver} for name, solver in solvers.items()]},
    }
    run(document, tmp_path)
    rows = compare_solvers([tmp_path / "runs/teams"])
    assert any("mdagents" in line and "equal cost" in line for line in lines_of(rows))
    solvers["vote"] = {"use": "vote", "with": {"num_samples": 1}}
    document["evaluation"]["benchmarks"] = [{**use, "name": name, "solver": solver} for name, solver in solvers.items()]  # type: ignore[index]
    run(document, tmp_path)
    assert not any("equal cost" in line for line in lines_of(compare_solvers([tmp_path / "runs/teams"])))
    dear = [
        {**row, "calls": 9.0} if row["solver"] == "mdagents" else row
        for row in compare_solvers([tmp_path / "runs/teams"])
    ]
    assert any("equal cost" in line for line in lines_of(dear)), "a model that tells no tokens is measured by its calls"
