"""The one normaliser of short answers: the same for references, options and answers."""

from __future__ import annotations

import re
from functools import lru_cache

from infimed_plugins.medevalkit.answers.folding import fold
from infimed_plugins.medevalkit.answers.form import plain

EDGES = " \t\n.,;:!?\"'`*_#()[]{}、。|~"
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=\w)|(?<=\w)-(?=[^\W\d_])|(?<=\w)-(?=\s|$)")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_STOP = re.compile(r"[,;:!?\"()\[\]{}、。$|]|\.(?!\d)|(?<![\w])'|'(?!\w)")
_SPACED_SIGN = re.compile(r" ?([/=×·→≈]) ?|([<>≤≥±]) | (?=[%°])")
_UNIT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(?=[^\W\d_])")
_LABELLED = re.compile(r"\W{0,3}a\W{0,2}[.):]")  # "A." is a letter, "a" an article
_ARTICLE = re.compile(
    r"\bthe (?=\S)|^an? (?=\w\w)|(?<=\b(?:of|in|is|as|by|to|on|or) )an? (?=\w\w)|(?<=\b(?:with|from|show|have) "
    r")an? (?=\w\w)"
    r"|(?<=\b(?:and|for|has|are) )an? (?=\w\w)|(?<=\bshows )an? (?=\w\w)"
)


ENDING = r"[ .,:;!)\]}\"'*。、|~-]*(?:[#(\[] ?\d{1,9}[\])]?[ .。]*)?"
"""What an answer may end in that is none of it: signs, and a number set apart as a reference is ("[3]", "#12")."""
_REFERENCE = re.compile(r"(?<=\S)[ .]*[#(\[] ?\d{1,9}[\])]?[ .。]*$")


def without_reference(text: str) -> str:
    """The text without the number of a reference at its end."""
    if text[-1:].isdigit() or text[-2:-1].isdigit():
        found = _REFERENCE.search(text, max(0, len(text) - 16))
        return text[: found.start()] if found else text
    return text


def key(text: str) -> str:
    """What two answers share when they are the same: case, form, articles and punctuation do not count.

    Signs that mean something stay (``<5 mm``, ``-5``, ``1.5``, ``50%``, a final ``A``); a hyphen inside a word is a
    space.
    """
    return key_of_plain(plain(fold(text)))


_SIMPLE = re.compile(r"[a-z ]*[a-z][.]?")
_TO_SPACE = str.maketrans(dict.fromkeys(',;:!?"()[]{}、。$|\n', " "))
_INNER_STOP = re.compile(r"\.(?!\d)|(?<![\w])'|'(?!\w)")


_DIGIT, _SPACED = re.compile(r"\d"), re.compile(r"[/=<>%]")


@lru_cache(maxsize=8192)  # one answer is looked at by several rules
def key_of_plain(text: str) -> str:
    """As ``key``, of a text that is folded and without form."""
    text = text.casefold()
    if _SIMPLE.fullmatch(text):
        text = text.rstrip(".")
        return text if " " not in text else _without_articles(text)
    labelled = text[:4].lstrip("(\"' ")[:1] == "a" and _LABELLED.match(text) is not None
    if "," in text and _DIGIT.search(text):
        text = _THOUSANDS.sub(lambda found: found[1].replace(",", ""), text)
    if "-" in text:
        text = _HYPHEN.sub(" ", text)
    text = text.translate(_TO_SPACE)
    if "." in text or "'" in text:
        text = _INNER_STOP.sub(" ", text)
    text = " ".join(text.split())
    if not text.isalnum() and (not text.isascii() or _SPACED.search(text)):
        text = _SPACED_SIGN.sub(lambda found: found[1] or found[2] or "", text)
    if _DIGIT.search(text):
        text = _UNIT.sub(r"\1 ", text)
    return text if labelled else _without_articles(text)


def _without_articles(text: str) -> str:
    if "the " in text or "a " in text or "an " in text:
        text = _ARTICLE.sub("", text)
    return text.strip()
