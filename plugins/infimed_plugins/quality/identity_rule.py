"""One form of identity: its pattern, the check behind it, and what a text must hold to be searched for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from infimed_plugins.quality.reasons import Reason

Check = Callable[[re.Match[str]], bool]
"""Whether a match is what its pattern takes it for, by what stands around it."""


class Rule(NamedTuple):
    """What ``pattern`` matches is identity of the kind ``reason`` where ``holds`` says so.

    The rest changes no result: it says what every match needs, so that most texts need no search.
    """

    name: str
    reason: Reason
    pattern: re.Pattern[str]
    holds: Check | None = None
    digits: int = 1
    """A text with fewer digits holds no match."""
    word: re.Pattern[str] | None = None
    """Found in one word, from space to space, of every text with a match; tells no digit of 3 to 8 from another."""
    first: re.Pattern[str] | None = None
    """Found close around a digit of every match that ``holds``."""
    has_pieces: bool = False
    """Whether pieces of words are read from the pattern, one of which stands in every match, near its digit."""
    is_near: bool = True
    """Whether nothing of a match stands far from a digit."""
