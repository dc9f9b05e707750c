"""What a cell says: nothing, a text, a name; and the order in which people count."""

from __future__ import annotations

import ast
import datetime
import decimal
import json
import re
import unicodedata
from typing import Any

from infimed_core import DataError

NOTHING = frozenset({"nan", "NaN", "NaT", "<NA>"})
"""What a program writes for a value that is missing, where it writes it as a text."""


def known(value: Any) -> Any:
    """The value, or ``None`` where it says nothing: null, NaN, or what a program writes for them.

    Raises:
        Exception: the value is one: a cell that could not be read, and that somebody now wants.
    """
    if isinstance(value, Exception):
        raise value
    if isinstance(value, float) and value != value:
        return None
    return None if isinstance(value, str) and value in NOTHING else value


def text_of(value: Any, what: str) -> str:
    """The text of a value, "" of one that says nothing; a whole number has no decimals, whatever its column's type.

    Raises:
        DataError: ``bad_row``: it is neither text, number nor date.
    """
    value = known(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    raise DataError("bad_row", f"the {what} must be text, not {type(value).__name__}")


def as_json(value: Any) -> Any:
    """The value as JSON has it, for a sample's ``meta``: NaN is null, a date its text, bytes their number."""
    value = known(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if abs(value) != float("inf") else str(value)
    if isinstance(value, dict):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    try:
        return text_of(value, "value")
    except DataError:
        return str(value)


def listed(text: str) -> Any:
    """The list or map that a text writes, in JSON or as Python prints it; ``None`` where it writes none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, (list, tuple, dict)) else None


def is_empty(value: Any) -> bool:
    """Whether a field says nothing: null, NaN, an empty text, list or object, or one that holds such alone."""
    value = known(value)
    if isinstance(value, str):
        return value.strip() in ("[]", "{}", "null") or says_nothing(value)
    if isinstance(value, dict):
        return all(is_empty(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(is_empty(inner) for inner in value)
    return value is None


def says_nothing(text: str) -> bool:
    """Whether a text is empty to the eye: white space, or signs that are never seen (zero width, a byte order mark)."""
    return all(sign.isspace() or unicodedata.category(sign) == "Cf" for sign in text)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names as people count: 2 before 10."""
    pieces = re.split(r"([0-9]+)", name)
    return [(0, int(piece[-4000:]), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces if piece]
