"""A text as sentences of words, each with whether it is denied, doubted or asked there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from infimed_plugins.medevalkit.answers.vocabulary import Words, first_words, value_of, words_of
from infimed_plugins.medevalkit.answers.words import phrases, word_set

_SENTENCE = re.compile(r"[.!?;。;](?=\s|$|[\u3400-\u9fff])|\n")
_TOKEN = re.compile(r"\S+")
_ADDRESS = re.compile(r"^https?://|[/\\][^/\\]*\.[A-Za-z]{2,4}(?!\w)")
"""Of a page or a file: no words."""
_ABBREVIATION = re.compile(r"\b(?:[a-z]|dr|mr|mrs|vs|fig|approx|ca|i\.e|e\.g|etc|no)$", re.IGNORECASE)
_CLAUSE = re.compile(
    r",? \b(?:which|who|that is|whereas|although|though|because|since|while|as it|as they)\b|\bbut\b|\bhowever\b|"
    r"\bexcept\b|\binstead\b|\bnevertheless\b|, (?=(?:it|this|they|he|she) )|"
    r"[,，](?=[^,，。;]{0,12}(?:诊断|可见|见有|为|是|有|存在|提示|符合|显示))|但|而(?=是)",
    re.IGNORECASE,
)

_NOT_EXCLUDED = re.compile(
    r"\b(?:can ?not|can't|could not|couldn't|not) be (?:entirely |completely |fully )?(?:excluded|ruled out)\b",
    re.IGNORECASE,
)
"""What denies nothing, and doubts."""
_ASIDE = re.compile(r",? (?:which|who|as it|as they)\b", re.IGNORECASE)

DENYING = word_set(
    "no not without never neither nor absent absence none nothing lack lacking deny negative exclude excluded "
    "cannot free unlikely rather than fail failed 没 未 无 非 不"
)
_DENYING_AFTER = tuple(
    tuple(form.split())
    for form in phrases(
        "absent|unlikely|not seen|not present|not visible|not identified|not detected|not evident|"
        "not noted|not found|not observed|not appreciated|not shown|rule out|ruled out|excluded|"
        "have resolved|resolved"
    )
)
_ENDS_DENIAL = word_set(
    "but however although though except yet whereas which because while instead only consistent "
    "suggesting showing with there"
)
_NO_DENIAL = tuple(("不", sign) for sign in "仅只但同良均规清适足全完稳详断")
_AFFIRMS = (("no", "doubt"), ("not", "only"), ("not", "just"), ("no", "longer"), ("no", "change"), *_NO_DENIAL)
DOUBTING = word_set(
    "may might could possible possibly perhaps maybe whether if uncertain unclear cannot differential "
    "consider versus suspect questionable"
)


_BEING = word_set("is are was were be been appear seem ha have")


@dataclass(frozen=True, eq=False)
class Sentence:
    """One sentence: its words, and for each word whether it is denied."""

    words: Words
    denied: tuple[bool, ...]
    doubted: bool
    asked: bool
    text: str
    side_clause: int
    """The word from which on a clause only explains ("which uses X-rays")."""

    def find(self, forms: tuple[Words, ...]) -> list[int]:
        """Where one of the forms begins."""
        found = []
        for form in forms:
            first = form[0]
            if first not in self.words:
                continue
            size = len(form)
            found += [
                at
                for at in range(len(self.words) - size + 1)
                if self.words[at] == first and self.words[at : at + size] == form
            ]
        return found

    @cached_property
    def values(self) -> list[tuple[str, str, int]]:
        """Kind, value and place of every value named; the longest names first, none inside another."""
        found, at, first = [], 0, first_words()
        while at < len(self.words):
            if self.words[at] not in first:
                at += 1
                continue
            for size in (4, 3, 2, 1):
                value = value_of(self.words[at : at + size]) if at + size <= len(self.words) else None
                if value is not None:
                    found.append((*value, at))
                    at += size - 1
                    break
            at += 1
        return found


def split(text: str) -> list[str]:
    """The sentences of a text."""
    if "/" in text or "\\" in text:
        text = _TOKEN.sub(lambda token: " " if _ADDRESS.search(token.group()) else token.group(), text)
    parts, place = [], 0
    for stop in _SENTENCE.finditer(text):
        if stop.group() == "." and _ABBREVIATION.search(text[max(0, stop.start() - 7) : stop.start()]):
            continue
        if part := text[place : stop.end()].strip():
            parts.append(part)
        place = stop.end()
    if part := text[place:].strip():
        parts.append(part)
    return parts


@lru_cache(maxsize=16384)
def read_sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a plain text, at most the first 60."""
    return tuple(_read(part) for part in split(text)[:60])


