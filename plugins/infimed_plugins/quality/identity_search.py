"""The search for structured identity: which rules a text can fulfil at all, and what these find."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from infimed_plugins.quality import identity_dates
from infimed_plugins.quality.identity_addresses import is_home, is_house, is_place
from infimed_plugins.quality.identity_patterns import (
    STRUCTURED,
    Rule,
    is_account,
    is_card,
    is_network,
    is_uid,
    is_weak_record,
)
from infimed_plugins.quality.identity_prefilter import Index, around_digits, close_to_digits, lowered, pieces_of
from infimed_plugins.quality.reasons import Reason

_NUMERIC = re.compile(r"\d[./_-] ?\d|\d{8}|[年년]")
_FIRST_LOOK: dict[re.Pattern[str], re.Pattern[str]] = {
    identity_dates.AGE: re.compile(r"(?<!\d)0?(?:9\d|1[01]\d)(?!\d)"),
    identity_dates.SEXED_AGE: re.compile(r"(?:9\d|1[01]\d) ?[yYmMfF/-]"),
    identity_dates.MONTH_YEAR: re.compile(r"(?:19|20)\d\d"),
    identity_dates.GERMAN_PARTIAL: re.compile(r"\d\. ?[A-Z\d]"),
    identity_dates.NUMERIC_PARTIAL: re.compile(r"\d/\d"),
}
"""What must stand at a digit of a text for a pattern to match at all, where no piece of a word tells."""
NUMBER_WORDS = re.compile(r"ninet|hundred|novant|novent|nonant|neunzig|quatre-vingt", re.I)
"""Of which one stands in every age of ninety and more that is told without digits."""
_TOLD = re.compile(
    r"(?:[#：:=]|is|was|id|code|identifier|no\.?|n[ur]m?\.?|numbers?|numero|número|nummer|n[.º°]+)"
    r"[ \t]{0,4}[#:]?[ \t]{0,4}[A-Za-z]{0,8}[-_ /]?\d| \d{6}",
    re.I,
)
"""What stands between a label of every day and a number, or so long a number that nothing need."""
_CARETS, _ZIP = re.compile(r"\d\^"), re.compile(r"\d{5}")
_HOUSE_NUMBER = re.compile(r"\d[A-Za-z]?,? [A-Z\u00c0-\u00de]")
_POSTED = re.compile(r"\d[A-Z]{2}|\d[A-Z] \d[A-Z]\d")
_THREE = re.compile(r"\d(?:[-./ ]?\d){2}")
_PAIRS = re.compile(r"[\dA-Fa-f](?::[\dA-Fa-f]{0,4}:|[:-][\dA-Fa-f]{2}[:-])")
_DOTTED = re.compile(r"\d\.\d{1,64}\.\d")


_LEAST_DIGITS: dict[Any, int] = {is_card: 13, is_account: 8, is_weak_record: 4}
_FIRST_OF: dict[Any, re.Pattern[str]] = {is_uid: _DOTTED, is_weak_record: _TOLD}


class _Needs(NamedTuple):
    """What a text must hold for a rule to match: the fewest digits, one of some pieces, and what a first look finds."""

    digits: int
    pieces: tuple[str, ...]
    first: re.Pattern[str] | None
    rule: Rule
    quick: re.Pattern[str] | None
    """The pattern for a text of lower case."""
    is_near: bool
    """Whether nothing of a match stands far from a digit."""


def _needs(rule: Rule) -> _Needs:
    reason, pattern, holds = rule
    first, read = _FIRST_LOOK.get(pattern), pieces_of(pattern)
    several = sum(len(piece) < 2 and piece.isascii() for piece in read) > 2  # single letters stand in every text
    pieces = () if several or reason is Reason.PHI_NETWORK else read
    pieces = () if pattern is identity_dates.AGE else pieces  # an age in words may stand far from any digit
    if reason is Reason.PHI_NETWORK:
        digits, first = (4, _DOTTED) if holds is is_network else (1, _PAIRS)
    elif reason is Reason.PHI_PHONE:
        digits = 4 if "pager" in pattern.pattern or "bleep" in pattern.pattern else 7
    elif reason in (Reason.PHI_SOCIAL_SECURITY, Reason.PHI_NATIONAL_ID):
        digits = 8 if reason is Reason.PHI_SOCIAL_SECURITY else 5
    elif reason is Reason.PHI_RECORD_NUMBER:
        digits = _LEAST_DIGITS.get(holds, 1 if "plate" in pattern.pattern else 3)
        first = _CARETS if "\\^{2" in pattern.pattern else _FIRST_OF.get(holds, _THREE if holds is not None else first)
    elif reason is Reason.PHI_ADDRESS:
        posted = _ZIP if "APO" in pattern.pattern else _POSTED if "Box" not in pattern.pattern else None
        digits, first = 1, _HOUSE_NUMBER if holds in (is_house, is_home) else posted if holds is is_place else first
    else:
        digits = 0 if reason in (Reason.PHI_AGE, Reason.PHI_EMAIL) else 1
    is_near = digits > 0 and reason is not Reason.PHI_ADDRESS
    return _Needs(digits, pieces, first, rule, lowered(pattern), is_near)


_DIGIT = re.compile(r"\d")
_RULES = tuple(_needs(rule) for rule in STRUCTURED)
_MONTHS = len(_RULES)
_PIECES = Index([*(needs.pieces for needs in _RULES), pieces_of(re.compile(identity_dates.MONTH))])
_MOST_DIGITS = max(needs.digits for needs in _RULES)
_UNTOLD = tuple(
    tuple(number for number, needs in enumerate(_RULES) if not needs.pieces and needs.digits <= digits)
    for digits in range(_MOST_DIGITS + 1)
)
"""Rules that no piece of a word tells of, by the digits of a text."""


def structured_in(text: str, low: str, in_words: bool) -> Iterator[tuple[Reason, Iterator[tuple[int, int]]]]:
    """What each rule finds in ``text`` (``low``: in lower case); most texts hold little of what a rule needs.

    Nearly all rules need digits, and are tried around them alone. ``in_words``: a word of ``NUMBER_WORDS`` is there.
    """
    digits = min(len(_DIGIT.findall(text)), _MOST_DIGITS)
    close, near = close_to_digits(text), None
    told = _PIECES.found_in(low)
    numbers = _UNTOLD[digits]
    if told:
        more = (number for number in told if number < _MONTHS and _RULES[number].digits <= digits)
        numbers = tuple(sorted((*numbers, *more)))
    looked: dict[re.Pattern[str], bool] = {}
    for number in numbers:
        needs = _RULES[number]
        if needs.first is not None:
            if needs.first not in looked:
                looked[needs.first] = needs.first.search(close) is not None
            if not looked[needs.first] and not (in_words and needs.rule[1] is identity_dates.AGE):
                continue
        if needs.rule[1] is identity_dates.DATE and _MONTHS not in told and not _NUMERIC.search(close):
            continue
        if needs.is_near and near is None:
            near = around_digits(text)
        yield needs.rule[0], _matches(needs, text, low, near if needs.is_near and near else [(0, len(text))])


def _matches(needs: _Needs, text: str, low: str, places: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    _, pattern, holds = needs.rule
    for start, stop in places:
        for found in needs.quick.finditer(low, start, stop) if needs.quick else pattern.finditer(text, start, stop):
            real = pattern.match(text, found.start()) if needs.quick else found
            if real is not None and (holds is None or holds(real)):
                yield real.span()
