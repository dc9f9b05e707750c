"""How MedEvalKit (commit 9b12e3b) takes an answer out of a response, bug for bug."""

from __future__ import annotations

import re

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)

LABELS = (
    "**answer**:",
    "**answer**",
    "*answer*:",
    "**answer:**",
    "answer is",
    "answer:",
    "答案:",
    "final answer",
    "final answer is",
)
"""Tried in this order; each present keeps only what follows its last occurrence. The full-width colon is unknown."""


class KitError(Exception):
    """The kit raises here and its whole metric pass is lost; the message is the exception it raises."""


def extract(text: str | None) -> str:
    """The contents of all complete ``<answer>`` tags joined by a space; the whole text where there is none."""
    if not text:
        return ""
    found = _TAGGED.findall(text)
    return " ".join(found).strip() if found else text


def boxed(text: str) -> str:
    r"""The content of the last ``\boxed{...}`` with balanced braces, or the string ``None`` where it is not closed."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return "None"
    start += len("\\boxed{")
    depth = 1
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return text[start:index].strip()
    return "None"


def parse_response(text: str) -> str:
    """Lower-case, then box or tag, then what follows the last label; never stripped.

    The bare word "boxed" in prose is taken for a box, so that the answer becomes the string ``None``.
    """
    text = text.lower()
    if "boxed" in text:
        text = boxed(text)
    elif "<answer>" in text:
        text = extract(text)
    for label in LABELS:
        if label in text:
            text = text.rsplit(label, 1)[1]
    return text


def open_box_or_tag(text: str) -> str:
    """What the visual question tasks do before they grade: a complete box, else the tags, else nothing."""
    content = boxed(text)
    if content != "None":
        return content
    return extract(text) if "<answer>" in text else text
