"""Texts from data and servers as a file can hold them and as a terminal may show them."""

from __future__ import annotations

import re
from typing import Any

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""All but tab and line feed: C0, DEL and C1 steer a terminal, the marks of direction reorder what is read."""

_USER = re.compile(r"://[^/?#\s]*@")
_QUERY = re.compile(r"(://[^?#\s]*[?#])\S+")


def printable(text: str) -> str:
    """``text`` with U+FFFD for everything that would steer a terminal instead of being shown."""
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n"))


def without_passwords(text: str) -> str:
    """``text`` with what addresses in it hold of users, passwords and queries as stars: keys are put there."""
    return _QUERY.sub(r"\1***", _USER.sub("://***@", text))


def whole(text: str) -> str:
    """``text`` with U+FFFD for halves of surrogate pairs, which no file of UTF-8 can hold."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_in(value: Any) -> Any:
    """The same for every text in lists and tables."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {whole_in(name): whole_in(inner) for name, inner in value.items()}
    return [whole_in(inner) for inner in value] if isinstance(value, list | tuple) else value
