"""Every answer of a run can be taken along, whole, for a spreadsheet or a program."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from infimed_core import InfimedError
from infimed_core.records import open_run
from infimed_core.testing import run
from infimed_plugins.reporting.export import export_answers

DATA = Path(__file__).parents[2] / "fixtures" / "medevalkit" / "data"


def test_every_question_and_answer_is_exported_whole(tmp_path: Path) -> None:
    long = "=1+1 " + "so " * 5000 + "the answer is A."
    document = {
        "run": {"name": "taken"},
        "models": {"a": {"use": "constant", "with": {"text": long}}, "b": {"use": "constant", "with": {"text": "No"}}},
        "evaluation": {
            "models": ["a", "b"],
            "benchmarks": [{"use": name, "with": {"path": str(DATA / name)}} for name in ("vqa-rad", "medqa-usmle")],
        },
    }
    record = run(document, tmp_path)
    opened = open_run(tmp_path / "runs" / "taken")
    assert export_answers(opened, tmp_path / "all.csv", None, None) == 3 * (3 + 1)  # the baseline too
    with (tmp_path / "all.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    own = [row for row in rows if row["model"] == "a" and row["benchmark"] == "medqa-usmle"]
    assert own[0]["answer"] == "'" + long, "whole, and no formula of a spreadsheet"
    assert own[0]["strict"] == "1.0" and own[0]["strict:read"].startswith("A") and own[0]["tag:form"] == "choice"
    value = next(row for row in record.results if (row.model, row.benchmark, row.group) == ("b", "vqa-rad", {}))
    shown = [row["strict"] for row in rows if (row["model"], row["benchmark"]) == ("b", "vqa-rad")]
    assert sum(float(one or 0) for one in shown) / 3 == pytest.approx(value.metrics["accuracy"].value)
    assert export_answers(opened, tmp_path / "some.jsonl", "vqa-rad", "b") == 3
    lines = [json.loads(line) for line in (tmp_path / "some.jsonl").read_text().splitlines()]
    assert {line["answer"]["text"] for line in lines} == {"No"} and lines[0]["sample"]["references"]
    with pytest.raises(InfimedError, match=r"name a file that ends in \.csv or \.jsonl"):
        export_answers(opened, tmp_path / "all.txt", None, None)
    with pytest.raises(InfimedError, match="no such answers; it has: vqa-rad by a"):
        export_answers(opened, tmp_path / "all.csv", "slake", None)
