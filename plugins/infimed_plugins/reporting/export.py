"""Every question of a run with every answer to it, whole: as CSV for a spreadsheet, as JSON Lines for a program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import InfimedError, write_atomically
from infimed_core.records import Graded, Run
from infimed_plugins.reporting.compare.text import safe_cells

FORMATS = (".csv", ".jsonl")


def export_answers(run: Run, out: Path, benchmark: str | None, model: str | None) -> int:
    """Write a row for each question and model to ``out`` (``.csv`` or ``.jsonl``) and return how many there are.

    Raises:
        InfimedError: another ending, or no answers of that benchmark and model.
    """
    if out.suffix.lower() not in FORMATS:
        raise InfimedError(f"{out}: name a file that ends in {' or '.join(FORMATS)}")
    rows = [
        (set_, name, graded)
        for set_, name in run.answered()
        if benchmark in (None, set_) and model in (None, name) and run.answers_file(set_, name).is_file()
        for graded in run.answers(set_, name)
    ]
    if not rows:
        there = ", ".join(f"{set_} by {name}" for set_, name in run.answered()) or "none"
        raise InfimedError(f"{run.directory}: no such answers; it has: {there}")
    write_atomically(out, _as_csv(rows) if out.suffix.lower() == ".csv" else _as_json_lines(rows))
    return len(rows)


def _as_json_lines(rows: list[tuple[str, str, Graded]]) -> str:
    lines = ({"benchmark": set_, "model": name, **json.loads(row.as_json())} for set_, name, row in rows)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _as_csv(rows: list[tuple[str, str, Graded]]) -> str:
    flat = [dict(_cells(*row)) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    # columns that only some rows have (tags, parts of scores) come in the order of their names, after the others
    columns.sort(key=lambda name: (":" in name, name if ":" in name else ""))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in flat:
        writer.writerow(safe_cells(row))
    return stream.getvalue()


def _cells(benchmark: str, model: str, row: Graded) -> Iterator[tuple[str, Any]]:
    sample, answer = row.sample, row.answer
    yield from (("benchmark", benchmark), ("model", model), ("id", sample.id))
    yield "question", "\n\n".join(f"{turn.role}: {turn.text}" for turn in sample.turns)
    yield "images", _listed([item.uri or item.sha256 or "inline" for item in sample.media])
    yield "options", _listed(sample.options)
    yield "references", _listed(sample.references)
    yield "answer", answer.text
    yield from (("error", answer.error), ("finish_reason", answer.finish_reason), ("calls", answer.num_calls))
    yield from (("prompt_tokens", answer.num_prompt_tokens), ("answer_tokens", answer.num_answer_tokens))
    for name, score in row.scores.items():
        yield name, score.value
        yield f"{name}:status", score.status
        yield f"{name}:reasons", ", ".join(score.reasons)
        yield f"{name}:read", score.note
        for part, figure in score.parts.items():
            yield f"{name}:part:{part}", figure
    for tag, value in sample.tags.items():
        yield f"tag:{tag}", value
    if answer.transcript:
        yield "transcript", json.dumps(answer.transcript, ensure_ascii=False)


def _listed(values: Any) -> str:
    return json.dumps(list(values), ensure_ascii=False) if values else ""
