"""Dimension ``completeness``: the text is whole, well-formed and not a leftover."""

from __future__ import annotations

import math
import operator
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

from infimed_plugins.quality.languages import language_of
from infimed_plugins.quality.profile import Profile
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.remembered import Remembered
from infimed_plugins.quality.texts import Texts, word_list, words_of

_MARKUP = re.compile(
    r"</?[a-zA-Z][^<>]{0,80}>|&(?:amp|lt|gt|nbsp|quot|#\d+);|\\(?:cite|ref|begin|end|textbf|textit|label)\{|\[\[|\]\]|\{\{|\}\}"
    r"|\[(?:bib|ref|xref|fig)[^\]]*\]|\*\*|^#{1,6} |```|!\[",
    re.MULTILINE,
)
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x80-\x9f\ufffd]")
_MAY_BE_MARKUP = re.compile(r"[<&\\\[\]{}*#`!]")
_PLACEHOLDER = re.compile(
    r"^\W*(?:lorem ipsum.*|todo|tbd|n/?a|none|null|nan|caption|placeholder|image|untitled|see text|x{3,}|"
    r"(?:please )?(?:insert|enter|add|type|put|fill in)\b[^.\n]{0,60}\bhere|"
    r"to be (?:added|determined|completed|written)|"
    r"(?:your |dummy |sample )?(?:text|caption|description|report) (?:here|goes here)|"
    r"fig(?:ure)?\.? *\d*[a-z]?\W*(?:see text)?|https?://\S+|\S+\.(?:png|jpe?g|dcm|tiff?))\W*$",
    re.IGNORECASE | re.DOTALL,
)
_OPTION = re.compile(r"^[(\[]?[A-Z][.):\]]+\s+(?=\S)")
_NAMES_ALONE = re.compile(r"https?://\S+|(?<=[a-z0-9,] )[A-Z][a-z]+\b")
_NAMES = re.compile(rf"\S+@\S+|{_NAMES_ALONE.pattern}")
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
_WORD_LOST = re.compile(
    r"(?<![\w/.-])(?:(?:an?|the) (?:of|in|on|at|with|for|from|and|or|is|are|to|by)|of (?:in|on|with|for|from|and|or"
    r"|is|are|by)"
    r"|(of|in|on|at|with|for|from|and|or|the|to|by) \1|(?:and|with) (?:is|are))(?![\w/'’-])"
)
"""Small words that cannot stand side by side: one between them is missing."""


FLAG = 0.5
LEAST_GARBLED = 3
"""Fewer strange words may be rare terms."""


def completeness(texts: Texts, profile: Profile) -> tuple[float | None, list[Reason], dict[str, float]]:
    """Completeness in [0, 1]: the product of one factor for each fault found. Every turn is looked at.

    ``None`` where nothing is wrong that can be seen in any language, and the language is not one of the rules'.
    """
    answer = texts.answer.strip()
    if not answer:
        return 0.0, [Reason.TEXT_EMPTY], {}
    factors: dict[Reason, float] = {}

    def lower(reason: Reason, factor: float) -> None:
        factors[reason] = min(factors.get(reason, 1.0), factor)

    if len(texts.answers) > 1 and not all(map(str.strip, texts.answers)):
        lower(Reason.TEXT_EMPTY, 0.2)
    if not texts.is_caption and not any(map(str.strip, texts.questions)):
        lower(Reason.QUESTION_EMPTY, 0.3)
    words = words_of(answer)
    foreign = language_of(texts) is not None
    if not foreign:
        _judge_length(texts, answer, words, profile, lower)
    mojibake = mojibake_share(texts.everything)
    if mojibake > 0:
        lower(Reason.TEXT_MOJIBAKE, 0.4 / (1.0 + 10.0 * mojibake))
    num_garbled, num_long = _num_garbled(words_of(_without_names(answer)))
    garbled = num_garbled / num_long if num_long > 1 else 0.0
    soft_factor = 1.0
    if garbled > 0 and not foreign:  # one strange word may be a rare term, so it lowers a little and names no reason
        soft = 1.0 - 1.5 * garbled
        if garbled > 0.3 and num_garbled >= LEAST_GARBLED:
            lower(Reason.TEXT_GARBLED, max(0.05, min(0.45, soft)))
        else:
            soft_factor = max(0.85 if num_garbled == 1 else 0.55, soft)
    options = {without_label(option).casefold() for option in texts.options} if texts.options else ()
    for text in () if foreign else map(without_label, texts.answers):
        # An option is whole as it stands, without a full stop.
        if options and text.casefold() in options:
            continue
        cut = truncation(text, texts.is_caption)
        if cut < FLAG:
            lower(Reason.TEXT_TRUNCATED, cut)
        else:
            soft_factor = min(soft_factor, cut)
    if _MAY_BE_MARKUP.search(texts.answer) and (marks := len(_MARKUP.findall(texts.answer))):
        lower(Reason.TEXT_MARKUP, 0.45 / marks**0.5)
    repeated = repeated_share(answer, words)
    if repeated > 0.3:
        lower(Reason.TEXT_REPEATED, max(0.05, 0.8 - repeated))
    wrong = 0 if foreign else sum(map(wrong_pairs, texts.answers))
    if wrong > 1:  # one may be the writer's haste
        lower(Reason.TEXT_WORDS_MISSING, 0.6**wrong)
    elif wrong:
        soft_factor = min(soft_factor, 0.8)
    if texts.is_caption and any(_PLACEHOLDER.match(text) for text in texts.answers):
        lower(Reason.TEXT_PLACEHOLDER, 0.2)
    raw = {
        "num_words": float(len(words)),
        "mojibake_share": round(mojibake, 4),
        "garbled_share": round(garbled, 4),
        "repeated_share": round(repeated, 4),
    }
    if foreign:
        if not factors:
            return None, [Reason.LANGUAGE_UNKNOWN], raw
        soft_factor = 1.0
    return soft_factor * math.prod(factors.values()), list(factors), raw


