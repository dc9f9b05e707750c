"""Clinical text as comparable words: spelling, number, staging and word forms evened out; wordings found in it."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_GAP = 6
"""Most words that ``...`` in a wording stands for."""

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5"}
_CONTRACTED = (
    (re.compile(r"\bcan(?:no|')t\b", re.I), "can not"),
    (re.compile(r"\bwon't\b", re.I), "will not"),
    (re.compile(r"n't\b", re.I), " not"),
    (re.compile(r"'(?:d)\b", re.I), " would"),
    (re.compile(r"'(?:ll)\b", re.I), " will"),
    (re.compile(r"'(?:s|re|ve|m)\b", re.I), ""),
    (re.compile(r"\b(?:e\.\s?g|i\.\s?e|vs|dr|mrs|mr|approx|resp)\.", re.I), " "),
    (re.compile(r"\br/o\b", re.I), "rule out"),
    (re.compile(r"\bs/p\b", re.I), "status post"),
    (re.compile(r"\bh/o\b", re.I), "history of"),
)
_TNM = re.compile(
    r"\b(?:y?[cprm])?(T(?:is|x|[0-4][a-d]?))[\s,]*[cp]?(N(?:x|[0-3][a-c]?))(?:[\s,]*[cp]?(M(?:x|[01][a-c]?)))?(?![A-Za-z0-9])"
)
_ONE_OF_TNM = re.compile(r"\b(?:y?[cpr])(T(?:is|x|[0-4][a-d]?)|N(?:x|[0-3][a-c]?)|M(?:x|[01][a-c]?))(?![A-Za-z0-9])")
_WORD = re.compile(r"\d+(?:[.,]\d+)+|\d+|[^\W\d_]+(?:\d+[^\W\d_]*)*|[.;:,?!()]|\n")
_UNIT = re.compile(r"(?<=\d)(?=(?:mg|mcg|g|kg|ml|l|mm|cm|h|d|iu|units?|gy|weeks?|days?|months?|years?)\b)", re.I)
_KEPT = frozenset(
    {
        "as",
        "is",
        "his",
        "this",
        "was",
        "has",
        "does",
        "its",
        "us",
        "plus",
        "less",
        "unless",
        "previous",
        "various",
        "serious",
    }
)
_PLURALS_IN_ASES = frozenset(
    {"diseases", "cases", "doses", "gases", "phases", "increases", "decreases", "releases", "nurses", "bases"}
)


@dataclass(frozen=True)
class Word:
    """A word or mark of a text: evened out for comparing, and as it was written."""

    form: str
    written: str

    @property
    def is_mark(self) -> bool:
        """Whether it is punctuation or a line's end."""
        return not self.form[0].isalnum()


@functools.lru_cache(maxsize=50_000)
def even(word: str) -> str:
    """One form for a word's spellings and numbers: ``tumours``, ``tumor``; ``metastases``, ``metastasis``."""
    form = word.casefold()
    if form in _NUMBERS:
        return _NUMBERS[form]
    if not form.isalpha() or len(form) < 3 or form in _KEPT:
        return form
    if len(form) > 4:
        form = re.sub(r"(?<=[bcdfghlmnprst])(?:ae|oe)(?=[a-z])|^(?:ae|oe)(?=[dst])", "e", form)
        form = re.sub(r"our(?=$|s$|ed$|ing$|able$|al$)", "or", form)
        form = re.sub(r"is(?=ation|ations$|e$|ed$|es$|ing$)", "iz", form) if form.endswith(_ISE) else form
        form = form.replace("yse", "yze")
    if form.endswith(("ases", "oses", "eses", "yses")) and form not in _PLURALS_IN_ASES:
        return form[:-2] + "is"
    if form.endswith(("ies", "ied")) and len(form) > 4:
        return form[:-3] + "y"
    if form.endswith(("sses", "xes", "ches", "shes")):
        return form[:-2]
    if form.endswith("s") and not form.endswith(("ss", "us", "is")) and len(form) > 3:
        return form[:-1]
    return form


_ISE = ("isation", "isations", "ise", "ised", "ises", "ising")


