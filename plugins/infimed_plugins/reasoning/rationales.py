"""An answer taken apart: the reasoning, and the final answer in its tag."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infimed_core import Answer

_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_WORD = re.compile(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]|[^\W_]+(?:[-'’.][^\W_]+)*")
"""A word of a script with spaces, or one sign of a script without."""


@dataclass(frozen=True)
class Rationale:
    """What stands before the final answer, the final answer, and how many answers the text gives.

    ``final`` is ``None`` where the text has no ``<answer>`` tag; ``reasoning`` is then the whole text.
    """

    reasoning: str
    final: str | None
    num_answers: int


def take_apart(answer: Answer) -> Rationale:
    """The parts of an answer; a thought that a server returns apart is the reasoning of a text that has none."""
    text = answer.text or ""
    found = list(_TAG.finditer(text))
    reasoning = text[: found[0].start()] if found else text
    reasoning = _THOUGHT.sub(" ", reasoning).strip()
    if not reasoning:
        said = (part.get("content") for part in answer.transcript if part.get("role") == "reasoning")
        reasoning = "\n".join(str(part) for part in said if part).strip()
    final = found[-1].group(1).strip() if found else None
    return Rationale(reasoning, final or None, len({one.group(1).strip().casefold() for one in found}))


def words(text: str) -> list[str]:
    """The words of a text, folded; of Chinese, Japanese and Korean every sign."""
    return [word.casefold() for word in _WORD.findall(text)]


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text."""
    return [part.strip() for part in _SENTENCE.split(text) if part and part.strip()]


def runs(said: list[str], length: int) -> list[tuple[str, ...]]:
    """Every run of ``length`` words, in order."""
    return [tuple(said[start : start + length]) for start in range(len(said) - length + 1)]
