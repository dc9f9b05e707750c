"""Lines that go through the letters in turn, so that none of them is an answer by its place."""

from __future__ import annotations

import re

_LISTED = re.compile(
    r"^[\"'(\[ ]*(?:option |choice )?([A-Z]|[\ue100-\ue119])(?:[.):]|(?<=[\ue100-\ue119])[.):]?)",
    re.MULTILINE | re.IGNORECASE,
)


def goes_on_listing(text: str) -> bool:
    """Whether the lines go through the options A, B, C ... in turn without a first paragraph that answers."""
    head = text.split("\n\n", 1)[0]
    if "\n" not in head:
        return False
    found = [ord(m[1]) - 0xE100 if ord(m[1]) > 0xE000 else ord(m[1].upper()) - 65 for m in _LISTED.finditer(head)]
    return len(found) > 1 and found == list(range(len(found)))


_LABELLED = re.compile(r"[\"'(\[ ]*(?:([A-Z])[.):]|([\ue100-\ue119]))")


def goes_on_from(before: str, line: str) -> bool:
    """Whether a last line has the letter after that of the line before it, so that both are of one list."""
    previous = before.rstrip().rpartition("\n")[2]
    labels = [_LABELLED.match(one) for one in (previous, line)]
    if labels[0] is None or labels[1] is None:
        return False
    one, next_one = (ord(found[1]) - 65 if found[1] else ord(found[2]) - 0xE100 for found in labels if found)
    return next_one == one + 1


_PART = re.compile(r"\(([a-h])\)")
_PART_LINE = re.compile(r"^[ *]*(?:\(([a-h])\)|([a-h])[.)])[ *]*(?=\S)", re.MULTILINE)


def without_parts(response: str | None, question: str) -> str | None:
    """The response without the small letters before its lines that are those of the parts of the question.

    A question that asks for (a), (b) and (c) at once has its answers under these letters, which choose no option.
    """
    if not response or len(set(_PART.findall(question))) < 2:
        return response
    lines = {found[1] or found[2] for found in _PART_LINE.finditer(response)}
    return _PART_LINE.sub("", response) if len(lines) > 1 else response
