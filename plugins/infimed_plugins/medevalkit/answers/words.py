"""Lists of words, written as text."""

from __future__ import annotations

from functools import cache


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


@cache
def phrases(text: str) -> tuple[str, ...]:
    """What stands between upright strokes."""
    return tuple(part.strip() for part in text.split("|") if part.strip())
