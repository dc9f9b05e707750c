"""Whether an answer is written in the scripts of its question."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

from pydantic import Field

from infimed_core import Reward, Rollout, Score

_MERGED = {"HIRAGANA": "JAPANESE", "KATAKANA": "JAPANESE", "CJK": "HAN", "HANGUL": "KOREAN"}
_EVERYWHERE = {"GREEK", "MICRO", "OHM", "ANGSTROM", "MODIFIER", "MATHEMATICAL", "SUPERSCRIPT", "SUBSCRIPT", "FEMININE"}
"""Letters that stand in medical text of any language (beta, micro)."""


class Language(Reward):
    """The share of an answer's letters that are of a script of its question or reference answer; 1 without letters.

    Languages of one script (English, French) are not told apart.
    """

    tolerated: float = Field(default=0.02, ge=0.0, lt=1.0, description="Share of other letters that costs nothing.")

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """From 0 to 1."""
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        expected = Counter[str]()
        for turn in rollout.sample.turns:
            expected += scripts_of(turn.text)
        wanted = {script for script, count in expected.items() if count >= 0.1 * expected.total()}
        if "JAPANESE" in wanted:
            wanted.add("HAN")
        written = scripts_of(rollout.text)
        if not wanted or not written:
            return Score(value=1.0)
        share = sum(count for script, count in written.items() if script in wanted) / written.total()
        if share >= 1.0 - self.tolerated:
            return Score(value=1.0)
        return Score(value=share, reasons=("other_script",))


def scripts_of(text: str) -> Counter[str]:
    """How many letters of each script a text has; letters that stand in every language are left out."""
    found = Counter(_script(letter) for letter in text if letter.isalpha())
    return Counter({script: count for script, count in found.items() if script not in _EVERYWHERE})


@cache
def _script(letter: str) -> str:
    first = unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]
    return _MERGED.get(first, first)
