"""Numbers in their usual spellings."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.folding import fold
from infimed_plugins.medevalkit.answers.form import plain
from infimed_plugins.medevalkit.answers.values import NUMBERS

_SIGNED = r"(?<![^\W\u3400-\u9fff])(?<![.,])[-+]?"
_NUMBER = re.compile(
    rf"(?<![\w.,])10\s?\^\s?\{{?(?P<power>[-+]?\d{{1,2}})\}}?|"
    rf"{_SIGNED}\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?(?![\w])|{_SIGNED}(?:\d+(?:\.\d+)?|"
    rf"\.\d+)(?:\s?[x×·]\s?10\s?\^?\s?\{{?([-+]?\d{{1,3}})\}}?|e([-+]?\d{{1,3}}))?"
    r"(?:\s?/\s?(\d+(?:\.\d+)?)(?![\w/]))?(?!st\b|nd\b|rd\b|th\b|[\d.]*\d)",
    re.IGNORECASE,
)
_WORD = re.compile(rf"(?<![\w-])(?:{'|'.join(NUMBERS)}|half)(?![\w-])", re.IGNORECASE)


_CHINESE = dict(zip("零一二三四五六七八九十两", (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 2), strict=True))
_COUNTED = re.compile(r"(?<![一二三四五六七八九十])([零一二三四五六七八九十两])(?=[个只条根处枚张块叶段颗])")


_MINUS = re.compile(r"(?:^|(?<=\bis )|(?<=: )|(?<=\bof ))minus (?=[\d.])", re.IGNORECASE)


def number_of(text: str) -> float | None:
    """The number that a text is, with or without a unit after it in the same text; ``None`` where it is none."""
    text = _MINUS.sub("-", plain(fold(text)).strip(" .$"))
    found = _NUMBER.match(text)
    if found is not None and (found.end() == len(text) or text[found.end() :].strip() == ""):
        return _value(found)
    word = _WORD.fullmatch(text)
    return _named(word.group()) if word else None


def numbers_in(text: str) -> list[float]:
    """Every number of a plain text, in order; words for small ones too; ``8th`` is none."""
    text = _MINUS.sub("-", text)
    found = [(match.start(), _value(match)) for match in _NUMBER.finditer(text)]
    found += [(match.start(), _named(match.group())) for match in _WORD.finditer(text)]
    if not text.isascii():
        found += [(match.start(), float(_CHINESE[match[1]])) for match in _COUNTED.finditer(text)]
    return [value for _, value in sorted(found) if value is not None]


def _value(found: re.Match[str]) -> float | None:
    text = found.group().replace(",", "")
    if found["power"]:
        return 10.0 ** int(found["power"])
    try:
        base = float(re.match(r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)", text).group())  # type: ignore[union-attr]
        power = found[2] or found[3]
        value = base * 10.0 ** int(power) if power else base
        return value / float(found[4]) if found[4] else value
    except (ValueError, ZeroDivisionError, OverflowError, AttributeError):
        return None


def _named(word: str) -> float:
    return 0.5 if word.lower() == "half" else float(NUMBERS[word.lower()])
