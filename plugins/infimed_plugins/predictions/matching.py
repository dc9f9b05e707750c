"""Which answer of a file belongs to which question of a benchmark; never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infimed_core import Request
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
    ways = [_by_id(requests, predictions), _by_text(requests, predictions), _by_number(requests, predictions)]
    best = max(ways, key=lambda way: len(way.answers))
    used = {id(one) for one in best.answers.values()}
    best.left_over = [one for one in predictions if id(one) not in used]
    return best


def _by_id(requests: Sequence[Request], predictions: Sequence[Prediction]) -> Matched:
    known = {request.sample_id for request in requests}
    return Matched({one.id: one for one in reversed(predictions) if one.id in known}, "id")


def _by_text(requests: Sequence[Request], predictions: Sequence[Prediction]) -> Matched:
    """By the question; one that was asked of several images, or stands in several questions, is not placed so."""
    texts = {request.sample_id: _plain(_asked(request)) for request in requests}
    of_question: dict[str, list[Prediction]] = {}
    for one in predictions:
        of_question.setdefault(_plain(one.question), []).append(one)
    found: dict[str, Prediction] = {}
    whole = {text: name for name, text in texts.items()}
    for asked, own in of_question.items():
        if len(asked) < FEWEST_LETTERS or len(own) > 1:
            continue
        names = [whole[asked]] if asked in whole else [name for name, text in texts.items() if asked in text]
        if len(names) == 1 and names[0] not in found:
            found[names[0]] = own[0]
    return Matched(found, "question")


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
    return " ".join(re.sub(r"<image[^>]*>", " ", text).split()).casefold()
