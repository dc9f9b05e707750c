"""What was found in each word that came before: the words of texts come again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

MOST_WORDS, LONGEST_WORD = 1 << 16, 40
"""Words that are remembered, and the characters of one."""

Found = TypeVar("Found")


class Remembered(dict[str, Found]):
    """What a look finds in a word, looked for once; ``map(remembered.__getitem__, text.split())`` takes little time."""

    def __init__(self, look: Callable[[str], Found]) -> None:
        super().__init__()
        self._look = look

    def __missing__(self, word: str) -> Found:
        if len(self) >= MOST_WORDS:
            self.clear()
        found = self._look(word)
        if len(word) <= LONGEST_WORD:
            self[word] = found
        return found
