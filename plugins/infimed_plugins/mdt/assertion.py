"""Whether a text states a wording, denies it, doubts it, or tells it of the past or of another person."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from infimed_plugins.mdt.context_modifiers import FINITE, Cue, table
from infimed_plugins.mdt.words import Word, find, read

Status = Literal["stated", "denied", "uncertain", "past", "other"]

LONGEST_CUE = 6
REACH = 14
"""Most words between a cue and what it bears on."""
NEAR = 6
"""As ``REACH``, for a bare ``not`` after what it bears on and for words of the past."""


@dataclass(frozen=True)
class Mention:
    """A wording found in a text, and how the text puts it."""

    wording: str
    status: Status
    sentence: str


@dataclass(frozen=True)
class _Found:
    kinds: frozenset[str]
    start: int
    stop: int
    cue: Cue


def mentions(text: str, wordings: Sequence[str]) -> list[Mention]:
    """Every place where one of the wordings stands in ``text``, in reading order, each with its status."""
    sentences = list(_sentences(read(text)))
    found: list[Mention] = []
    for number, words in enumerate(sentences):
        following = sentences[number + 1] if number + 1 < len(sentences) else []
        places = {place: wording for wording in reversed(wordings) for place in find(wording, words)}
        for (start, stop), wording in sorted(places.items()):
            sentence = " ".join(word.written for word in words if word.form != "\n")
            found.append(Mention(wording, _status(words, start, stop, following, wording), sentence))
    return found


def is_stated(text: str, wordings: Sequence[str]) -> bool:
    """Whether any mention of the wordings is stated."""
    return any(mention.status == "stated" for mention in mentions(text, wordings))


def _sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    sentence: list[Word] = []
    for word in words:
        sentence.append(word)
        if word.form in (".", ";", "!", "?", "\n"):
            yield sentence
            sentence = []
    if sentence:
        yield sentence


@functools.cache
def _by_first_word() -> dict[str, list[tuple[Cue, frozenset[str]]]]:
    kinds: dict[Cue, set[str]] = {}
    for kind, cues in table().items():
        for cue in cues:
            kinds.setdefault(cue, set()).add(kind)
    found: dict[str, list[tuple[Cue, frozenset[str]]]] = {}
    for cue, names in kinds.items():
        if cue[0] == "no" and "negates what precedes" in names:
            names.add("negates what follows")  # "no need" stands before and after what it denies
        if "ends backward" in names and {"no", "not"} & set(cue):
            names.add("negates what follows")
        found.setdefault(cue[0], []).append((cue, frozenset(names)))
    for entries in found.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return found


def _cues_in(words: Sequence[Word], start: int, stop: int) -> list[_Found]:
    """The cues of a sentence, longest first at each place, outside the mention itself."""
    forms = [word.form for word in words]
    index = _by_first_word()
    found: list[_Found] = []
    place = 0
    while place < len(forms):
        if start <= place < stop:
            place = stop
            continue
        for cue, kinds in index.get(forms[place], ()):
            end = place + len(cue)
            if tuple(forms[place:end]) == cue and not (place < start < end):
                found.append(_Found(kinds, place, end, cue))
                place = end
                break
        else:
            place += 1
    return found


def _status(words: Sequence[Word], start: int, stop: int, following: Sequence[Word], wording: str) -> Status:
    if words[-1].form == "?":
        answer = following[0].form if following else ""
        return "denied" if answer in ("no", "not", "never") else "stated" if answer == "yes" else "uncertain"
    cues = _cues_in(words, start, stop)
    negators = _negators(words, start, stop, cues) + _negators_inside(words[start:stop], wording)
    doubt = _reaches(words, start, stop, cues, "makes what follows uncertain") or _doubted_after(
        words, start, stop, cues
    )
    if _conditional(words, start, stop):
        return "uncertain"
    if _reaches(words, start, stop, cues, "is other"):
        return "other"
    if _is_past(words, start, stop, cues):
        return "past"
    if doubt:
        return "denied" if negators % 2 and not _also_negates(words, start, cues) else "uncertain"
    return "denied" if negators % 2 else "stated"


def _also_negates(words: Sequence[Word], start: int, cues: Sequence[_Found]) -> bool:
    """Whether a phrase such as ``rule out`` is read as an order to look, and not as a finding."""
    return any(
        cue.stop <= start and cue.cue in {("rule", "out"), ("exclude",)} and not _finding(words, cue) for cue in cues
    )


def _finding(words: Sequence[Word], cue: _Found) -> bool:
    before = words[cue.start - 1].form if cue.start else ""
    return before not in ("to", "", ":", ",", "and", "must", "should")


def _cut(words: Sequence[Word], cue: _Found, start: int, cues: Sequence[_Found]) -> bool:
    """Whether something between a cue and a later mention ends the cue's scope."""
    between = range(cue.stop, start)
    if start - cue.stop > REACH:
        return True
    if any("ends forward" in other.kinds and cue.stop <= other.start < start for other in cues):
        return True
    if any(words[place].form in (":", ")") for place in between):
        return True
    commas = [place for place in between if words[place].form == ","]
    opening = {"without", "instead", "rather", "in", "apart", "excluding", "considering"}
    if commas and cue.start == 0 and cue.cue[0] in opening:
        return True
    return _new_clause(words, cue.stop, start)


