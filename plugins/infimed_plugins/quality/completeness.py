"""Dimension ``completeness``: the text is whole, well-formed and not a leftover."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections import Counter
from functools import cache

from infimed_plugins.quality.profile import Profile
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.texts import Texts, word_list, words_of

_MARKUP = re.compile(
    r"</?[a-zA-Z][^<>]{0,80}>|&(?:amp|lt|gt|nbsp|quot|#\d+);|\\(?:cite|ref|begin|end|textbf|textit|label)\{|\[\[|\]\]|\{\{|\}\}"
    r"|\[(?:bib|ref|xref|fig)[^\]]*\]|\*\*|^#{1,6} |```|!\[",
    re.MULTILINE,
)
_PLACEHOLDER = re.compile(
    r"^\W*(?:lorem ipsum.*|todo|tbd|n/?a|none|null|nan|caption|placeholder|image|untitled|see text|"
    r"fig(?:ure)?\.? *\d*[a-z]?\W*(?:see text)?|https?://\S+|\S+\.(?:png|jpe?g|dcm|tiff?))\W*$",
    re.IGNORECASE | re.DOTALL,
)
_OPTION = re.compile(r"^[(\[]?[A-Z][.):\]]+\s+(?=\S)")
_NAMES = re.compile(r"\S+@\S+|https?://\S+|(?<=[a-z0-9,] )[A-Z][a-z]+\b")
"""Addresses and proper nouns, whose letters follow no rule that a list of words could teach."""
_DANGLING = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "with",
        "without",
        "and",
        "or",
        "but",
        "for",
        "from",
        "by",
        "as",
        "is",
        "are",
        "was",
        "were",
        "be",
        "which",
        "that",
        "than",
        "this",
        "these",
        "no",
        "into",
        "between",
        "shows",
        "showing",
    ]
)
_SMALL = frozenset(
    ["a", "an", "the", "of", "in", "on", "at", "with", "for", "from", "and", "or", "is", "are", "to", "by"]
)
_MAY_FOLLOW = {
    "of": frozenset(["the", "a", "an"]),
    "in": frozenset(["the", "a", "an"]),
    "on": frozenset(["the", "a", "an"]),
    "at": frozenset(["the", "a", "an"]),
    "with": frozenset(["the", "a", "an"]),
    "for": frozenset(["the", "a", "an"]),
    "from": frozenset(["the", "a", "an", "in"]),
    "and": frozenset(["the", "a", "an", "of", "in", "on", "at", "with", "for", "from", "is", "are", "to", "by"]),
    "or": frozenset(["the", "a", "an", "in", "on", "of", "at", "with", "from", "by", "to"]),
    "is": frozenset(["the", "a", "an", "in", "on", "at", "of", "for", "from", "with", "to", "by"]),
    "are": frozenset(["the", "in", "on", "of", "at", "from", "to", "with", "by", "for"]),
    "to": frozenset(["the", "a", "an"]),
    "by": frozenset(["the", "a", "an"]),
}
"""Which small words may stand right behind which; two small words that are not here have lost a word between them."""


def completeness(texts: Texts, profile: Profile) -> tuple[float, list[Reason], dict[str, float]]:
    """Completeness in [0, 1]: the product of one factor for each fault found. Every turn is looked at."""
    answer = texts.answer.strip()
    if not any(text.strip() for text in texts.answers):
        return 0.0, [Reason.TEXT_EMPTY], {}
    factors: dict[Reason, float] = {}

    def lower(reason: Reason, factor: float) -> None:
        factors[reason] = min(factors.get(reason, 1.0), factor)

    if not all(text.strip() for text in texts.answers):
        lower(Reason.TEXT_EMPTY, 0.2)
    if not texts.is_caption and not any(text.strip() for text in texts.questions):
        lower(Reason.QUESTION_EMPTY, 0.3)
    words = words_of(answer)
    _judge_length(texts, answer, words, profile, lower)
    mojibake = max(mojibake_share(text) for text in (texts.everything,))
    if mojibake > 0:
        lower(Reason.TEXT_MOJIBAKE, 0.4 / (1.0 + 10.0 * mojibake))
    garbled = garbled_share(words_of(_NAMES.sub(" ", answer)))
    soft_factor = 1.0
    if garbled > 0:  # one strange word may be a rare term, so it lowers a little and names no reason
        soft = 1.0 - 1.5 * garbled
        if garbled > 0.3:
            lower(Reason.TEXT_GARBLED, max(0.05, min(0.45, soft)))
        else:
            soft_factor = soft
    options = {without_label(option).casefold() for option in texts.options}
    for text in (without_label(text) for text in texts.answers):
        # An option is whole as it stands, without a full stop.
        if text.casefold() not in options and (cut := truncation(text, texts.is_caption)) < 1.0:
            lower(Reason.TEXT_TRUNCATED, cut)
    if marks := len(_MARKUP.findall(texts.answer)):
        lower(Reason.TEXT_MARKUP, 0.45 / marks**0.5)
    repeated = repeated_share(answer, words)
    if repeated > 0.3:
        lower(Reason.TEXT_REPEATED, max(0.05, 0.8 - repeated))
    if wrong := sum(wrong_pairs(text) for text in texts.answers):
        lower(Reason.TEXT_WORDS_MISSING, 0.45**wrong)
    if any(_PLACEHOLDER.match(text) for text in texts.answers) and texts.is_caption:
        lower(Reason.TEXT_PLACEHOLDER, 0.2)
    raw = {
        "num_words": float(len(words)),
        "mojibake_share": round(mojibake, 4),
        "garbled_share": round(garbled, 4),
        "repeated_share": round(repeated, 4),
    }
    return soft_factor * math.prod(factors.values()), list(factors), raw


def _judge_length(texts: Texts, answer: str, words: list[str], profile: Profile, lower: object) -> None:
    prior = profile.lengths["caption" if texts.is_caption else "answer"]
    num_words = len(answer.split())
    if num_words < prior.least:
        lower(Reason.TEXT_TOO_SHORT, 0.2 + 0.25 * num_words / prior.least)  # type: ignore[operator]
    if num_words > prior.most:
        lower(Reason.TEXT_TOO_LONG, 0.45)  # type: ignore[operator]


def mojibake_share(text: str) -> float:
    """Share of characters that are a broken encoding's leavings."""
    import ftfy.badness

    if text.isascii() and not any(ord(mark) < 32 and mark not in "\n\r\t" for mark in text):
        return 0.0
    broken = sum(mark == "�" or (ord(mark) < 32 and mark not in "\n\r\t") or 0x80 <= ord(mark) < 0xA0 for mark in text)
    return (broken + ftfy.badness.badness(text)) / max(len(text), 1)


