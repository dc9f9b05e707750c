"""Reading an answer: by normalised exact match, by letter, by option text, by yes or no."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from infimed_core import Answer, Sample, Score

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "–—’“”", " "))
_LEAD = re.compile(
    r"^(?:(?:the\s+)?(?:correct\s+|final\s+)?(?:answer|option|choice)(?:\s+is)?)\s*[:=]?\s*", re.IGNORECASE
)
_LETTER = re.compile(r"^[\s*_\"'`(\[]*([A-Za-z])[\s*_\"'`)\]]*(?:[.):,\]\-]+[\s*_]*(.*)|)$", re.DOTALL)


def normalise(text: str) -> str:
    """Casefold; punctuation and articles become nothing; single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split())


def read_letter(text: str, num_options: int) -> tuple[str | None, str]:
    """The letter an answer begins with and the text after it; (``None``, "") where it begins with none that is offered.

    Reads ``B``, ``b``, ``B.``, ``(B)``, ``**B**``, ``B) coronal``, ``Answer: B`` and ``The answer is B.``
    """
    stripped = text.strip()
    # A lone letter after a lead-in ("Option B") is read; the lead-in alone is not an answer.
    found = _LETTER.match(_LEAD.sub("", stripped, count=1))
    if found is None:
        return None, ""
    letter = found.group(1).upper()
    if not 0 <= ord(letter) - ord("A") < num_options:
        return None, ""
    return letter, (found.group(2) or "").strip()


def read_yes_no(text: str) -> str | None:
    """``yes`` or ``no`` where exactly one of the two words stands in the answer."""
    words = set(normalise(text).split())
    said = words & {"yes", "no"}
    return said.pop() if len(said) == 1 else None


def _unscored(reason: str, note: str) -> Score:
    return Score(value=None, status="unscored", reasons=(reason,), note=note)


def _graded(right: bool, note: str) -> Score:
    return Score(value=1.0 if right else 0.0, note=note)


def _option(text: str, options: Sequence[str]) -> str | None:
    plain = normalise(text)
    return next((option for option in options if normalise(option) == plain), None)


def _grade_letter(sample: Sample, text: str) -> Score:
    letter, rest = read_letter(text, len(sample.options))
    if letter is None:
        option = _option(_LEAD.sub("", text.strip(), count=1), sample.options)
        if option is None:
            return _unscored("no_letter", text)
        return _graded(normalise(option) == normalise(sample.references[1]), option)
    named = _option(rest, sample.options) if rest else None
    if named is not None and named != sample.options[ord(letter) - ord("A")]:
        return _unscored("contradiction", text)
    return _graded(letter == sample.references[0], letter)


def grade(sample: Sample, answer: Answer) -> Score:
    """1 for a right answer, 0 for a wrong one that could be read, ``None`` with a reason for one that could not."""
    if answer.text is None:
        return _unscored("model_error", answer.error or "")
    if not answer.text.translate(_PUNCTUATION).strip():
        return _unscored("empty_answer", answer.text)
    form = sample.tags.get("form", "open")
    if form == "option-letter":
        return _grade_letter(sample, answer.text)
    if form == "yes-no":
        said = read_yes_no(answer.text)
        return _unscored("no_yes_no", answer.text) if said is None else _graded(said == sample.references[0], said)
    plain = normalise(_LEAD.sub("", answer.text.strip(), count=1))
    return _graded(plain in {normalise(reference) for reference in sample.references}, plain)
