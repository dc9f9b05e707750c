"""Finding the final answer in a response: reasoning, tags, boxes, LaTeX and markdown taken away; nothing guessed."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_LATEX = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathsf|textit|rm|bf)\s*\{([^{}]*)\}")
_LABEL = re.compile(
    r"""(?:(?:so|thus|hence|therefore)[,\s]+)?(?:the|my)?\s*(?:final|correct|best|right)?\s*
    (?:answer|conclusion|result)\s*(?:(?:is|would\sbe|should\sbe)\s*:?|:|=)\s*|(?:最终|正确)?答案\s*(?:应该是|应为|是|为|:)+\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^(?:(?:it|this|that)(?:\s+is|'s)|(?:it|this|the\s+(?:image|scan|picture|figure))\s+(?:shows?|depicts?|displays?)|"
    r"i\s+(?:think|believe)\s+it(?:\s+is|'s))\s+",
    re.IGNORECASE,
)
_ARTICLES = frozenset({"a", "an", "the"})
_EDGES = " \t\r\n.,;:!?\"'`*_#()[]{}<>。,;:!?、“”‘’「」《》【】…"
_REFUSAL = re.compile(
    r"\b(?:i'?m\s+sorry|i\s+apologi[sz]e|(?:can(?:no|')t|cannot|unable\s+to|not\s+able\s+to)\s+"
    r"(?:help|assist|answer|tell|determine|say|provide|view|see|decide|identify)|as\s+an\s+ai)\b"
    r"|无法(?:判断|确定|回答|提供)|不能(?:判断|确定|回答)|抱歉|对不起",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reading:
    """What was read: ``text``, or ``None`` with the reason why nothing can be."""

    text: str | None
    reason: str = ""
    parts: tuple[str, ...] = ()
    """The disagreeing contents, where the reason is ``several_answers``."""


@lru_cache(maxsize=65536)
def final_answer(response: str | None) -> Reading:
    """The part of a response that states the answer.

    Reasons where there is none: ``no_response``, ``empty``, ``truncated`` (reasoning that never ended),
    ``several_answers`` (tags or boxes that disagree).
    """
    if response is None:
        return Reading(None, "no_response")
    text = unicodedata.normalize("NFKC", response)
    text = _THOUGHT.sub("\n", text)
    if (stop := re.search(r".*</think(?:ing)?>", text, re.DOTALL | re.IGNORECASE)) is not None:
        text = text[stop.end() :]
    if (start := re.search(r"<think(?:ing)?>", text, re.IGNORECASE)) is not None:
        text = text[: start.start()]
        if not text.strip():
            return Reading(None, "truncated")
    for find in (_tags, _boxes):
        found = find(text)
        if found is None:
            continue
        kept = {_key(clean(part)): clean(part) for part in found}
        if len(kept) > 1:
            return Reading(None, "several_answers", tuple(kept.values()))
        text = next(iter(kept.values()))
    text = clean(text)
    return Reading(text) if text.strip(_EDGES) else Reading(None, "empty")


def _tags(text: str) -> list[str] | None:
    found = _TAGGED.findall(text)
    if found:
        return list(found)
    start = re.search(r"<answer>", text, re.IGNORECASE)
    return [text[start.end() :]] if start else None


def _boxes(text: str) -> list[str] | None:
    r"""Contents of every ``\boxed{...}``; a box cut off by the token limit holds the rest of the text."""
    found = []
    position = 0
    while (start := text.find("\\boxed{", position)) >= 0:
        start += len("\\boxed{")
        depth, position = 1, start
        while position < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        found.append(text[start : position if depth else position - 1])
    return found or None


def _key(text: str) -> str:
    return text.strip(_EDGES).casefold()


def clean(text: str) -> str:
    """Without LaTeX font commands, dollar signs and markdown emphasis."""
    while (shorter := _LATEX.sub(r"\1", text)) != text:
        text = shorter
    text = re.sub(r"\$|\\\(|\\\)|\\\[|\\\]|\*+|`+|(?<!\w)_+|_+(?!\w)|^\s*#+\s*", "", text, flags=re.MULTILINE)
    return text.strip()


def after_label(text: str) -> str:
    """What follows the last "the answer is" or its like; the whole text where there is none or nothing follows."""
    found = list(_LABEL.finditer(text))
    if not found:
        return text
    rest = text[found[-1].end() :]
    return rest if rest.strip(_EDGES) else text


def normalise(text: str) -> str:
    """For comparing short answers: folded case, no articles, no punctuation at the edges of words, single spaces.

    A full stop inside a number stays: 1.5 is not 15.
    """
    words = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").split()
    # "A." is a letter, "a" an article
    kept = [stripped for word in words if word not in _ARTICLES and (stripped := _strip(word))]
    return " ".join(kept) or " ".join(stripped for word in words if (stripped := _strip(word)))


def _strip(word: str) -> str:
    return word.strip(_EDGES)


def short_answer(text: str) -> str:
    """A stated short answer without label and lead-in, normalised."""
    rest = after_label(text).strip(_EDGES)
    return normalise(_LEAD_IN.sub("", rest, count=1))


def tokens(text: str) -> list[str]:
    """Words of a normalised text; every Chinese character is one."""
    return re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+", text)


def is_refusal(text: str) -> bool:
    """Whether the text declines to answer."""
    return _REFUSAL.search(text) is not None
