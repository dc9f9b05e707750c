"""The graded answers of a run as compact tables for the report's sample browser, every question stored once."""

from __future__ import annotations

import bisect
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infimed_core import Sample, Score
from infimed_core.records import BadLine, Graded, Run
from infimed_plugins.reporting.page.figures import TEXT_LIMIT, Shown, cut, cut_inside, printable
from infimed_plugins.reporting.page.thumbnails import Thumbnails

PAGE_BYTES = 48_000_000
"""Of answers and questions in one page; where the files hold more, long texts are cut shorter than otherwise."""
LEAST_LETTERS = 200
"""That are shown of a text, however much there is."""


@dataclass
class AnswerTables:
    """Questions and answers as rows that the page's script reads; the order of both is that of the files.

    Attributes:
        questions: [benchmark, id, turns, options, references, tags, image numbers, wanted boxes or 0].
        answers: [question, model, text, error, verdicts, values, notes, calls, prompt tokens, answer tokens,
            transcript, how it ended, where it says so]; ``verdicts`` has one letter per scoring: r right, p partly, w
            wrong, u unscored, e no answer; where it says so: [start, end] of the deciding statement, in UTF-16 units;
            boxes and points that the answer names, in shares of the image, or 0.
        text_limit: letters that are shown of one text.
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
    text_limit: int = TEXT_LIMIT
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
    files = {key: path for key in run.answered() if (path := run.answers_file(*key)).is_file()}  # others were moved
    tables = AnswerTables(text_limit=_text_limit(list(files.values())))
    numbers: dict[tuple[int, str], int] = {}
    for (benchmark, model), path in files.items():
        benchmark_number = _number(tables.benchmarks, benchmark)
        if benchmark_number == len(tables.scorings):
            tables.scorings.append([])
        scorings, model_number = tables.scorings[benchmark_number], _number(tables.models, model)
        bad: list[BadLine] = []
        for row in run.answers(benchmark, model, bad):
            question = _question(row.sample, benchmark_number, numbers, tables, thumbnails)
            answer = _answer(row, scorings, tables.text_limit)
            tables.answers.append([question, model_number, *answer])
            _count(tables, benchmark, model, row.sample.tags, scorings, answer)
            _count_deciders(tables, benchmark, model, row)
            if row.answer.confidence is not None and answer[2][:1] not in ("", "e"):
                pair = (row.answer.confidence, answer[3][0] or 0.0)
                tables.confidences.setdefault((benchmark, model), []).append(pair)
        if bad:
            tables.num_unreadable[path.name] = len(bad)
    return tables


def _text_limit(files: list[Path]) -> int:
    """The most letters of one text, up to ``TEXT_LIMIT``, with which lines of these files stay in ``PAGE_BYTES``."""
    if sum(path.stat().st_size for path in files) <= PAGE_BYTES:
        return TEXT_LIMIT
    sizes = np.sort(np.fromiter((size for path in files for size in _line_sizes(path)), np.int64))
    within = np.concatenate(([0], np.cumsum(sizes)))
    rest = len(sizes)

    def total(limit: int) -> int:
        shorter = int(np.searchsorted(sizes, limit))
        return int(within[shorter]) + (rest - shorter) * limit

    fitting = bisect.bisect_right(range(LEAST_LETTERS, TEXT_LIMIT + 1), PAGE_BYTES, key=total)
    return LEAST_LETTERS + max(0, fitting - 1)


def _line_sizes(path: Path) -> Iterator[int]:
    with path.open("rb") as stream:
        yield from map(len, stream)


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


def content_text(content: Any, limit: int = TEXT_LIMIT) -> str:
    """A turn's content for people: images are shown by their number."""
    if isinstance(content, str):
        return cut(content, limit)
    return cut("".join(part if isinstance(part, str) else f"[image {part + 1}] " for part in content), limit)


def _question(
    sample: Sample, benchmark: int, numbers: dict[tuple[int, str], int], tables: AnswerTables, thumbnails: Thumbnails
) -> int:
    key = (benchmark, sample.id)
    if key not in numbers:
        numbers[key], limit = len(tables.questions), tables.text_limit
        tables.questions.append(
            [
                benchmark,
                cut(sample.id),
                [[turn.role, content_text(turn.content, limit)] for turn in sample.turns],
                [cut(option, limit) for option in sample.options],
                [cut(reference, limit) for reference in sample.references],
                {printable(tag): printable(value) for tag, value in sample.tags.items()},
                [thumbnails.add(media.model_dump(mode="json")) for media in sample.media],
                _places(sample.meta.get("boxes")),
            ]
        )
    return numbers[key]


def _answer(row: Graded, scorings: list[str], limit: int) -> list[Any]:
    for name in row.scores:
        _number(scorings, name)
    answer, scores = row.answer, [row.scores.get(name) for name in scorings]
    share = limit if limit == TEXT_LIMIT else max(LEAST_LETTERS, limit // max(1, len(answer.transcript)))
    transcript = [
        {str(key): cut(value, share) for key, value in turn.items() if value is not None} for turn in answer.transcript
    ]
    shown = None if answer.text is None else cut_inside(answer.text, limit)
    return [
        None if shown is None else shown.text,
        None if answer.error is None else cut(answer.error, limit),
        "".join(_letter(score, answer.error) for score in scores),
        [None if score is None or score.value is None else round(score.value, 4) for score in scores],
        [_note(score, limit) for score in scores],
        answer.num_calls,
        answer.num_prompt_tokens,
        answer.num_answer_tokens,
        transcript or 0,
        answer.finish_reason or "",
        0 if shown is None else _deciding(shown, scores),
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


def _deciding(shown: Shown, scores: list[Score | None]) -> list[int] | int:
    """Where the first scoring that names a place ("... [120:129]") read the answer; 0 for nowhere on the page."""
    for score in scores:
        found = _SPAN.search(score.note) if score is not None else None
        place = shown.place(int(found[1]), int(found[2])) if found is not None else None
        if place is not None:
            return [len(shown.text[:end].encode("utf-16-le")) // 2 for end in place]
    return 0


def _note(score: Score | None, limit: int) -> str:
    if score is None:
        return ""
    return cut(" · ".join(filter(None, (_SPAN.sub("", score.note), ", ".join(score.reasons)))), limit)


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
