"""The search for structured identity: which rules a text can fulfil at all, and what these find."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from infimed_plugins.quality.identity_patterns import STRUCTURED
from infimed_plugins.quality.identity_prefilter import (
    Index,
    around_digits,
    close_to_digits,
    lower_of,
    lowered,
    pieces_of,
)
from infimed_plugins.quality.identity_rule import Rule
from infimed_plugins.quality.reasons import Reason

_ALL = (1 << len(STRUCTURED)) - 1
_WORDED = [(1 << number, rule.word) for number, rule in enumerate(STRUCTURED) if rule.word is not None]
LOOKS = tuple(word for _, word in _WORDED)
"""At one word each, of the rules that have such a look; the search is told which of them found something."""
_WITHOUT_WORD = _ALL & ~sum(bit for bit, _ in _WORDED)
_WITH_PIECES = sum(1 << number for number, rule in enumerate(STRUCTURED) if rule.has_pieces)
_PIECES = Index([pieces_of(rule.pattern) if rule.has_pieces else () for rule in STRUCTURED])
_MOST_DIGITS = max(rule.digits for rule in STRUCTURED)
_OF_DIGITS = tuple(
    sum(1 << number for number, rule in enumerate(STRUCTURED) if rule.digits <= digits)
    for digits in range(_MOST_DIGITS + 1)
)
"""Rules that a text with so many digits can fulfil, as bits."""
_QUICK = tuple(lowered(rule.pattern) for rule in STRUCTURED)
"""The patterns for a text of lower case, where case does not matter."""
_DIGIT = re.compile(r"\d")
_OF_LOOKS = {0: _WITHOUT_WORD}


def _rules_of(held: int) -> int:
    """The rules whose look found something, and those without one."""
    if held not in _OF_LOOKS:
        _OF_LOOKS[held] = _WITHOUT_WORD | sum(bit for at, (bit, _) in enumerate(_WORDED) if held >> at & 1)
    return _OF_LOOKS[held]


def structured_in(text: str, held: int) -> Iterator[tuple[Reason, Iterator[tuple[int, int]]]]:
    """What each rule finds in ``text``, in their order; bit n of ``held`` says that look n found something.

    Most texts hold little of what a rule needs, and nearly all rules are tried around digits alone.
    """
    digits = min(len(_DIGIT.findall(text)), _MOST_DIGITS)
    rules = _rules_of(held) & _OF_DIGITS[digits]
    if not rules:
        return
    low = lower_of(text)
    near = around_digits(text)
    if rules & _WITH_PIECES:
        rules &= _PIECES.found_in(" ".join([low[start:stop] for start, stop in near])) | ~_WITH_PIECES
    close: str | None = None
    looked: dict[re.Pattern[str], bool] = {}
    while rules:
        number = (rules & -rules).bit_length() - 1
        rules &= rules - 1
        rule = STRUCTURED[number]
        if rule.first is not None:
            close = close_to_digits(text) if close is None else close
            if rule.first not in looked:
                looked[rule.first] = rule.first.search(close) is not None
            if not looked[rule.first]:
                continue
        yield rule.reason, _matches(rule, _QUICK[number], text, low, near if rule.is_near else [(0, len(text))])


def _matches(
    rule: Rule, quick: re.Pattern[str] | None, text: str, low: str, places: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    for start, stop in places:
        for found in quick.finditer(low, start, stop) if quick else rule.pattern.finditer(text, start, stop):
            real = rule.pattern.match(text, found.start()) if quick else found
            if real is not None and (rule.holds is None or rule.holds(real)):
                yield real.span()