def _without_names(answer: str) -> str:
    if answer.islower() and "@" not in answer and "://" not in answer:
        return answer
    return (_NAMES if "@" in answer else _NAMES_ALONE).sub(" ", answer)


def _judge_length(texts: Texts, answer: str, words: Sequence[str], profile: Profile, lower: object) -> None:
    prior = profile.lengths["caption" if texts.is_caption else "answer"]
    num_words = len(answer.split())
    if num_words < prior.least:
        lower(Reason.TEXT_TOO_SHORT, 0.2 + 0.25 * num_words / prior.least)  # type: ignore[operator]
    if num_words > prior.most:
        lower(Reason.TEXT_TOO_LONG, 0.45)  # type: ignore[operator]


def mojibake_share(text: str) -> float:
    """Share of characters that are a broken encoding's leavings."""
    import ftfy.badness

    broken = len(_BROKEN.findall(text))
    if text.isascii() and not broken:
        return 0.0
    return (broken + ftfy.badness.badness(text)) / max(len(text), 1)


def without_label(text: str) -> str:
    """The text without the letter of an option before it ("B. Right lower lobe"), whose full stop ends no sentence."""
    text = text.strip()
    label = _OPTION.match(text)
    return text[label.end() :] if label else text


def truncation(text: str, is_caption: bool = True) -> float:
    """0.4 where a text plainly ends in its middle, 0.85 where a long one has no mark at its end, else 1.

    An answer needs no full stop; how much is missing, no text can tell.
    """
    text = text.strip()
    words = text.split()
    if len(words) < 4:
        return 1.0
    opened = text.count("(") - text.count(")")
    last = words[-1]
    if text[-1] in ".!?)]\"'”’%。！？":
        return 0.4 if opened > 0 and not re.search(r"[:;8]-?\($|\(\d", text) else 1.0
    dangling = last.strip("-–") in _DANGLING and not last.isupper()
    if dangling or last.endswith((",", "-", "–")) or (opened > 0 and len(text) - text.rindex("(") < 60):
        return 0.4
    return 0.85 if len(words) >= (5 if is_caption else 8) else 1.0


def repeated_share(answer: str, words: Sequence[str]) -> float:
    """Share of words inside word triples seen before; for long texts also how far deflate shrinks them."""
    if len(words) < 6:
        return 0.0
    num_triples = len(words) - 2
    share = (num_triples - len(set(zip(words, words[1:], words[2:], strict=False)))) / num_triples
    if len(answer) > 400:
        shrunk = len(zlib.compress(answer.encode("utf-8", "replace"))) / len(answer)
        share = max(share, 1.0 - shrunk / 0.25)
    return max(0.0, share)


def wrong_pairs(text: str) -> int:
    """How many neighbours in a text cannot stand side by side."""
    small = [*map(_has_small_word.__getitem__, text.split())]
    if not any(map(operator.and_, small, small[1:])):
        return 0
    return sum(1 for _ in _WORD_LOST.finditer(text))


_SMALL_WORD = re.compile(r"(?<!\w)(?:an?|the|of|in|on|at|with|for|from|and|or|is|are|to|by)(?!\w)")
_has_small_word = Remembered(lambda piece: _SMALL_WORD.search(piece) is not None)


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


def garbled_share(words: tuple[str, ...]) -> float:
    """Share of the long words whose letters do not follow one another as in any word we know."""
    num_garbled, num_long = _num_garbled(words)
    return num_garbled / num_long if num_long > 1 else 0.0


_SHORT, _WHOLE, _GARBLED = range(3)


@lru_cache(maxsize=16)
def _num_garbled(words: tuple[str, ...]) -> tuple[int, int]:
    """How many of the long words are so, and how many long words there are."""
    kinds = [*map(_kind_of.__getitem__, words)]
    return kinds.count(_GARBLED), len(kinds) - kinds.count(_SHORT)


def _kind(word: str) -> int:
    if len(word) < 4 or not word.isascii() or "-" in word or "'" in word:
        return _SHORT
    return _GARBLED if _is_garbled(word) else _WHOLE


_kind_of = Remembered(_kind)


def _is_garbled(word: str) -> bool:
    if word in _known_words():
        return False
    table = _letter_pairs()
    padded = f"^{word}$"
    triples = [padded[i : i + 3] for i in range(len(padded) - 2)]
    return sum(triple not in table for triple in triples) / len(triples) >= 0.5