_CONTRAST = re.compile(
    r"^(?P<other>\W*(?:(?:it|this|that)(?: is|'s) )?not (?:on |in )?(?:the |an? )?\w+(?: \w+)?),(?= (?:on |in |"
    r"but )?(?:the |an? |it is )?"
    r"\w+(?: \w+)?\W*$)",
    re.IGNORECASE,
)
""" "Not the right, the left": the comma ends what is denied."""


_CHINESE_DOUBT = re.compile("(?<![最很极])可能|也许|或许|疑似|不确定|不能确定|难以|无法")


def doubts_in_chinese(text: str) -> bool:
    """Whether a Chinese sentence doubts what it says."""
    return not text.isascii() and _CHINESE_DOUBT.search(text) is not None


@lru_cache(maxsize=32768)  # models say the same sentence of many images
def _read(text: str) -> Sentence:
    kept = _CONTRAST.sub(r"\g<other> but", _NOT_EXCLUDED.sub("is possible", text))
    clauses = [part for part in _CLAUSE.split(kept) if part.strip()]
    words: list[str] = []
    denied: list[bool] = []
    side = 10**6
    for clause in clauses:
        own = words_of(clause.replace("n't", " not"))
        words += own
        denied += _denied(own)
    aside = _ASIDE.search(text)
    if aside is not None and aside.start():
        side = len(words_of(text[: aside.start()]))
    low = set(words)
    return Sentence(
        tuple(words), tuple(denied), bool(low & DOUBTING) or doubts_in_chinese(text), text.endswith("?"), text, side
    )


_THERE = word_set("in on at within anywhere here")
_PRESENT = word_set("present visible seen there evident apparent shown detected identified included")
_PICTURES = word_set("image picture scan film view ray xray photo slice ct mri mr figure radiograph slide")


def _is_not_there(before: list[str], after: list[str]) -> bool:
    """Whether "not", by the words round it, says that what comes before is not in the picture."""
    if before[:1] in (["do"], ["does"], ["did"]):
        rest = [word for word in after[1:] if word not in ("to", "be", "been", "have")]
        if after[:1] in (["appear"], ["seem"]) and rest[:1] and rest[0] in _PRESENT:
            return True
        return after[:1] in (["appear"], ["exist"], ["occur"]) and (len(after) == 1 or after[1] in _THERE)
    if before[:1] in (["is"], ["are"], ["was"], ["were"]) and after[:1] and after[0] in ("in", "on", "within"):
        return bool(_PICTURES & set(after[1:]))
    return False


def _denied(words: list[str]) -> list[bool]:
    """For each word whether a denial before or right after it covers it."""
    found = [False] * len(words)
    at = 0
    while at < len(words):
        word = words[at]
        compared = word == "than" and words[at - 1 : at] not in (["rather"], ["other"])  # "more than 12" denies nothing
        bare = word == "free" and words[at + 1 : at + 2] not in (["of"], ["from"])  # "free air"
        tried = word in ("fail", "failed") and words[at + 1 : at + 2] != ["to"]
        if word in DENYING and not (compared or bare or tried) and tuple(words[at : at + 2]) not in _AFFIRMS:
            for place in range(at + 1, min(len(words), at + 14)):
                if words[place] in _ENDS_DENIAL and place > at + 1:
                    break
                found[place] = True
        at += 1
    for place, word in enumerate(words[:-2]):  # "the cause is not explicitly mentioned"
        if word in ("is", "are", "was", "were", "been") and words[place + 1] == "not":
            said = words[place + 3] if words[place + 2].endswith("ly") and place + 3 < len(words) else words[place + 2]
            if said.endswith(("ed", "een", "own", "ound", "ible", "ent", "lear", "iven")):
                found[max(0, place - 12) : place] = [True] * len(found[max(0, place - 12) : place])
    for place, word in enumerate(words):  # "the spleen does not appear in this image", "is not in this image"
        if word == "not" and _is_not_there(words[place - 1 : place], words[place + 1 : place + 6]):
            found[max(0, place - 12) : place] = [True] * len(found[max(0, place - 12) : place])
    for place, word in enumerate(words[:-1]):  # "the gallbladder cannot be seen"
        negated = word == "cannot" or (word == "not" and words[place - 1 : place] in (["can"], ["could"]))
        if negated and words[place + 1] == "be":
            found[max(0, place - 12) : place] = [True] * len(found[max(0, place - 12) : place])
    for place in range(1, len(words)):
        if words[place - 1] in _BEING and any(
            tuple(words[place : place + len(form)]) == form for form in _DENYING_AFTER
        ):
            start = max(0, place - 8)
            found[start:place] = [True] * (place - start)
    return found
