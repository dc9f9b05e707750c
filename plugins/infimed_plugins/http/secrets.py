"""A key is taken out of everything that a server says, before anything of it is cut, shown or kept."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from functools import cached_property
from typing import Any

from infimed_core import DataError

MASK = "***"
FEWEST_LETTERS = 8
"""Shorter keys are no secrets but the placeholders of local servers (`none`, `EMPTY`), words that answers may hold."""
PIECE = 8
"""Letters in a row that give away a part of a key: a server may cut what it echoes."""


NUMBERED = ("{:02x}", "x{:02x}", "u{:04x}", "u00{:02x}", "{:d}")
"""How encodings write a letter as its number, without the signs around it."""
_LETTER = re.compile("[0-9A-Za-z]")
_OTHERS = re.compile("[^0-9A-Za-z]+")


def _bare(text: str) -> str:
    """Its letters and digits alone, in small letters."""
    return _OTHERS.sub("", text).lower()


class Secret:
    """A key, never shown; ``hide`` takes it and pieces of it out of texts."""

    def __init__(self, key: str | None) -> None:
        self.key = key

    def __repr__(self) -> str:
        return "Secret()"

    @property
    def is_known(self) -> bool:
        """Whether there is anything to hide."""
        return self._spellings is not None

    @cached_property
    def _spellings(self) -> re.Pattern[str] | None:
        if self.key is None or len(self.key) < FEWEST_LETTERS:
            return None
        key = self.key
        whole = [base64.b64encode(text.encode()) for text in (key, f"Bearer {key}", f"Authorization: Bearer {key}")]
        forms = {
            key,
            *(text.decode().rstrip("=") for text in whole),
            urllib.parse.quote(key, safe=""),
            html.escape(key),
            json.dumps(key)[1:-1],
            key.encode().hex(),
        }
        longest_first = sorted(forms, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    @cached_property
    def _pieces(self) -> frozenset[str]:
        """``PIECE`` letters in a row of the key as it is, and of the letters and digits of it, backwards too, of its
        base64, and of its letters as numbers: what is left of ``%73%6b`` and ``&#115;&#107;`` without the signs."""
        key = self.key or ""
        shifted = [base64.b64encode(b"\0" * shift + key.encode()).decode() for shift in range(3)]
        texts = [key, _bare(key), _bare(key)[::-1], *(_bare(text[4:].rstrip("=")[:-1]) for text in shifted)]
        texts += ["".join(form.format(ord(letter)) for letter in key) for form in NUMBERED]
        return frozenset(text[start : start + PIECE] for text in texts for start in range(len(text) - PIECE + 1))

    def hide(self, text: str) -> str:
        """The text with the key masked: whole in any of its spellings, or any ``PIECE`` letters of it in a row, in
        capitals or small, whatever is put between them."""
        if self._spellings is None:
            return text
        text = self._spellings.sub(MASK, text)
        for bare in (False, True):
            shown = _bare(text) if bare else text
            while any(piece in shown for piece in self._pieces):
                text = self._without_pieces(text, shown, bare)
                shown = _bare(text) if bare else text
        return text

    def _without_pieces(self, text: str, shown: str, bare: bool) -> str:
        """``text`` with a mask for what ``shown`` (``text`` itself, or its letters and digits) has of the key."""
        places = [found.start() for found in _LETTER.finditer(text)] if bare else range(len(text))
        hidden = [False] * len(text)
        for piece in self._pieces:
            at = shown.find(piece)
            while at >= 0:
                first, last = places[at], places[at + PIECE - 1]
                hidden[first : last + 1] = [True] * (last + 1 - first)
                at = shown.find(piece, at + 1)
        kept = [
            MASK if gone and not (place and hidden[place - 1]) else "" if gone else text[place]
            for place, gone in enumerate(hidden)
        ]
        return "".join(kept)

    def hide_in(self, value: Any) -> Any:
        """The same for every text of a JSON value, names included, however deep; half characters are replaced."""
        if isinstance(value, str):
            return self.hide(value if value.isascii() else _whole(value))
        if isinstance(value, dict):
            return {self.hide_in(name): self.hide_in(inner) for name, inner in value.items()}
        return [self.hide_in(inner) for inner in value] if isinstance(value, list | tuple) else value


def _whole(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs, which no file of UTF-8 holds."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_key(value: str, name: str) -> str | None:
    """The key that an environment variable holds; ``None`` where it is empty.

    Raises:
        DataError: it holds what no header can carry, a line break for example. It is not shown.
    """
    if not value.strip():
        return None
    wrong = next((place for place, letter in enumerate(value) if not "\x20" < letter < "\x7f"), None)
    if wrong is not None:
        raise DataError(
            "bad_key",
            f"the key in the environment variable {name} has a line break, space or odd letter at place {wrong + 1} "
            f"of {len(value)}, which no header can carry; set it anew, for example {name}=$(tr -d '\\n' < FILE)",
        )
    return value
