"""A JSON array read entry by entry, so that memory does not grow with the file, and a bad entry costs itself alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, TextIO

from infimed_core import DataError

SPACE = " \t\r\n"
NUMBER = "0123456789.eE+-"
MARGIN = 16
"""Characters before the end of what was read within which a mistake may be an entry that goes on."""
MOST = 2**28
"""Characters of the longest entry; what is longer is a quote that nobody closed."""
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')


def array_entries(text: TextIO, num_characters: int = 2**17) -> Iterator[tuple[int, Any]]:
    """(line number, entry) of every entry of the array that is all of ``text``; a broken entry is a ``DataError``.

    Reads ``num_characters`` at a time, more where an entry is longer. Behind a broken entry reading goes on where the
    next one begins: an object whose first key is that of an entry before it.

    Raises:
        DataError: ``bad_file`` where the text stops being an array, naming the line; the entries before it were given.
    """
    yield from _Array(text, num_characters).entries()


class _Array:
    """The text from ``position`` on, as far as it was read, and where in the file that is."""

    def __init__(self, text: TextIO, num_characters: int) -> None:
        self._text, self._num_characters = text, num_characters
        self._decoder = json.JSONDecoder(parse_constant=constant, object_pairs_hook=unlike)
        self._buffer, self._position, self._line, self._whole = "", 0, 1, False
        self._counted = 0  # the place in the buffer that ``_line`` is the line of
        self._first_keys: set[str] = set()

    def entries(self) -> Iterator[tuple[int, Any]]:
        if self._next() != "[":
            raise self._wrong("not a JSON array")
        self._position += 1
        at_entry = self._next() != "]"
        while at_entry or not self._ends():
            (entry, end), line = self._entry(), self._here()
            if end is not None:
                self._position, at_entry = end, False
            else:
                error = self._wrong(str(entry))
                resumed = self._resume()
                if resumed is None:
                    raise error
                at_entry = resumed
            yield line, entry

    def _ends(self) -> bool:
        """Step over what stands between two entries; true at the array's end."""
        character = self._next()
        self._position += 1
        following = self._next()
        if character == "," or (character == "]" and not following):
            return character == "]"
        self._position -= 1 if character != "]" else 0
        told = "',' or ']' expected" if character else "the array is never closed; the file is cut short"
        error = self._wrong("something follows the array" if character == "]" else f"no JSON: {told}")
        if not self._resume(after_comma=False):  # a comma that is missing or something else loses no entry
            raise error
        return False

    def _entry(self) -> tuple[Any, int | None]:
        """The entry here and where it ends; a ``DataError`` and ``None`` where it is no JSON."""
        while True:
            try:
                entry, end = self._decoder.raw_decode(self._buffer, self._position)
            except RecursionError:
                return DataError("bad_row", "nested too deeply"), None
            except ValueError as error:
                if self._whole or len(self._buffer) - self._position > MOST or not self._may_go_on(error):
                    return DataError("bad_row", f"not JSON: {_without_place(error)}"), None
            else:
                # "1." at the end of what was read may go on
                if self._whole or (end < len(self._buffer) and self._buffer[end] not in NUMBER):
                    if isinstance(entry, dict) and (key := _FIRST_KEY.match(self._buffer, self._position)):
                        self._first_keys.add(key[1])
                    return entry, end
            self._more()

    def _may_go_on(self, error: ValueError) -> bool:
        """Whether the mistake is that the entry was not read to its end."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.pos >= len(self._buffer) - MARGIN or error.msg.startswith("Unterminated string")

    def _resume(self, after_comma: bool = True) -> bool | None:
        """Go to where the next entry begins (true), else to the array's end (false); ``None``: neither is found."""
        own = _FIRST_KEY.match(self._buffer, self._position) if after_comma else None
        keys = self._first_keys | ({own[1]} if own else set())
        opening = r"\{\s*(?:" + "|".join(map(re.escape, sorted(keys))) + r")\s*:"
        following = re.compile((r",\s*" if after_comma else "") + f"({opening})")
        start = self._position + after_comma
        while keys:
            if found := following.search(self._buffer, start):
                self._position = found.start(1)
                return True
            if self._whole:
                break
            # Only what may hold the start of the next entry is kept: the rest of a broken one is not needed.
            kept = max(start, len(self._buffer) - 4096)
            self._count_lines(kept)
            read = self._text.read(self._num_characters)
            self._buffer, self._position, self._whole, start = self._buffer[kept:] + read, 0, not read, 0
            self._counted = 0
        end = len(self._buffer.rstrip(SPACE)) - 1
        if not after_comma or not self._whole or end < start or self._buffer[end] != "]":
            return None
        self._position = end
        return False

    def _more(self) -> None:
        self._count_lines(self._position)
        rest = self._buffer[self._position :]
        # Doubling: a long entry is not parsed again and again.
        read = self._text.read(max(self._num_characters, len(rest)))
        self._whole = not read
        self._buffer, self._position, self._counted = rest + read, 0, 0

    def _next(self) -> str:
        while True:
            while self._position < len(self._buffer) and self._buffer[self._position] in SPACE:
                self._position += 1
            if self._position < len(self._buffer) or self._whole:
                return self._buffer[self._position : self._position + 1]
            self._more()

    def _here(self) -> int:
        self._count_lines(self._position)
        return self._line

    def _count_lines(self, place: int) -> None:
        """Go on counting up to a place, so that every letter is looked at once."""
        self._line += self._buffer.count("\n", self._counted, place)
        self._counted = place

    def _wrong(self, what: str) -> DataError:
        return DataError("bad_file", f"line {self._here()}: {what}; the rest is not read")


def unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys differ; one of two values under one key would be lost without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key '{twice[:40]}' stands twice in one object")
    return found


def constant(name: str) -> None:
    """What ``NaN`` means in JSON that a program wrote: nothing. ``Infinity`` is refused."""
    if name != "NaN":
        raise ValueError(f"{name} is no JSON value; write null")


def _without_place(error: ValueError) -> str:
    """The message without the line that counts from the start of what was read."""
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)
