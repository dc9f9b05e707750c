"""The graded answers of a run as compact tables for the report's sample browser, every question stored once."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_plugins.reporting.page.figures import printable
from infimed_plugins.reporting.page.thumbnails import Thumbnails

TEXT_LIMIT = 4_000
"""Letters of one text shown in the page; the answer files hold all of it."""


@dataclass
class AnswerTables:
    """Questions and answers as rows that the page's script reads; the order of both is that of the files.

    Attributes:
        questions: [benchmark, id, turns, options, references, tags, image numbers].
        answers: [question, model, text, error, verdicts, values, notes, calls, prompt tokens, answer tokens,
            transcript]; ``verdicts`` has one letter per scoring: r right, p partly, w wrong, u unscored, e no answer.
        num_unreadable: lines of the answer files that are no graded answer, by file name.
        counts: (benchmark, model, scoring) -> verdict -> how many.
        disagreement: (benchmark, model, first scoring, other scoring) -> (verdict, verdict) -> how many.
        cells: (benchmark, model, modality, task type) -> [number, sum of values, unscored], first scoring.
    """

    benchmarks: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    scorings: list[list[str]] = field(default_factory=list)
    questions: list[list[Any]] = field(default_factory=list)
    answers: list[list[Any]] = field(default_factory=list)
    num_unreadable: dict[str, int] = field(default_factory=dict)
    counts: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)
    disagreement: dict[tuple[str, str, str, str], Counter[tuple[str, str]]] = field(default_factory=dict)
    cells: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)


def read_answers(directory: Path, known: Iterable[tuple[str, str]], thumbnails: Thumbnails) -> AnswerTables:
    """Read ``answers/<benchmark>--<model>.jsonl``; ``known`` are the (benchmark, model) pairs of the record, in order.

    A line that cannot be read is counted in ``num_unreadable``, and the page says so.
    """
    tables = AnswerTables()
    numbers: dict[tuple[str, str], int] = {}
    for path, benchmark, model in _files(directory / "answers", list(known)):
        benchmark_number = _number(tables.benchmarks, benchmark)
        if benchmark_number == len(tables.scorings):
            tables.scorings.append([])
        model_number = _number(tables.models, model)
        for row in _lines(path, tables.num_unreadable):
            try:
                question = _question(row["sample"], benchmark_number, numbers, tables, thumbnails)
                answer = _answer(row, benchmark_number, tables)
            except (KeyError, TypeError, ValueError, AttributeError):
                tables.num_unreadable[path.name] = tables.num_unreadable.get(path.name, 0) + 1
                continue
            tables.answers.append([question, model_number, *answer])
            _count(tables, benchmark, model, tables.questions[question][5], tables.scorings[benchmark_number], answer)
    return tables


def _files(directory: Path, known: list[tuple[str, str]]) -> Iterator[tuple[Path, str, str]]:
    order = {f"{benchmark}--{model}".replace("/", "-"): (benchmark, model) for benchmark, model in known}
    paths = sorted(directory.glob("*.jsonl"), key=lambda path: path.name)
    rank = {stem: place for place, stem in enumerate(order)}
    for path in sorted(paths, key=lambda path: rank.get(path.stem, len(rank))):
        benchmark, _, model = path.stem.partition("--")
        yield path, *order.get(path.stem, (benchmark, model or "model"))


def _lines(path: Path, unreadable: dict[str, int]) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                yield row
            else:
                unreadable[path.name] = unreadable.get(path.name, 0) + 1


def _number(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def cut(text: Any) -> str:
    """``text`` as the page shows it: printable, and cut where it is longer than ``TEXT_LIMIT``."""
    text = printable(str(text))
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]} … ({len(text) - TEXT_LIMIT:,} more letters)"


def turn_text(turn: Mapping[str, Any]) -> str:
    """A turn (as JSON) for people: images are shown by their number."""
    content = turn.get("content", ())
    if isinstance(content, str):
        return cut(content)
    return cut("".join(part if isinstance(part, str) else f"[image {part + 1}] " for part in content))


def _question(
    sample: Mapping[str, Any],
    benchmark: int,
    numbers: dict[tuple[str, str], int],
    tables: AnswerTables,
    thumbnails: Thumbnails,
) -> int:
    key = (str(benchmark), str(sample["id"]))
    if key not in numbers:
        turns = [[str(turn["role"]), turn_text(turn)] for turn in sample["turns"]]
        numbers[key] = len(tables.questions)
        tables.questions.append(
            [
                benchmark,
                cut(sample["id"]),
                turns,
                [cut(option) for option in sample.get("options", ())],
                [cut(reference) for reference in sample.get("references", ())],
                {printable(str(tag)): printable(str(value)) for tag, value in (sample.get("tags") or {}).items()},
                [thumbnails.add(media) for media in sample.get("media") or ()],
            ]
        )
    return numbers[key]


def _answer(row: Mapping[str, Any], benchmark: int, tables: AnswerTables) -> list[Any]:
    answer, scores = row["answer"], row["scores"]
    scorings = tables.scorings[benchmark]
    for name in scores:
        _number(scorings, name)
    error = answer.get("error")
    values = [scores.get(name, {}).get("value") for name in scorings]
    letters = "".join(_letter(scores.get(name), error) for name in scorings)
    transcript = [
        {str(key): cut(value) for key, value in turn.items() if value is not None}
        for turn in answer.get("transcript") or ()
    ]
    return [
        None if answer.get("text") is None else cut(answer["text"]),
        None if error is None else cut(error),
        letters,
        [None if value is None else round(float(value), 4) for value in values],
        [_note(scores.get(name) or {}) for name in scorings],
        answer.get("num_calls", 1),
        answer.get("num_prompt_tokens"),
        answer.get("num_answer_tokens"),
        transcript or 0,
    ]


def _note(score: Mapping[str, Any]) -> str:
    parts = [str(score.get("note") or ""), ", ".join(str(reason) for reason in score.get("reasons") or ())]
    return cut(" · ".join(part for part in parts if part))


def _letter(score: Mapping[str, Any] | None, error: Any) -> str:
    value = (score or {}).get("value")
    if value is None:
        return "e" if error is not None or (score or {}).get("status") == "error" else "u"
    if not math.isfinite(float(value)):
        raise ValueError("a score that is not finite")
    return "r" if value >= 1 else "w" if value <= 0 else "p"


def _count(
    tables: AnswerTables, benchmark: str, model: str, tags: Mapping[str, str], scorings: list[str], answer: list[Any]
) -> None:
    letters, values = answer[2], answer[3]
    for place, scoring in enumerate(scorings):
        tables.counts.setdefault((benchmark, model, scoring), Counter())[letters[place]] += 1
        if place:
            pair = tables.disagreement.setdefault((benchmark, model, scorings[0], scoring), Counter())
            pair[letters[0], letters[place]] += 1
    key = (benchmark, model, tags.get("modality", "unlabelled"), tags.get("task_type", "unlabelled"))
    cell = tables.cells.setdefault(key, [0, 0.0, 0])
    if values and values[0] is not None:
        cell[0] += 1
        cell[1] += values[0]
    else:
        cell[2] += 1
