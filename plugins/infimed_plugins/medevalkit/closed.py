"""Reading closed answers (yes or no, or a short fixed answer) and measuring open ones."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

from infimed_plugins.medevalkit.overlap import bleu, rouge, token_overlap
from infimed_plugins.medevalkit.reading import after_label, final_answer, is_refusal, normalise, short_answer, tokens

YES = frozenset({"yes", "是", "是的", "对", "有", "存在", "正确"})
NO = frozenset({"no", "否", "不是", "不", "没有", "无", "不存在", "错", "不对", "不正确", "没"})
POLAR_GOLDS = frozenset({"yes", "no", "是", "否", "是的", "不是", "有", "没有", "存在", "不存在", "对", "不对"})

_CHINESE = "|".join(sorted(YES | NO, key=len, reverse=True)).replace("yes|", "").replace("|no", "")
_FIRST = re.compile(
    rf"^[\W_]*(?P<word>yes\b|no\b(?!\s+(?:idea|way\s+to|answer))|(?:{_CHINESE})(?=[\W_]|$|的)|是的|不是)", re.IGNORECASE
)
_LAST = re.compile(r"(?:^|[\n.:,;。,:;]\s*|\bis\s+)(?P<word>yes|no|是|否)[\W_]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """Right, wrong, or ``None`` where the response cannot be read, and why; ``read`` is the answer as read."""

    right: bool | None
    reason: str = ""
    read: str = ""


def is_polar(gold: str) -> bool:
    """Whether the accepted answer is a yes or a no, in English or Chinese."""
    return normalise(gold) in POLAR_GOLDS


def read_polar(response: str | None) -> tuple[str, str]:
    """("yes" | "no" | "", reason): by whole words at the beginning, after a label or as the last word.

    A "no" inside a sentence ("no fracture is seen") denies something, but not necessarily what was asked: unread.
    """
    reading = final_answer(response)
    if reading.text is None:
        parts = {_polar(part) for part in reading.parts}
        return (next(iter(parts)), "") if len(parts) == 1 and "" not in parts else ("", reading.reason)
    if read := _polar(reading.text):
        return read, ""
    return "", "refusal" if is_refusal(reading.text) else "unreadable"


def _polar(text: str) -> str:
    labelled = after_label(text)
    for part in (labelled, text) if labelled is not text else (text,):
        for pattern in (_FIRST, _LAST):
            if found := pattern.search(part.strip()):
                return "yes" if found["word"].casefold() in YES else "no"
    return ""


def grade_polar(gold: str, response: str | None) -> Verdict:
    """Whether the yes or no read equals the gold's, in either language."""
    read, reason = read_polar(response)
    if not read:
        return Verdict(None, reason)
    return Verdict(read == ("yes" if normalise(gold) in YES else "no"), read=read)


def grade_closed(gold: str, response: str | None) -> Verdict:
    """Equality of normalised short answers. What comes near without being equal is for a judge: ``near_miss``.

    Near is: one answer is made of the other's words and more, or begins with the other ("MR" and "MRI").
    """
    if is_polar(gold):
        return grade_polar(gold, response)
    reading = final_answer(response)
    if reading.text is None:
        return Verdict(None, reading.reason)
    given, wanted = short_answer(reading.text), normalise(gold)
    if given == wanted:
        return Verdict(True, read=given)
    if is_refusal(reading.text):
        return Verdict(None, "refusal")
    if _near(given, wanted):
        return Verdict(None, "near_miss", read=given)
    return Verdict(False, read=given)


def _near(given: str, wanted: str) -> bool:
    ours, theirs = Counter(tokens(given)), Counter(tokens(wanted))
    if ours <= theirs or theirs <= ours:
        return True
    return given.isalpha() and wanted.isalpha() and (given.startswith(wanted) or wanted.startswith(given))


def open_measures(gold: str, response: str | None) -> dict[str, float]:
    """Exact match, token precision, recall and F1 (repeats counted), BLEU and ROUGE of normalised words.

    Chinese is taken character by character. All zero where there is no answer. BLEU of orders longer than
    the shorter text is left as nltk counts it (about zero).
    """
    reading = final_answer(response)
    given = short_answer(reading.text) if reading.text is not None else ""
    wanted = normalise(gold)
    ours, theirs = tokens(given), tokens(wanted)
    values = {"em": float(bool(given) and given == wanted)}
    values |= token_overlap(Counter(theirs), Counter(ours))
    values |= dict(zip(("bleu1", "bleu2", "bleu3", "bleu4"), bleu(theirs, ours), strict=True))
    try:
        rouges = rouge(" ".join(theirs), " ".join(ours))
    except ValueError:
        rouges = (0.0, 0.0, 0.0)
    return values | dict(zip(("rouge1", "rouge2", "rougel"), rouges, strict=True))


def open_reason(response: str | None) -> str:
    """Why an open answer cannot be graded; "" where it can."""
    reading = final_answer(response)
    if reading.text is None:
        return reading.reason
    return "refusal" if is_refusal(reading.text) else ""


def grade_mmmu_open(gold: str | list[str], response: str | None) -> Verdict:
    """MMMU's open questions: equal numbers (to two decimals) or an accepted answer stated in so many words."""
    reading = final_answer(response)
    if reading.text is None:
        return Verdict(None, reading.reason)
    given = short_answer(reading.text)
    golds = [gold] if isinstance(gold, str) else list(gold)
    numbers = _numbers(after_label(reading.text))
    for accepted in golds:
        wanted = _number(accepted)
        if wanted is None:
            text = normalise(accepted)
            if given == text or (len(text) > 1 and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", given)):
                return Verdict(True, read=given)
        elif len(numbers) == 1 and math.isclose(round(wanted, 2), round(next(iter(numbers)), 2), abs_tol=1e-9):
            return Verdict(True, read=given)
    if is_refusal(reading.text):
        return Verdict(None, "refusal")
    if len(numbers) > 1 and any(_number(accepted) in numbers for accepted in golds):
        return Verdict(None, "several_answers", read=given)
    return Verdict(False, read=given)


def _numbers(text: str) -> set[float]:
    found = re.findall(
        r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?", text, re.IGNORECASE
    )
    return {float(number.replace(",", "")) for number in found}


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
