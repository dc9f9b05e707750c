"""Evaluation: both scorings against MedEvalKit's own results, and how fast saved answers are graded again."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Results, main, table

from infimed_plugins.medevalkit.rescore import rescore

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures" / "medevalkit" / "kit_runs"


def differences(ours: Any, theirs: Any) -> list[float]:
    """Absolute differences of all numbers; infinite where a key is missing on one side."""
    if isinstance(theirs, dict):
        if not isinstance(ours, dict) or ours.keys() != theirs.keys():
            return [float("inf")]
        return [value for key in theirs for value in differences(ours[key], theirs[key])]
    return [float("inf") if ours is None else abs(ours - theirs)]


def equality(results: Results) -> None:
    """Every run of the kit: its metrics, and the sensible value of every sample."""
    rows, largest, disagreeing = [], 0.0, 0
    for folder in sorted(FIXTURES.iterdir()):
        result = rescore(folder, folder.name, samples=True)
        worst = max(differences(result["kit"]["metrics"], json.loads((folder / "metrics.json").read_text())))
        expected = json.loads((folder / "strict.json").read_text())
        wrong = sum(
            value != "open" and sample["value"] != (None if value is None else float(value))
            for sample, value in zip(result["strict"]["samples"], expected, strict=True)
        )
        largest, disagreeing = max(largest, worst), disagreeing + wrong
        key = "total metrics"
        kit, strict = result["kit"]["metrics"][key], result["strict"]["metrics"][key]
        rows.append([folder.name, kit["total"], kit["acc"], strict["acc"], strict["unscored_rate"], worst, wrong])
    table(["run", "answers", "kit acc", "strict acc", "unscored", "largest difference", "strict differs"], rows)
    results.target("kit: largest difference from metrics.json", largest, "<= 1e-9")
    results.target("strict: samples that differ from strict.json", disagreeing, "<= 0")
    results.details["runs"] = rows


def speed(results: Results, num_answers: int) -> None:
    """Both scorings of ``num_answers`` answers, none like another, by the command line from start to end."""
    rows = []
    for task in ("PMC_VQA", "VQA_RAD"):
        source = json.loads((FIXTURES / task / "results.json").read_text())
        copies = [
            # A number in every answer, so that no answer is graded from memory.
            {**source[i % len(source)], "response": f"{source[i % len(source)]['response']} #{i}"}
            for i in range(num_answers)
        ]
        copies[: len(source)] = source
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            path.write_text(json.dumps(copies))
            command = [sys.executable, "-c", "from infimed_core.cli import main; main()", "rescore", str(path)]
            started = time.perf_counter()
            subprocess.run([*command, "--task", task, "--json"], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
        rows.append([task, num_answers, seconds, num_answers / seconds])
        results.target(f"rescore {num_answers:,} answers of {task}, seconds", seconds, "< 20")
    table(["task", "answers", "seconds", "answers a second"], rows)
    results.details["speed"] = rows


def measure(results: Results, arguments: argparse.Namespace) -> None:
    equality(results)
    speed(results, arguments.answers)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--answers", type=int, default=100_000)


if __name__ == "__main__":
    main("evaluation", measure, add_arguments)
