"""What a text must hold for a pattern to match at all: pieces of words of which one stands in every match.

Looking for a piece is some hundred times quicker than trying a pattern of many alternatives at every place, and most
texts hold none. The pieces are read from the pattern itself, so that they cannot differ from it.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable, Sequence
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from re._casefix import _EXTRA_CASES  # type: ignore[import-not-found]
from typing import Any

from infimed_plugins.quality.remembered import Remembered

MOST_PIECES = 1000
MOST_COMBINED = 800
"""Pieces that are joined with those before them; more are kept apart."""

Texts = frozenset[str]


def pieces_of(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """In lower case; none where a match need not hold any."""
    found = _best([_needed(parser.parse(pattern.pattern, pattern.flags))])
    return tuple(sorted(found or (), key=lambda piece: (len(piece), piece)))


_ALIKE = str.maketrans("345678", "333333")
"""Digits that no look tells from one another, so that most numbers are remembered by their shape."""


_WITHOUT_DIGITS = str.maketrans(dict.fromkeys("0123456789", "0"))


class Sieve:
    """Which of several looks find something in a text: bit n of the first number for the look of number n.

    A look is at one word, up to the next space, and takes every digit from 3 to 8 for the same; bit n of the second
    number says that two words hold it.
    """

    def __init__(self, *looks: re.Pattern[str]) -> None:
        self._groups = [
            (_any_of(look for _, look in group), group)
            for about_digits in (False, True)
            if (group := [(1 << n, look) for n, look in enumerate(looks) if _is_about_digits(look) is about_digits])
        ]
        self._of_shape = Remembered(self._look)
        self._of_word = Remembered(lambda word: self._of_shape[word.translate(_ALIKE)])

    def _look(self, word: str) -> int:
        return sum(
            bit for any_of, group in self._groups if any_of.search(word) for bit, look in group if look.search(word)
        )

    def __call__(self, words: list[str]) -> tuple[int, int]:
        """What one of the words holds, and what two do."""
        once = twice = 0
        for held in map(self._of_word.__getitem__, words):
            if held:
                twice |= once & held
                once |= held
        return once, twice


def _any_of(looks: Iterable[re.Pattern[str]]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?{'i' * bool(look.flags & re.I)}:{look.pattern})" for look in looks))


def _is_about_digits(look: re.Pattern[str]) -> bool:
    """Most words have no digit, so that these looks are at most words all in vain."""
    return "\\d" in look.pattern


class Index:
    """Which of several lists of pieces have one that stands in a text, by the first letters of a part of each piece."""

    def __init__(self, lists: Sequence[Iterable[str]]) -> None:
        self._by_letters: dict[str, list[tuple[str, str, int]]] = {}
        self._of_shape = Remembered(self._look)
        self._of_word = Remembered(lambda word: self._of_shape[word.translate(_WITHOUT_DIGITS)])
        for number, pieces in enumerate(lists):
            for piece in pieces:
                longest = max(piece.split(), key=len)
                self._by_letters.setdefault(longest[:3], []).append((longest, piece, 1 << number))

    def _look(self, word: str) -> tuple[int, tuple[tuple[str, int], ...]] | None:
        """The lists whose pieces a word holds, and pieces of several words of which it holds the longest."""
        letters = {word[at : at + size] for size in (1, 2, 3) for at in range(len(word) - size + 1)}
        near = [entry for some in letters for entry in self._by_letters.get(some, ()) if entry[0] in word]
        whole = functools.reduce(operator.or_, (bit for longest, piece, bit in near if longest == piece), 0)
        parts = tuple((piece, bit) for longest, piece, bit in near if longest != piece and not bit & whole)
        return (whole, parts) if near else None

    def found_in(self, low: str) -> int:
        """Bit n is set where the list of number n has a piece in a text of lower case."""
        found = 0
        parts: set[tuple[str, int]] = set()
        for held in map(self._of_word.__getitem__, low.split()):
            if held is not None:
                found |= held[0]
                parts.update(held[1])
        for piece, bit in parts:
            if not found & bit and piece in low:
                found |= bit
        return found


_SAME = str.maketrans(
    {other: min(letter, *others) for letter, others in _EXTRA_CASES.items() for other in (letter, *others)}
)
"""Letters that ``re`` takes for one where case does not matter, and ``str.lower`` does not: the Turkish dotless i."""


def _lower(letter: str) -> str:
    """One letter in lower case; the capital of i with a dot, as ``re`` does, is an i."""
    return "i" if letter == "\u0130" else letter.lower().translate(_SAME)


_LETTER = re.compile(r"\\.|\(\?P[<=]\w+|[^\W\d_]")


def lowered(pattern: re.Pattern[str]) -> re.Pattern[str] | None:
    """A pattern for texts of lower case that matches where one that takes no care of case does; ``None`` for others.

    Without that flag a choice among many words is some times quicker: its first letters are looked at first.
    """
    if not pattern.flags & re.IGNORECASE:
        return None
    source = _LETTER.sub(lambda found: _lower(found[0]) if len(found[0]) == 1 else found[0], pattern.pattern)
    return re.compile(source, pattern.flags & ~re.IGNORECASE)


def lower_of(text: str) -> str:
    """In lower case, every character in its place; letters that are one to ``re`` are one letter."""
    low = text.lower()
    if len(low) != len(text):
        low = "".join(map(_lower, text))
    return low if low.isascii() else low.translate(_SAME)


_DIGITS = re.compile(r"\d+")


def close_to_digits(text: str) -> str:
    """The characters close around each digit of a text; enough for a first look at what stands at a digit."""
    return "\n".join(text[start:stop] for start, stop in _stretches(text, 32, 10))


def around_digits(text: str, before: int = 72, after: int = 64) -> list[tuple[int, int]]:
    """The stretches of a text around its digits, which end where a word does."""
    return [(_border(text, start, -1), _border(text, stop, 1)) for start, stop in _stretches(text, before, after)]


def _stretches(text: str, before: int, after: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for digits in _DIGITS.finditer(text):
        start, stop = max(0, digits.start() - before), digits.end() + after
        if found and start <= found[-1][1]:
            start = found.pop()[0]
        found.append((start, stop))
    return found


def _border(text: str, place: int, step: int) -> int:
    """The next place, in one direction, where no word or number is cut."""
    for _ in range(40):
        if not 0 < place < len(text) or text[place].isspace():
            break
        place += step
    return min(max(place, 0), len(text))


class _Needs:
    """Of a piece of a pattern: every text that it may match, where these are few; and what each match must hold."""

    def __init__(self, exact: Texts | None = None, holds: Texts | None = None) -> None:
        self.exact, self.holds = exact, holds


_ANYTHING = _Needs()
_NOTHING = _Needs(frozenset({""}))


def _needed(tree: Sequence[Any]) -> Texts | None:
    return _best([_of_sequence(tree)])


def _best(candidates: Iterable[Any]) -> Texts | None:
    """The set whose shortest piece is longest, and of two the smaller."""
    sets = []
    for candidate in candidates:
        sets += [candidate.exact, candidate.holds] if isinstance(candidate, _Needs) else [candidate]
    usable = [_least(found) for found in sets if found and "" not in found]
    usable = [found for found in usable if len(found) <= MOST_PIECES]
    return max(usable, key=lambda found: (min(4, *map(len, found), 4), -len(found)), default=None)


def _least(found: Texts) -> Texts:
    """Without the pieces that hold another one."""
    return frozenset(piece for piece in found if not any(other != piece and other in piece for other in found))


def _of_sequence(items: Sequence[Any]) -> _Needs:
    """One thing behind another: few texts are joined; where they become many, what there was is a candidate."""
    candidates: list[Texts | None] = []
    joined, whole = frozenset({""}), True
    for kind, value in items:
        needs = _of_one(kind, value)
        if needs.exact is not None and len(joined) * len(needs.exact) <= MOST_COMBINED:
            joined = frozenset(before + after for before in joined for after in needs.exact)
            continue
        candidates += [joined, needs.holds]
        whole = False
        joined = needs.exact if needs.exact is not None else frozenset({""})
    candidates.append(joined)
    return _Needs(joined) if whole else _Needs(None, _best(candidates))


def _of_one(kind: Any, value: Any) -> _Needs:
    if kind is kinds.LITERAL:
        return _Needs(frozenset({_lower(chr(value))}))
    if kind is kinds.IN:
        literal = all(one is kinds.LITERAL for one, _ in value)
        return _Needs(frozenset(_lower(chr(code)) for _, code in value)) if literal and len(value) <= 6 else _ANYTHING
    if kind is kinds.SUBPATTERN:
        return _of_sequence(value[3])
    if kind is kinds.BRANCH:
        return _of_branch([_of_sequence(branch) for branch in value[1]])
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
        least, most, inner = value
        needs = _of_sequence(inner)
        if least == 0:
            return _Needs(needs.exact | {""}) if most == 1 and needs.exact is not None else _ANYTHING
        return needs if least == most == 1 else _Needs(None, _best([needs]))
    return _NOTHING if kind in (kinds.AT, kinds.ASSERT, kinds.ASSERT_NOT) else _ANYTHING


def _of_branch(branches: list[_Needs]) -> _Needs:
    exact = [branch.exact for branch in branches]
    if all(one is not None for one in exact):
        return _Needs(frozenset().union(*(one for one in exact if one is not None)))
    held = [_best([branch]) for branch in branches]
    if all(one is not None for one in held):
        return _Needs(None, frozenset().union(*(one for one in held if one is not None)))
    return _ANYTHING
