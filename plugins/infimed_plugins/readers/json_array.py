"""A JSON array read entry by entry, so that memory does not grow with the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from infimed_core import DataError

SPACE = " \t\r\n"
NUMBER = "0123456789.eE+-"


def array_entries(text: TextIO, num_characters: int = 2**20) -> Iterator[tuple[int, Any]]:
    """(line number, entry) of every entry of the array that is all of ``text``.

    Reads ``num_characters`` at a time, more where an entry is longer.

    Raises:
        DataError: ``bad_file`` where the text stops being an array, naming the line; the entries before it were given.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    buffer, position, line, whole = "", 0, 1, False

    def more() -> None:
        nonlocal buffer, position, line, whole
        line += buffer.count("\n", 0, position)
        rest = buffer[position:]
        read = text.read(max(num_characters, len(rest)))  # doubling: a long entry is not parsed again and again
        whole = not read
        buffer, position = rest + read, 0

    def next_character() -> str:
        nonlocal position
        while True:
            while position < len(buffer) and buffer[position] in SPACE:
                position += 1
            if position < len(buffer) or whole:
                return buffer[position : position + 1]
            more()

    def wrong(what: str) -> DataError:
        return DataError("bad_file", f"line {line + buffer.count(chr(10), 0, position)}: {what}; the rest is not read")

    if next_character() != "[":
        raise wrong("not a JSON array")
    position += 1
    first = True
    while (character := next_character()) != "]":
        if not first:
            if character != ",":
                raise wrong(
                    "no JSON: ',' or ']' expected" if character else "the array is never closed; the file is cut short"
                )
            position += 1
            next_character()
        first = False
        while True:
            try:
                entry, end = decoder.raw_decode(buffer, position)
            except RecursionError:
                raise wrong("nested too deeply") from None
            except ValueError as error:
                if whole:
                    raise wrong(f"not JSON: {error}") from None
            else:
                if whole or (end < len(buffer) and buffer[end] not in NUMBER):  # "1." at the buffer's end may go on
                    break
            more()
        yield line + buffer.count("\n", 0, position), entry
        position = end
    position += 1
    if next_character():
        raise wrong("something follows the array")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value; write null")
