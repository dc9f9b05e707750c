"""Files of text: opened in their encoding, a byte that is wrong kept for the row it stands in to tell."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from infimed_core import DataError

_HALF = re.compile("[\ud800-\udfff]")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet (.xlsx)", b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls)",
    b"PAR1": "a Parquet table", b"\x28\xb5\x2f\xfd": "packed with zstandard", b"BZh9": "packed with bzip2",
    b"\xfd7zX": "packed with xz",
}  # fmt: skip
"""Files that begin so hold no text of rows."""
_POINTER = b"version https://git-lfs"
LONGEST_LINE = 2**27
"""Characters of the longest line that is read: an image in it may be long, what is unpacked from 1 MB need not be."""
DEPTH = 200
"""How deep a row is looked into for a text that is not whole."""


@contextlib.contextmanager
def opened(file: Path, encoding: str | None = None, newline: str = "\n") -> Iterator[TextIO]:
    """The file as text, unpacked where its bytes are gzip's; lines end with a line feed alone, or as ``newline`` says.

    ``encoding`` ``None`` is what the file's mark says, else UTF-8. A byte that does not belong there becomes half of a
    surrogate pair, which no sample can hold: the row is a fault, and the rows beside it are read.

    Raises:
        DataError: ``bad_file``: it is no file that can be read to its end (a pipe, a device), or one of another kind.
    """
    regular(file)
    with open(file, "rb") as start:
        head = start.read(4)
    if told := _OTHERS.get(head):
        raise DataError("bad_file", f"is {told}, whatever its name says; save it as text, or name it as what it is")
    with gzip.open(file, "rb") if head.startswith(b"\x1f\x8b") else open(file, "rb") as raw:
        name = encoding or _marked(raw.read(4)) or "utf-8"
        raw.seek(0)
        wide = codecs.lookup(name).name.startswith(("utf-16", "utf-32"))
        with io.TextIOWrapper(raw, name, "strict" if wide else "surrogateescape", newline=newline) as text:  # type: ignore[arg-type]
            yield text


def beginning(file: Path, size: int) -> bytes:
    """The first ``size`` bytes of a file, unpacked where they are gzip's; what can be read of a damaged one."""
    with open(file, "rb") as raw:
        found = bytearray(raw.read(size))
    if not found.startswith(b"\x1f\x8b"):
        return bytes(found)
    found.clear()
    with gzip.open(file, "rb") as unpacked, contextlib.suppress(OSError, EOFError, zlib.error):
        while len(found) < size and (part := unpacked.read1(size - len(found))):
            found += part
    return bytes(found)


def lines_of(text: TextIO) -> Iterator[str | DataError]:
    """The lines of a text; one that no memory should hold is the ``DataError`` that says so, and is not held."""
    while line := text.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE or line.endswith("\n"):
            yield line
            continue
        while (rest := text.readline(LONGEST_LINE)) and not rest.endswith("\n"):
            pass
        yield DataError("too_large", f"a line of more than {LONGEST_LINE:,} characters")


def first_character(file: Path, encoding: str | None = None) -> str:
    """The first character that is no white space; "" of a file that has none near its beginning."""
    with opened(file, encoding) as text:
        return text.read(4096).lstrip()[:1]


def decoded(content: bytes, encoding: str | None) -> str:
    """Bytes as text, as ``opened`` reads a file.

    Raises:
        DataError: ``bad_row``: they are not in that encoding.
    """
    name = encoding or _marked(content[:4]) or "utf-8"
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        raise DataError("bad_row", _advice(f"byte 0x{content[error.start]:02x} at {error.start}", name)) from None


def regular(file: Path) -> None:
    """Refuse what is no plain file: a pipe would be waited for, a device never ends; and what stands for a file.

    Raises:
        DataError: ``bad_file``.
    """
    if not os.path.isfile(file):
        if os.path.exists(file):
            raise DataError("bad_file", "is no plain file (a folder, pipe or device), and is not opened")
        return
    with open(file, "rb") as start:
        if start.read(len(_POINTER)) == _POINTER:
            raise DataError("bad_file", "is a pointer of Git LFS in place of the file; run git lfs pull")


def not_whole(value: Any, encoding: str | None = None) -> str:
    """What is wrong with the texts in a row: a byte of another encoding, half of a character; "" where nothing is."""
    try:  # ten times as quick as looking at every text; what cannot be written so is looked at
        json.dumps(value, ensure_ascii=False, default=repr).encode()
        return ""
    except (UnicodeError, TypeError, ValueError, RecursionError):
        found = _find_half(value, "", DEPTH)
    if found is None:
        return ""
    half, where = found
    inside = f" in '{printable(where)}'" if where else ""
    if "\udc80" <= half <= "\udcff":
        return _advice(f"byte 0x{ord(half) - 0xDC00:02x}{inside}", encoding or "utf-8")
    return f"half of a surrogate pair (U+{ord(half):04X}){inside}: a character was cut in two; write it whole"


def printable(text: str) -> str:
    """The text with what no file of UTF-8 can hold written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8") if _HALF.search(text) else text


def _advice(what: str, name: str) -> str:
    known = codecs.lookup(name).name
    if known.startswith("utf-8"):
        return f"not UTF-8 ({what}); set encoding: to the one it was saved in (encoding: cp1252 for most of Windows)"
    return f"not {known} ({what}); set encoding: to the one it was saved in"


def _find_half(value: Any, where: str, depth: int) -> tuple[str, str] | None:
    if isinstance(value, str):
        half = _HALF.search(value)
        return (half.group(), where) if half else None
    if depth and isinstance(value, dict):
        pairs = [(key, inner) for key, inner in value.items()]
        pairs += [("", key) for key in value if isinstance(key, str)]
        found = (_find_half(inner, str(key) or where, depth - 1) for key, inner in pairs)
        return next((one for one in found if one), None)
    if depth and isinstance(value, (list, tuple)):
        return next((one for inner in value if (one := _find_half(inner, where, depth - 1))), None)
    return None


def _marked(start: bytes) -> str | None:
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)
