"""Open answers whose reference is a number, or a number with a unit."""

from __future__ import annotations

import math
import re

from infimed_plugins.medevalkit.answers.numbers import number_of, numbers_in
from infimed_plugins.medevalkit.answers.other_values import FILLERS
from infimed_plugins.medevalkit.answers.quantities import Quantity, quantities_in
from infimed_plugins.medevalkit.answers.sentences import read_sentences
from infimed_plugins.medevalkit.answers.values import NUMBERS
from infimed_plugins.medevalkit.answers.verdicts import NEEDS_JUDGE, Verdict
from infimed_plugins.medevalkit.answers.vocabulary import words_of

_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?(?:%|percent\b|per cent\b)")


def as_share(wanted: float, text: str) -> str:
    """The text with percentages as shares ("50%" as 0.5) where the reference is one."""
    if not 0 < wanted < 1:
        return text
    return _PERCENT.sub(lambda found: repr(float(found[1]) / 100), text)


_SPELT = "|".join(NUMBERS)
_DENIED_NUMBER = re.compile(
    r"\b(?:not|no|never|rather than|instead of)(?: (?:exactly|just|about))? "
    rf"(?:\d[\d.,]*(?<![.,])|(?:{_SPELT})\b)(?!(?:st|nd|rd|th)\b)",
    re.IGNORECASE,
)
_DOUBTFUL = re.compile(
    r"\b(?:may|might|could|possibly|perhaps|maybe|unclear|uncertain|cannot be (?:excluded|ruled out)|not sure)\b", re.I
)


def grade_number(wanted: float, text: str, question: str) -> Verdict:
    """The verdict on a number: the only one said, the one concluded, or how many there are of what is counted."""
    found = numbers_in(_DENIED_NUMBER.sub("", text))
    if not found and numbers_in(text):
        denied = any(math.isclose(value, wanted, rel_tol=1e-9) for value in numbers_in(text))
        return Verdict(False if denied else None, "" if denied else NEEDS_JUDGE, read=text[:200])
    same = [
        value
        for value in found
        if math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-9) or round(value, 2) == round(wanted, 2)
    ]
    distinct = set(found)
    read = text[:200]
    saying = [one for one in read_sentences(text) if set(same) & set(numbers_in(one.text))] if same else []
    if saying and all(one.asked or _DOUBTFUL.search(one.text) for one in saying):
        return Verdict(None, NEEDS_JUDGE, read=read)
    if same and (len(distinct) == 1 or set(_concluded(text)) == set(same)):
        return Verdict(True, read=read, statement=text[:300])
    if len(distinct) > 1 and (counted := _counted(text, question)):
        return Verdict(counted == set(same), read=read, statement=text[:300])
    if not found:
        denied = re.search(r"\b(?:no|none|zero|not any)\b", text, re.IGNORECASE)
        if denied:
            return Verdict(wanted == 0, read=read)
        if re.search(r"\b(?:both|pair|couple)\b", text, re.IGNORECASE):
            return Verdict(wanted == 2, read=read)
        if re.search(r"\bsingle\b", text, re.IGNORECASE):
            return Verdict(wanted == 1, read=read)
        return Verdict(None, NEEDS_JUDGE, read=read)
    return Verdict(None, NEEDS_JUDGE, read=read) if same else Verdict(False, read=read)


_CONCLUDES = re.compile(r"\b(?:so|thus|therefore|hence|equals|in total|a total of)\b|[=≈∴]|因此|所以|共", re.IGNORECASE)
_COPULA = re.compile(r"\b(?:is|are|was|equals|be|has|have|gives|makes)\b|[=≈:是]", re.IGNORECASE)


def _concluded(text: str) -> list[float]:
    """The numbers that a conclusion comes to: what follows its last "is" or its like."""
    found = list(_CONCLUDES.finditer(text))
    if not found:
        return []
    rest = text[found[-1].end() :]
    copulas = list(_COPULA.finditer(rest))
    return numbers_in(rest[copulas[-1].end() :] if copulas else rest)


def _counted(text: str, question: str) -> set[float]:
    """How many there are of what the question counts: "2 kidneys: one on the left and one on the right"."""
    if not re.search(r"\bhow many\b|\bnumber of\b", question, re.IGNORECASE):
        return set()
    asked = [re.escape(word) for word in words_of(question) if len(word) > 3 and word not in FILLERS]
    near = rf"\b(\d+|{'|'.join(NUMBERS)}) (?:\w+ ){{0,2}}?(?:{'|'.join(asked)})" if asked else r"(?!)"
    return {value for one in re.findall(near, text, re.IGNORECASE) if (value := number_of(one)) is not None}


def grade_quantity(wanted: Quantity, text: str) -> Verdict | None:
    """A number with its unit, in whichever unit; ``None`` where the answer has none of the kind."""
    found = [one for one in quantities_in(text) if one.kind == wanted.kind]
    if not found:
        return None
    same = [math.isclose(one.value, wanted.value, rel_tol=1e-6) for one in found]
    if any(same) and not all(same):
        return Verdict(None, NEEDS_JUDGE, read=text[:200])
    return Verdict(all(same), read=text[:200], statement=text[:300])
