"""The graded answers of a run as compact tables for the report's sample browser, every question stored once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from infimed_core import Sample, Score
from infimed_core.records import BadLine, Graded, Run
from infimed_plugins.reporting.page.figures import cut, printable
from infimed_plugins.reporting.page.thumbnails import Thumbnails


@dataclass
class AnswerTables:
    """Questions and answers as rows that the page's script reads; the order of both is that of the files.

    Attributes:
        questions: [benchmark, id, turns, options, references, tags, image numbers, wanted boxes or 0].
        answers: [question, model, text, error, verdicts, values, notes, calls, prompt tokens, answer tokens,
            transcript, how it ended, where it says so]; ``verdicts`` has one letter per scoring: r right, p partly, w
            wrong, u unscored, e no answer; where it says so: [start, end] of the deciding statement, in UTF-16 units;
            boxes and points that the answer names, in shares of the image, or 0.
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
    confidences: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)
    """(benchmark, model) -> confidence and value (0 where unread) of every answer that has a confidence."""
    deciders: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)
    """(benchmark, model, judge) -> who decided: rule, judge, nobody; of those that both did: both, agree."""


def read_tables(run: Run, thumbnails: Thumbnails) -> AnswerTables:
    """Every graded answer of the run that there is a file of.

    A line that cannot be read is counted in ``num_unreadable``, and the page says so.
    """
    tables = AnswerTables()
    numbers: dict[tuple[int, str], int] = {}
    for benchmark, model in run.answered():
        path = run.answers_file(benchmark, model)
        if not path.is_file():
            continue  # of a run whose answers were moved, or are being asked
        benchmark_number = _number(tables.benchmarks, benchmark)
        if benchmark_number == len(tables.scorings):
            tables.scorings.append([])
        scorings, model_number = tables.scorings[benchmark_number], _number(tables.models, model)
        bad: list[BadLine] = []
        for row in run.answers(benchmark, model, bad):
            question = _question(row.sample, benchmark_number, numbers, tables, thumbnails)
            answer = _answer(row, scorings)
            tables.answers.append([question, model_number, *answer])
            _count(tables, benchmark, model, row.sample.tags, scorings, answer)
            _count_deciders(tables, benchmark, model, row)
            if row.answer.confidence is not None and answer[2][:1] not in ("", "e"):
                pair = (row.answer.confidence, answer[3][0] or 0.0)
                tables.confidences.setdefault((benchmark, model), []).append(pair)
        if bad:
            tables.num_unreadable[path.name] = len(bad)
    return tables


def _count_deciders(tables: AnswerTables, benchmark: str, model: str, row: Graded) -> None:
    """Which of rule and judge decided an answer. A judge was asked where its score is not the rule's own."""
    ruled = next((score for name, score in row.scores.items() if name == "strict"), None)
    for name, score in row.scores.items():
        if not name.startswith("judge:") or ruled is None:
            continue
        counts = tables.deciders.setdefault((benchmark, model, name.removeprefix("judge:")), Counter())
        asked = score != ruled
        by_rule, by_judge = ruled.value is not None, asked and score.value is not None
        counts["rule" if by_rule else "judge" if by_judge else "nobody"] += 1
        counts["both"] += by_rule and by_judge
        counts["agree"] += by_rule and by_judge and ruled.value == score.value


