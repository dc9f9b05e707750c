"""A response made ready to be read: folded, without thoughts and form, answer marks set apart."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from infimed_plugins.medevalkit.answers.equality import EDGES
from infimed_plugins.medevalkit.answers.folding import fold
from infimed_plugins.medevalkit.answers.form import plain
from infimed_plugins.medevalkit.answers.marks import find_marks
from infimed_plugins.medevalkit.answers.run_on import without_loop
from infimed_plugins.medevalkit.answers.thoughts import without_thoughts

MARK = 0xE200
"""Where the characters begin that stand for answer marks."""

LONGEST = 400_000
"""No answer needs more characters; a longer response is not read (``too_long``)."""

_MOST_MARKS = 200


_ROLE = re.compile(r"\A\s*(?:human|user|assistant|model|ai|bot|gpt|###\s*(?:assistant|response))\s?:\s*", re.IGNORECASE)
"""A speaker's name before what a base model says."""


class Prepared(NamedTuple):
    """``text`` with one character for each of ``marks``, whose contents are as plain; ``reason`` where nothing is
    left."""

    text: str
    marks: tuple[str, ...] = ()
    reason: str = ""
    cut: bool = False
    loop: bool = False

    @property
    def whole(self) -> str:
        """The text with the contents of the marks where they stand."""
        text = self.text
        for index, content in enumerate(self.marks):
            text = text.replace(chr(MARK + index), content)
        return text


@lru_cache(maxsize=8192)
def prepare(response: str | None, ended: str | None = None) -> Prepared:
    """The response as it can be read. ``ended`` is how it ended: stop, length or content_filter, where known.

    Reasons: ``no_response``, ``empty``, ``truncated`` (a thought that never ended), ``too_long``, ``content_filter``.
    """
    if response is None:
        return Prepared("", reason="content_filter" if ended == "content_filter" else "no_response")
    if len(response) > LONGEST:
        return Prepared("", reason="too_long")
    text, unfinished = without_thoughts(fold(response))
    if ":" in text[:20]:
        text = _ROLE.sub("", text, count=1)
    cut = ended in ("length", "content_filter")
    text, loop = without_loop(text)
    marks = find_marks(text)[-_MOST_MARKS:]
    contents: list[str] = []
    if marks:
        parts, place = [], 0
        for mark in marks:
            if mark.start < place:
                continue  # inside another
            parts += [text[place : mark.start], chr(MARK + len(contents))]
            contents.append(plain(mark.content))
            place = mark.end
        text = "".join([*parts, text[place:]])
    text = plain(text)
    if not text.strip(EDGES):
        reason = "truncated" if unfinished else "content_filter" if ended == "content_filter" else "empty"
        return Prepared("", reason=reason)
    return Prepared(text, tuple(contents), cut=cut or unfinished, loop=loop)