def read(text: str) -> list[Word]:
    """The words and marks of a text, in order. Hyphens and slashes part words; ``cT3N1M0`` becomes ``T3 N1 M0``."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    for pattern, replacement in _CONTRACTED:
        text = pattern.sub(replacement, text)
    text = _TNM.sub(lambda m: " ".join(part for part in m.groups() if part), text)
    text = _ONE_OF_TNM.sub(r"\1", text)
    text = _UNIT.sub(" ", text)
    words: list[Word] = []
    for match in _WORD.finditer(text):
        written = match.group()
        form = even(written)
        if words and words[-1].form in ("stage", "grade", "class", "type"):
            form = _numbered(written) or form
        words.append(Word(form, written))
    return words


def _numbered(written: str) -> str | None:
    """``IIIB`` as ``3b``; ``None`` where it is no Roman number."""
    match = re.fullmatch(r"(iv|v|i{1,3})([a-d]?\d?)", written.casefold())
    return _ROMAN[match.group(1)] + match.group(2) if match else None


@dataclass(frozen=True)
class _Piece:
    form: str
    is_prefix: bool
    capitals: str = ""

    def fits(self, word: Word, after: str) -> bool:
        if self.capitals and word.written not in (self.capitals, self.capitals + "s"):
            return False
        if self.is_prefix:
            return word.form.startswith(self.form)
        if word.form == self.form:
            return True
        # A stage names its parts: IIIB is stage III, T4a is T4.
        part = word.form[len(self.form) :] if word.form.startswith(self.form) else ""
        is_stage = re.fullmatch(r"[tnm]\d", self.form) or (self.form.isdigit() and after in ("stage", "grade"))
        return bool(is_stage and re.fullmatch(r"[a-d]\d?", part))


@functools.lru_cache(maxsize=20_000)
def _pieces(wording: str) -> tuple[tuple[_Piece, ...], ...]:
    """The runs of a wording between its gaps."""
    runs = []
    for run in wording.split("..."):
        pieces: list[_Piece] = []
        for part in run.split():
            is_prefix = part.endswith("*")
            words = [word for word in read(part.rstrip("*")) if not word.is_mark]
            for number, word in enumerate(words):
                written = word.written
                capitals = written if written.isalpha() and written.isupper() and 2 <= len(written) <= 4 else ""
                last = number == len(words) - 1
                form = written.casefold() if is_prefix and last else word.form
                if pieces and pieces[-1].form in ("stage", "grade", "class", "type") and _numbered(written):
                    form, capitals = _numbered(written) or form, ""
                pieces.append(_Piece(_stem(form) if is_prefix and last else form, is_prefix and last, capitals))
        if pieces:
            runs.append(tuple(pieces))
    return tuple(runs)


def _stem(start: str) -> str:
    """The beginning of a word in the spelling of ``even``, without its rules for word ends."""
    return re.sub(r"(?<=[bcdfghlmnprst])(?:ae|oe)(?=[a-z])", "e", start) if len(start) > 4 else start


def find(wording: str, words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Where a wording stands: (start, stop) of each place, within one sentence.

    ``*`` at a word's end stands for any ending, ``...`` for up to six words. A wording of two to four capitals
    (``PE``) is found in capitals only.
    """
    runs = _pieces(wording)
    if not runs:
        return
    for start in range(len(words)):
        stop = _run_at(runs[0], words, start)
        for run in runs[1:]:
            if stop is None:
                break
            stop = _next_run(run, words, stop)
        if stop is not None:
            yield start, stop


def _run_at(run: tuple[_Piece, ...], words: Sequence[Word], start: int) -> int | None:
    if start + len(run) > len(words):
        return None
    for offset, piece in enumerate(run):
        place = start + offset
        if not piece.fits(words[place], words[place - 1].form if place else ""):
            return None
    return start + len(run)


def _next_run(run: tuple[_Piece, ...], words: Sequence[Word], stop: int) -> int | None:
    for gap in range(MAX_GAP + 1):
        if stop + gap >= len(words) or words[stop + gap].form in (".", ";", "!", "?", "\n"):
            return None
        found = _run_at(run, words, stop + gap)
        if found is not None:
            return found
    return None
