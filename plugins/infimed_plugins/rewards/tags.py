"""The parts of an answer that thinks first: ``<think>`` ... ``</think>``, then ``<answer>`` ... ``</answer>``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_WHOLE = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.IGNORECASE | re.DOTALL)
_ANSWER_ALONE = re.compile(r"\s*<answer>(.*?)</answer>\s*", re.IGNORECASE | re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Parts:
    """What stands between the tags; ``None`` where a tag is missing, twice there or out of place."""

    thought: str | None
    answer: str | None


def parts_of(text: str, with_thought: bool = True) -> Parts | None:
    """The parts of a text that is exactly of that form, each tag once and nothing outside of them; ``None`` else."""
    found = (_WHOLE if with_thought else _ANSWER_ALONE).fullmatch(text)
    if found is None or len(_TAG.findall(text)) != (4 if with_thought else 2):
        return None
    groups = found.groups()
    return Parts(groups[0].strip() if with_thought else None, groups[-1].strip())


def answers_in(text: str) -> list[str]:
    """What stands between each pair of answer tags."""
    return [answer.strip() for answer in _ANSWER.findall(text)]
