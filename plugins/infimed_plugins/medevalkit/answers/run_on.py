"""What is no answer to this question: a made-up next question, answers of other questions, a loop."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

_NEXT = re.compile(
    r"(?:#{1,4} ?|\*\*|>{1,2} ?)?(?:(?:next |new |another |second |example |the following )?(?:question|"
    r"problem|exercise|example|case|quiz|q)"
    r" ?(?:no\.? ?|#)?\d{0,4}\*{0,2} ?(?:[:.)]|of \d+|\n|\Z)|(?:question|problem|q) ?\d{1,4}\b|(?:user|human|"
    r"student|instruction|input|system|patient)\*{0,2} ?:|#{2,6}(?:\n|\Z)|"
    r"the (?:following|next) (?:question|case|patient)\b|"
    r"an? \d{1,3}[- ](?:year|month|week|day)s?[- ]old\b|which (?:one )?of the following\b|"
    r"患者[,、]?[男女]|[男女]性?[,、] ?\d{1,3} ?岁|下列|以下哪|"
    r"问题? ?\d{0,4} ?[:.、]|题目 ?\d{0,4} ?[:.、]|下一题|第 ?[\d一二三四五六七八九十]+ ?题|用户 ?:)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^(?:question |q)?(\d{1,3}) ?[.):] ?[(\[]?([A-Z])[)\]]?[.。]?$", re.MULTILINE | re.IGNORECASE)
_SOME_NUMBER = re.compile(r"\d ?[.):] ?[(\[]?[A-Za-z][)\]]?[.。]?(?:\n|$)")
_OPTION_LINE = re.compile(r"^\(?([A-Z])[.):、] ?\S", re.MULTILINE)


def heads(text: str, options: Sequence[str] = ()) -> list[str]:
    """Ever longer beginnings of the text, each up to where another question begins; the whole text is the last.

    What answers this question stands in the first of them that answers at all. ``options`` are its own, in lower case.
    """
    if "\n" not in text:
        return [text]
    text = _first_of_numbered(text)
    found: list[str] = []
    start = text.find("\n") + 1
    while start and len(found) < 8:
        if _NEXT.match(text, start):
            found.append(text[:start].strip())
        start = text.find("\n", start) + 1
    stem = _next_stem(text) or (_foreign_list(text, options) if options else 0)
    if stem > 0 and text[:stem].strip() and (not found or stem < len(found[0])):
        found.insert(0, text[:stem].strip())
    return [*found, text]


def _first_of_numbered(text: str) -> str:
    """The first of a list of numbered letters, which answer one question each."""
    if not _SOME_NUMBER.search(text):
        return text
    lines = list(_NUMBERED.finditer(text))
    numbers = [int(line[1]) for line in lines]
    if len(lines) < 2 or numbers[0] not in (1, 2) or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return text
    head = text[: lines[0].start()].strip()
    if numbers[0] == 1 and not head:
        return lines[0][2]
    return head or text


def _next_stem(text: str) -> int:
    """Where the paragraph of a made-up question begins that lists its own options after an answer; 0 for nowhere."""
    if "?" not in text:
        return 0
    labels = list(_OPTION_LINE.finditer(text))
    for first, second in itertools.pairwise(labels):
        if first[1].upper() != "A" or second[1].upper() != "B" or first.start() == 0:
            continue
        stop = text.rfind("?", 0, first.start())
        if stop < 0 or first.start() - stop > 40:
            continue
        return text.rfind("\n", 0, stop) + 1
    return 0


def _foreign_list(text: str, options: Sequence[str]) -> int:
    """Where a list A, B, C ... begins that holds nothing of this question's options; 0 for nowhere."""
    labels = list(_OPTION_LINE.finditer(text))
    for first, second, third in zip(labels, labels[1:], labels[2:], strict=False):
        if (first[1] + second[1] + third[1]).upper() != "ABC" or not first.start():
            continue
        stop = text.find("\n", third.start())
        lines = text[first.start() : stop if stop >= 0 else len(text)].lower().split("\n")
        short = len(lines) == 3 and all(len(line) < 80 and line[-1] not in ".。" for line in lines)
        if short and not any(option and option in line for option in options for line in lines):
            return first.start()
    return 0


def without_loop(text: str) -> tuple[str, bool]:
    """The text with a final loop taken once, and whether there was one: a run of words six or more times on end."""
    if len(text) < 16:  # eight words
        return text, False
    tail = text[-6000:]
    words = tail.split()
    if len(words) < 8 or words.count(words[-1]) < 6:
        return text, False
    for size in range(1, min(60, len(words) // 6) + 1):
        unit = words[-size:]
        times, place = 1, len(words) - 2 * size
        # the last round may be cut short, so that the unit is any rotation of what is repeated
        while place >= 0 and words[place : place + size] == unit:
            times, place = times + 1, place - size
        if times >= 6:
            return _cut(text, unit, size), True
    return text, False


def _cut(text: str, unit: list[str], size: int) -> str:
    words = text.split()
    place = len(words) - 2 * size
    while place >= 0 and words[place : place + size] == unit:
        place -= size
    keep = place + 2 * size
    # lines are needed by the rules: walk the text up to the last word that is kept
    ends = (match.end() for count, match in enumerate(re.finditer(r"\S+", text), 1) if count == keep)
    return text[: next(ends, len(text))]
