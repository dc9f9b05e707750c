"""What lies between a template's ``{% generation %}`` markers, by turn and by place among the texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infimed_core import Turn


def spans_of_turn(
    text: str,
    mark: re.Pattern[str],
    generated: list[tuple[int, int]],
    owners: list[int],
    place: int,
    turns: Sequence[Turn],
) -> list[tuple[int, int, int, int]]:
    """Spans of ``text`` (with a ``mark`` in place of each text) that are of turn ``place``, by literal and place in it.

    A span is of the turn of the first text in it; without one, of the answer whose text is before it, else of the
    next. ``owners`` are the turns of the texts.
    """
    marks = [(found.start(), found.end()) for found in mark.finditer(text)]

    def located(at: int) -> tuple[int, int]:
        number = sum(stop <= at for _, stop in marks)
        return number, at - (marks[number - 1][1] if number else 0)

    spans = []
    for start, stop in generated:
        number = sum(begin < start for begin, _ in marks)  # of the first text that begins in the span or after it
        is_inside = number < len(marks) and marks[number][0] < stop
        if not is_inside and number and (number == len(marks) or turns[owners[number - 1]].role == "assistant"):
            number -= 1
        if owners[number] == place:
            spans.append((*located(start), *located(stop)))
    return spans
