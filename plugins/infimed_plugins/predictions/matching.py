"""Which answer of a file belongs to which question of a benchmark; never a guess."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from infimed_core import Request
from infimed_plugins.predictions.asked import without_marks
from infimed_plugins.predictions.layouts import Prediction

NUMBERED = re.compile(r"(?P<name>.*)-(?P<number>[0-9]{1,18})")
"""A longer number is no place in a benchmark, and Python does not read one of thousands of digits."""
FEWEST_LETTERS = 8
"""A shorter question may stand in many others."""


@dataclass
class Matched:
    """Answers by the id of the question, how they were found, and those that belong to none.

    Attributes:
        wrong: of a question why the answer under its number is not its own.
    """

    answers: dict[str, Prediction] = field(default_factory=dict)
    by: str = ""
    left_over: list[Prediction] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)


def match(requests: Sequence[Request], predictions: Sequence[Prediction]) -> Matched:
    """Match by the question's id; else by what was asked; else by its number in the benchmark.

    A way is taken where it places more of the answers than the way before. A number is only taken where the file does
    not say that something else was asked under it.
    """
    by_text = _by_text(requests, predictions)
    ways = [_by_id(requests, predictions), by_text, _by_number(requests, predictions)]
    asked = {id(one): name for name, one in by_text.answers.items()}
    for way in ways:
        for name, one in list(way.answers.items()):
            if asked.get(id(one), name) != name:
                way.wrong[name] = f"{one.where}: {one.id} is what was said to '{asked[id(one)]}', which was asked there"
                del way.answers[name]
    best = max(ways, key=lambda way: len(way.answers))
    used = {id(one) for one in best.answers.values()}
    best.left_over = [one for one in predictions if id(one) not in used]
    return best


def _by_id(requests: Sequence[Request], predictions: Sequence[Prediction]) -> Matched:
    known = {request.sample_id for request in requests}
    return Matched({one.id: one for one in reversed(predictions) if one.id in known}, "id")


def _by_text(requests: Sequence[Request], predictions: Sequence[Prediction]) -> Matched:
    """By the question and its options; one that was asked of several images, or stands in several, is not placed so."""
    texts = {request.sample_id: _plain(_asked(request)) for request in requests}
    of_question: dict[tuple[str, ...], list[Prediction]] = {}
    for one in predictions:
        of_question.setdefault((_plain(one.question), *map(_plain, one.options)), []).append(one)
    found: dict[str, Prediction] = {}
    whole: dict[str, list[str]] = {}
    for name, text in texts.items():
        whole.setdefault(text, []).append(name)
    holding = _Holding(texts)
    for (asked, *options), own in of_question.items():
        if len(asked) < FEWEST_LETTERS or len(own) > 1:
            continue
        names = whole.get(asked) or holding.names(asked)
        if len(names) > 1 and options:
            names = [name for name in names if all(option in texts[name] for option in options)]
        if len(names) == 1 and names[0] not in found:
            found[names[0]] = own[0]
    return Matched(found, "question")


class _Holding:
    """Which texts hold a question: most do at their beginning, and are found without a look at all the others."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._sorted = sorted((text, name) for name, text in texts.items())
        self._joined = "\n".join(text for text, _ in self._sorted)
        lengths = (len(text) + 1 for text, _ in self._sorted)
        self._starts = [0, *accumulate(lengths)]

    def names(self, asked: str) -> list[str]:
        """Those that begin with it; where none does those that hold it."""
        found, at = [], bisect_left(self._sorted, (asked,))
        while at < len(self._sorted) and self._sorted[at][0].startswith(asked):
            found.append(self._sorted[at][1])
            at += 1
        start = -1 if found else self._joined.find(asked)
        while start >= 0:
            place = bisect_right(self._starts, start) - 1
            found.append(self._sorted[place][1])
            start = self._joined.find(asked, self._starts[place + 1])
        return found


def _by_number(requests: Sequence[Request], predictions: Sequence[Prediction]) -> Matched:
    numbers = _numbers(requests)
    found = Matched(by="number")
    for one in reversed(predictions):
        tail = NUMBERED.fullmatch(one.id)
        number = one.id if re.fullmatch("[0-9]{1,18}", one.id) else tail["number"] if tail else ""
        request = numbers.get(int(number)) if number else None
        if request is None:
            continue
        asked = _plain(one.question)
        if len(asked) >= FEWEST_LETTERS and asked not in _plain(_asked(request)):
            found.wrong[request.sample_id] = f"{one.where}: number {number} was asked something else there"
            continue
        found.answers[request.sample_id] = one
    return found


def _numbers(requests: Sequence[Request]) -> Mapping[int, Request]:
    """Requests by their number in the benchmark: that in their ids, where all have one, else their place."""
    tails = [NUMBERED.fullmatch(request.sample_id) for request in requests]
    numbers = [int(tail["number"]) for tail in tails if tail]
    if len(set(numbers)) == len(requests):
        return dict(zip(numbers, requests, strict=True))
    return dict(enumerate(requests))


def _asked(request: Request) -> str:
    return request.turns[-1].text if request.turns else ""


def _plain(text: str) -> str:
    return " ".join(without_marks(text).split()).casefold()
