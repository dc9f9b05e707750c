"""Where the sentence around a place of a text begins and ends."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.choice_cues import INITIAL, STARTERS

_SENTENCE = re.compile(r"[!?。\n]|\.(?=\s|$)")


def _is_end(low: str, stop: re.Match[str]) -> bool:
    """Whether a stop ends a sentence: not the one of an initial ("E. coli")."""
    at = stop.start()
    if low[at] != "." or at < 1 or not low[at - 1].isalpha() or (at > 1 and low[at - 2].isalnum()):
        return True
    following = INITIAL.match(low, at)
    return following is None or following[1] in STARTERS


def sentence_start(text: str, at: int) -> int:
    """Where the sentence that holds ``at`` begins, at most 240 characters back."""
    low = max(0, at - 240)
    ends = [found.end() for found in _SENTENCE.finditer(text, low, at) if _is_end(text, found)]
    return ends[-1] if ends else low


def sentence_end(text: str, at: int) -> int:
    """Where the sentence that holds ``at`` ends, at most 240 characters on."""
    high = min(len(text), at + 240)
    return next((found.start() for found in _SENTENCE.finditer(text, at, high) if _is_end(text, found)), high)
