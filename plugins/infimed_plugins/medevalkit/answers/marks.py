r"""Answers that are set apart: ``\boxed{}``, ``<answer>``, a JSON field, a box of GLM."""

from __future__ import annotations

import re
from typing import NamedTuple


class Mark(NamedTuple):
    """What an answer mark holds, and where it stands."""

    start: int
    end: int
    content: str


_TAG = re.compile(r"<(/?)(answer|final_answer|final answer|ans)>", re.IGNORECASE)
_BRACKETED = re.compile(r"\[(/?)(answer|ans)\]", re.IGNORECASE)
_GLM = re.compile(r"<\|(begin|end)_of_box\|>", re.IGNORECASE)
_FIELD = re.compile(
    r"\{[^{}]{0,600}?[\"'](?:final_?|correct_?|predicted_?)?(?:answer|choice|option|prediction)"
    r"(?:_?(?:choice|letter|option|idx|key|label|text))?[\"']\s?:\s?"
    r"(?:\"([^\"\n]{0,400})\"|'([^'\n]{0,400})'|\[([^\[\]\n]{0,200})\]|([^\s,{}]{1,40}))",
    re.IGNORECASE,
)


def find_marks(text: str) -> list[Mark]:
    """Every mark in order; one that the end of the text cuts off holds the rest. Empty ones say nothing and are left
    out."""
    found: list[Mark] = []
    if "boxed" in text or "fbox" in text:
        found += _boxes(text)
    if "[/" in text:
        text = _BRACKETED.sub(r"<\1\2>", text)
    if "<" in text:
        lowered = text.lower()
        if "ans" in lowered:
            found += _pairs(text, _TAG)
        if "_of_box|>" in lowered:
            found += _pairs(text, _GLM)
    if "{" in text and not found:
        found += [
            Mark(field.start(), field.end(), next(part for part in field.groups() if part is not None))
            for field in _FIELD.finditer(text)
        ]
    return sorted(mark for mark in found if mark.content.strip(" \n.{}()[]"))


def _boxes(text: str) -> list[Mark]:
    found, place = [], 0
    while (start := text.find("boxed{", place)) >= 0:
        place = start + len("boxed{")
        depth, inner = 1, place
        while place < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += 1
        if start and text[start - 1] in "\\f\bx":
            found.append(Mark(start - 1, place, text[inner : place if depth else place - 1]))
    return found


def _pairs(text: str, pattern: re.Pattern[str]) -> list[Mark]:
    """What stands between opening and closing marks; the last opening one before a closing one counts."""
    found: list[Mark] = []
    start = inner = -1
    for match in pattern.finditer(text):
        if match[1].lower() in ("/", "end"):
            if start >= 0:
                found.append(Mark(start, match.end(), text[inner : match.start()]))
            start = -1
        else:
            start, inner = match.start(), match.end()
    if start >= 0:
        found.append(Mark(start, len(text), text[inner:]))
    return found