def _new_clause(words: Sequence[Word], place: int, start: int) -> bool:
    """Whether a comma or ``and`` before the mention begins a clause with a verb of its own."""
    joints = [at for at in range(place, start) if words[at].form in (",", "and")]
    if not joints or any(words[at].form in ("or", "nor") for at in range(place, len(words))):
        return False
    after = [word.form for word in words[start : start + NEAR + 2]]
    verb = next((at for at, form in enumerate(after) if form in FINITE or form == ","), None)
    if any(words[at].form in FINITE for at in range(joints[-1], start)):
        return True
    return verb is not None and after[verb] != "," and any(word in FINITE for word in after)


_RESTARTS = frozenset({"no", "nor", "neither"})


def _negators(words: Sequence[Word], start: int, stop: int, cues: Sequence[_Found]) -> int:
    """How many negators bear on the mention: two undo each other."""
    before = [cue for cue in cues if "negates what follows" in cue.kinds and cue.stop <= start]
    held: list[_Found] = []
    for cue in before:
        if "affirms" in cue.kinds or _cut(words, cue, start, cues):
            continue
        listed = cue.start and words[cue.start - 1].form in (",", "and", "or")
        if cue.cue[0] in _RESTARTS or (listed and cue.cue[0] in ("without", "not")):
            held = []
        held.append(cue)
    count = len(held)
    for cue in _after(words, stop, cues, "negates what precedes"):
        if cue.cue in {("not",), ("never",), ("no", "longer")} and not _of_the_verb(words, stop, cue):
            continue
        count += 1
    return count


def _negators_inside(words: Sequence[Word], wording: str) -> int:
    """Negators in the gaps of a wording: ``heart ... enlarged`` in "the heart is not enlarged"."""
    if "..." not in wording:
        return 0
    own = {word.form for word in read(wording)}
    return sum(
        cue.cue[0] not in own and "affirms" not in cue.kinds
        for cue in _cues_in(words, 0, 0)
        if {"negates what follows", "negates what precedes"} & cue.kinds
    )


_AFTER_A_PREDICATE = frozenset(
    {
        ".",
        ",",
        ";",
        ":",
        ")",
        "(",
        "!",
        "?",
        "and",
        "or",
        "but",
        "as",
        "because",
        "since",
        "in",
        "on",
        "at",
        "by",
        "with",
        "without",
        "for",
        "given",
        "here",
        "now",
        "this",
        "after",
        "before",
        "until",
        "to",
        "so",
        "if",
        "when",
        "although",
        "though",
        "while",
        "than",
        "from",
        "the",
        "a",
        "an",
        "of",
        "today",
        "yet",
        "either",
        "too",
        "that",
        "which",
    }
)
_ADVERBS = frozenset(
    {
        "very",
        "highly",
        "quite",
        "less",
        "more",
        "most",
        "rather",
        "extremely",
        "so",
        "too",
        "clearly",
        "best",
        "now",
        "therefore",
        "also",
        "all",
    }
)