def without_label(text: str) -> str:
    """The text without the letter of an option before it ("B. Right lower lobe"), whose full stop ends no sentence."""
    return _OPTION.sub("", text.strip())


def truncation(text: str, is_caption: bool = True) -> float:
    """1 where a text ends as a text may, 0.4 where its end is missing; how much is missing, no text can tell."""
    text = text.strip()
    words = text.split()
    if len(words) < 4:
        return 1.0
    opened = text.count("(") - text.count(")")
    last = words[-1]
    if re.search(r"[.!?:;)\]\"'”’%。！？]$", text):
        return 0.4 if text.endswith((":", ";")) or opened > 0 else 1.0
    if last.lower().strip(",-") in _DANGLING or last.endswith((",", "-", "–", "/")) or opened > 0:
        return 0.4
    if any(mark in text[:-1] for mark in ".!?") or len(words) >= 8:
        return 0.4  # sentences before it end with a mark and this one does not
    return 0.7 if is_caption else 1.0


def repeated_share(answer: str, words: list[str]) -> float:
    """Share of words inside word triples seen before; for long texts also how far deflate shrinks them."""
    if len(words) < 6:
        return 0.0
    triples = Counter(zip(words, words[1:], words[2:], strict=False))
    share = sum(count - 1 for count in triples.values()) / max(1, len(words) - 2)
    if len(answer) > 400:
        shrunk = len(zlib.compress(answer.encode("utf-8", "replace"))) / len(answer)
        share = max(share, 1.0 - shrunk / 0.25)
    return max(0.0, share)


def wrong_pairs(text: str) -> int:
    """How many neighbours in a text cannot stand side by side."""
    words = words_of(text)
    return sum(pair_is_wrong(a, b) for a, b in itertools.pairwise(words))


def pair_is_wrong(first: str, second: str) -> bool:
    """Whether two small words cannot stand side by side: one between them is missing."""
    if first == second and first in _DANGLING:
        return True
    return first in _SMALL and second in _SMALL and second not in _MAY_FOLLOW.get(first, frozenset())


@cache
def _letter_pairs() -> dict[str, float]:
    """Log-likelihood ratio to chance of every letter triple in the words that this package ships."""
    counts: Counter[str] = Counter()
    for entry in (*word_list("medical_terms.txt"), *word_list("common_words.txt")):
        for word in entry.split():
            padded = f"^{word}$"
            counts.update(padded[i : i + 3] for i in range(len(padded) - 2))
    return {triple: math.log(count + 1) for triple, count in counts.items()}


@cache
def _known_words() -> frozenset[str]:
    entries = (*word_list("medical_terms.txt"), *word_list("common_words.txt"))
    return frozenset(word for entry in entries for word in re.split(r"[\s-]+", entry))


def garbled_share(words: list[str]) -> float:
    """Share of the long words whose letters do not follow one another as in any word we know."""
    long = [word for word in words if len(word) >= 4 and word.isascii() and "-" not in word and "'" not in word]
    if len(long) < 2:
        return 0.0
    return sum(_is_garbled(word) for word in long) / len(long)


@cache
def _is_garbled(word: str) -> bool:
    if word in _known_words():
        return False
    table = _letter_pairs()
    padded = f"^{word}$"
    triples = [padded[i : i + 3] for i in range(len(padded) - 2)]
    return sum(triple not in table for triple in triples) / len(triples) >= 0.4