def _number(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def content_text(content: Any) -> str:
    """A turn's content for people: images are shown by their number."""
    if isinstance(content, str):
        return cut(content)
    return cut("".join(part if isinstance(part, str) else f"[image {part + 1}] " for part in content))


def _question(
    sample: Sample, benchmark: int, numbers: dict[tuple[int, str], int], tables: AnswerTables, thumbnails: Thumbnails
) -> int:
    key = (benchmark, sample.id)
    if key not in numbers:
        numbers[key] = len(tables.questions)
        tables.questions.append(
            [
                benchmark,
                cut(sample.id),
                [[turn.role, content_text(turn.content)] for turn in sample.turns],
                [cut(option) for option in sample.options],
                [cut(reference) for reference in sample.references],
                {printable(tag): printable(value) for tag, value in sample.tags.items()},
                [thumbnails.add(media.model_dump(mode="json")) for media in sample.media],
                _places(sample.meta.get("boxes")),
            ]
        )
    return numbers[key]


def _answer(row: Graded, scorings: list[str]) -> list[Any]:
    for name in row.scores:
        _number(scorings, name)
    answer, scores = row.answer, [row.scores.get(name) for name in scorings]
    transcript = [
        {str(key): cut(value) for key, value in turn.items() if value is not None} for turn in answer.transcript
    ]
    return [
        None if answer.text is None else cut(answer.text),
        None if answer.error is None else cut(answer.error),
        "".join(_letter(score, answer.error) for score in scores),
        [None if score is None or score.value is None else round(score.value, 4) for score in scores],
        [_note(score) for score in scores],
        answer.num_calls,
        answer.num_prompt_tokens,
        answer.num_answer_tokens,
        transcript or 0,
        answer.finish_reason or "",
        _deciding(answer.text, scores),
        _said_places(scores),
    ]


_PLACES = re.compile(r"^places: (\[\[[-0-9., \[\]]*\]\])")


def _said_places(scores: list[Score | None]) -> list[list[float]] | int:
    """The boxes and points that a score says were read ("places: [[0.1, 0.2, 0.3, 0.4]]")."""
    for score in scores:
        found = _PLACES.match(score.note) if score is not None else None
        if found is not None:
            with suppress(ValueError, RecursionError):
                return _places(json.loads(found[1]))
    return 0


def _places(value: Any) -> list[list[float]] | int:
    """Boxes (four numbers) and points (two), 0 to 1; 0 where there is none that can be drawn."""
    found = []
    for place in value if isinstance(value, list) else ():
        if isinstance(place, list) and len(place) in (2, 4) and all(isinstance(one, int | float) for one in place):
            found.append([min(1.0, max(0.0, float(one))) for one in place])
    return found or 0


_SPAN = re.compile(r" \[(\d+):(\d+)\]$")


def _deciding(text: str | None, scores: list[Score | None]) -> list[int] | int:
    """Where the first scoring that names a place ("... [120:129]") read the answer; 0 for nowhere on the page."""
    for score in scores:
        found = _SPAN.search(score.note) if score is not None else None
        if found is not None and text is not None:
            start, end = int(found[1]), int(found[2])
            shown = cut(text)
            if start < end and shown[start:end] == text[start:end]:
                return [len(shown[:place].encode("utf-16-le")) // 2 for place in (start, end)]
    return 0


def _note(score: Score | None) -> str:
    if score is None:
        return ""
    return cut(" · ".join(filter(None, (_SPAN.sub("", score.note), ", ".join(score.reasons)))))


def _letter(score: Score | None, error: str | None) -> str:
    if score is None or score.value is None:
        return "e" if error is not None or (score is not None and score.status == "error") else "u"
    return "r" if score.value >= 1 else "w" if score.value <= 0 else "p"


def _count(
    tables: AnswerTables, benchmark: str, model: str, tags: Mapping[str, str], scorings: list[str], answer: list[Any]
) -> None:
    letters, values = answer[2], answer[3]
    for index, scoring in enumerate(scorings):
        tables.counts.setdefault((benchmark, model, scoring), Counter())[letters[index]] += 1
        if index:
            pair = tables.disagreement.setdefault((benchmark, model, scorings[0], scoring), Counter())
            pair[letters[0], letters[index]] += 1
    key = (benchmark, model, tags.get("modality", "unlabelled"), tags.get("task_type", "unlabelled"))
    cell = tables.cells.setdefault(key, [0, 0.0, 0])
    if values and values[0] is not None:
        cell[0] += 1
        cell[1] += values[0]
    else:
        cell[2] += 1