def _is_predicate(words: Sequence[Word], stop: int, cue: _Found) -> bool:
    """Whether a one-word cue is said of the mention: a verb stands between, or nothing does, and no noun follows."""
    if len(cue.cue) > 1 or cue.cue[0] in ("not", "never"):
        return True
    between = [word.form for word in words[stop : cue.start]]
    joined = any(form in FINITE for form in between) or all(form in _ADVERBS for form in between)
    ends = cue.stop >= len(words) or words[cue.stop].form in _AFTER_A_PREDICATE or cue.cue[0].endswith("ed")
    return joined and ends


def _of_the_verb(words: Sequence[Word], stop: int, cue: _Found) -> bool:
    """Whether a ``not`` after the mention belongs to its verb: ``biopsy is not needed``."""
    if cue.start - stop > NEAR or not cue.start or words[cue.start - 1].form not in FINITE:
        return False
    return not any(words[place].form in (",", "(", ":", "and") for place in range(stop, cue.start))


def _after(words: Sequence[Word], stop: int, cues: Sequence[_Found], kind: str) -> Iterator[_Found]:
    """Cues of a kind behind the mention that still bear on it."""
    for cue in cues:
        if kind not in cue.kinds or cue.start < stop or "affirms" in cue.kinds:
            continue
        # "Thrombolysis: not recommended": a colon right behind the mention makes it a heading, and ends nothing.
        if cue.start - stop > REACH or any(words[place].form in (":", "(") for place in range(stop + 1, cue.start)):
            return
        if any("ends backward" in other.kinds and stop <= other.start < cue.start for other in cues):
            return
        if _is_predicate(words, stop, cue):
            yield cue


def _doubted_after(words: Sequence[Word], start: int, stop: int, cues: Sequence[_Found]) -> bool:
    if stop < len(words) and words[stop].form in ("could", "might"):
        return True
    return any(True for _ in _after(words, stop, cues, "makes what precedes uncertain"))


def _reaches(words: Sequence[Word], start: int, stop: int, cues: Sequence[_Found], kind: str) -> bool:
    for cue in cues:
        if kind in cue.kinds and cue.stop <= start:
            colon_only = cue.stop < len(words) and words[cue.stop].form == ":"
            # "Differential: a, b": the colon belongs to the cue.
            shifted = _Found(cue.kinds, cue.start, cue.stop + colon_only, cue.cue)
            if not _cut(words, shifted, start, cues):
                return True
    return False


def _is_past(words: Sequence[Word], start: int, stop: int, cues: Sequence[_Found]) -> bool:
    for cue in cues:
        if "is past" in cue.kinds and cue.stop <= start and start - cue.stop <= NEAR:
            shifted = _Found(cue.kinds, cue.start, cue.stop + (words[cue.stop].form == ":"), cue.cue)
            if not _cut(words, shifted, start, cues):
                return True
    if any(cue.start - stop <= NEAR for cue in _after(words, stop, cues, "was past")):
        return True
    if any(re.fullmatch(r"(?:19|20)\d\d", word.form) for word in words[stop : stop + 3]):
        return True
    return any(cue.cue == ("ago",) for cue in cues)


def _conditional(words: Sequence[Word], start: int, stop: int) -> bool:
    """Whether the mention stands in an if-clause, or in a clause that only would follow from one."""
    forms = [word.form for word in words]
    opened = next((at for at, form in enumerate(forms) if form in ("if", "unless")), None)
    if opened is None and forms[0] == "should" and "," in forms:
        opened = 0
    if opened is None or tuple(forms[opened + 1 : opened + 3]) == ("not", "already"):
        return False
    closed = next((at for at in range(opened, len(forms)) if forms[at] in (",", "then")), len(forms))
    if opened < start < closed:
        return True
    if opened > 0 and forms[opened - 1] == "even":
        return False
    clause = forms[closed:] if closed <= start else forms[:opened]
    return any(form in ("would", "could", "might", "may") for form in clause)
