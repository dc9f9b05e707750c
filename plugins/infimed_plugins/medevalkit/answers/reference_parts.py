"""The things that a reference names, and where a sentence names them: by a synonym, in parts, by initials."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from infimed_plugins.medevalkit.answers.other_values import FILLERS
from infimed_plugins.medevalkit.answers.sentences import Sentence
from infimed_plugins.medevalkit.answers.values import OPPOSITES
from infimed_plugins.medevalkit.answers.vocabulary import Words, is_known, same_as, value_of, words_of


@dataclass(frozen=True)
class Part:
    """One of the things a reference names, as units that are found by any of their forms."""

    units: tuple[tuple[Words, ...], ...]
    whole: tuple[Words, ...]


@lru_cache(maxsize=16384)
def parts_of(text: str) -> tuple[Part, ...]:
    """The parts of a reference: what a comma, a semicolon or "and" joins."""
    found = []
    if "and" in text or "&" in text:
        every = tuple(words_of(text))
        if is_known(every):  # "H&E"
            return (Part((same_as(every),), same_as(every)),)
    for part in re.split(r",|;|、|，|\band\b|/(?=\s*[A-Za-z]{3})|&", text):
        words = tuple(words_of(part))
        content = tuple(word for word in words[:-1] if word not in FILLERS) + words[-1:]  # a last "a" is no article
        content = content[:-1] if len(content) > 1 and content[-1] in FILLERS and len(content[-1]) > 1 else content
        if content:
            whole = same_as(words) if is_known(words) else same_as(content)
            if words == ("both",):
                whole = (*whole, *same_as(("bilateral",)))
            found.append(Part(tuple(unit for run in _runs(words, content) for unit in _units(run)), whole))
    return tuple(found)


def _runs(words: Words, content: Words) -> list[Words]:
    """The words that stand side by side in the reference: "lower right", "brain" of "lower right of the brain"."""
    runs: list[list[str]] = [[]]
    kept = list(content)
    for word in words:
        if kept and word == kept[0]:
            runs[-1].append(kept.pop(0))
        else:
            runs.append([])
    return [tuple(run) for run in runs if run]


def _units(words: Words) -> tuple[tuple[Words, ...], ...]:
    """The words in runs that have a name together, the longest first."""
    units, at = [], 0
    while at < len(words):
        for size in range(min(4, len(words) - at), 0, -1):
            if size == 1 or is_known(words[at : at + size]):
                units.append(_with_both(same_as(words[at : at + size])))
                at += size
                break
    return tuple(units)


def _with_both(forms: tuple[Words, ...]) -> tuple[Words, ...]:
    """ "Both" as another word for "bilateral", of what a reference names besides ("both lungs")."""
    if forms[0] == ("both",):
        return (*forms, ("bilateral",), ("bilaterally",))
    return (*forms, ("both",)) if forms[0] == ("bilateral",) else forms


def _by_initials(unit: tuple[Words, ...], sentence: Sentence) -> list[int]:
    """Where words stand whose initials the unit is ("mca": middle cerebral artery)."""
    letters = unit[0][0]
    if len(unit[0]) > 1 or not 3 <= len(letters) <= 5 or not letters.isascii() or value_of(unit[0]) is not None:
        return []
    words, size = sentence.words, len(letters)
    return [at for at in range(len(words) - size + 1) if "".join(word[0] for word in words[at : at + size]) == letters]


def places_of_units(part: Part, sentence: Sentence) -> list[list[int]]:
    """Where each unit is said, those behind a side or a level together by their initials too ("left MCA")."""
    found = [sentence.find(unit) or _by_initials(unit, sentence) for unit in part.units]
    if all(found) or len(found) < 2 or value_of(part.units[0][0]) is None:
        return found
    initials = "".join(word[0] for unit in part.units[1:] for word in unit[0])
    if len(initials) > 2 and initials in sentence.words:
        return [found[0], *[[sentence.words.index(initials)]] * (len(found) - 1)]
    return found


def abbreviated(part: Part, sentence: Sentence) -> list[int]:
    """Where the initials of a name stand for it, or a name for its initials (IVC, inferior vena cava)."""
    first = part.whole[0]
    words = sentence.words
    if len(first) == 1 and 2 <= len(first[0]) <= 5 and first[0].isalpha() and first[0].isascii():
        size = len(first[0])
        return [
            at for at in range(len(words) - size + 1) if "".join(word[0] for word in words[at : at + size]) == first[0]
        ]
    if 2 <= len(first) <= 5:
        initials = "".join(word[0] for word in first)
        return [at for at, word in enumerate(words) if word == initials or _shortens(word, first)]
    return []


def _shortens(word: str, name: Words) -> bool:
    """Whether a word of capitals is made of the name's letters in order, with every word's first ("HCC")."""
    if not len(name) < len(word) <= len(name) + 2 or not word.isalpha():
        return False
    letters = (f"{re.escape(one[0])}(?:[{re.escape(one[1:])}])?" if one[1:] else re.escape(one) for one in name)
    return re.fullmatch("".join(letters), word) is not None


@lru_cache(maxsize=1)
def _opposites() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for one, other in OPPOSITES:
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return {word: frozenset(others) for word, others in found.items()}


def says_opposite(part: Part, sentences: list[Sentence]) -> bool:
    """Whether one sentence says all of a part but one word, and the opposite of that word ("poorly" for "well")."""
    for sentence in sentences:
        missing = [unit[0][0] for unit in part.units if not sentence.find(unit)]
        if len(missing) != 1 or sentence.doubted:
            continue
        if missing[0] in ("non", "not") and not any(sentence.denied):
            return True
        if any(word in _opposites().get(missing[0], ()) for word in sentence.words):
            return True
    return False
