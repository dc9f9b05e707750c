"""The rows of a file of answers, each with its place; one that cannot be read is the error it is."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infimed_core import DataError, Registry, load_plugins, read_named

MOST_BYTES = 2**30
"""The largest file of answers: 50,000 answers of 10 KB are half of it."""
IDS = ("id", "question_id", "sample_id", "qid", "index", "doc_id")
_BYTE = re.compile("[\udc80-\udcff]")
"""What a byte that is no UTF-8 was read as."""


def rows_of(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of every row of a table or of a JSON file; one that cannot be read is the error it is.

    Raises:
        DataError: the file cannot be read at all.
    """
    if path.is_dir():
        raise DataError("unreadable", f"{path}: is a folder; name a file of answers (or --questions, for grade)")
    if path.exists() and not path.is_file():
        raise DataError("unreadable", f"{path}: is no plain file (a pipe or device), and is not opened")
    if path.suffix == ".xlsx":
        yield from _sheet(path)
    elif path.suffix in (".csv", ".tsv"):
        yield from _table(path)
    else:
        yield from _json_rows(path)


@cache
def _plugins() -> Registry:
    return load_plugins()


def _table(path: Path) -> Iterator[tuple[str, Any]]:
    """Rows of CSV or TSV, as the reader ``csv`` knows them."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    reader: Any = _plugins().make("reader", "csv", {"path": str(path), "delimiter": delimiter})
    try:
        for where, row in reader.rows(path):
            yield where, _whole({name: cell or "" for name, cell in row.items()}) if isinstance(row, dict) else row
    except (OSError, UnicodeError, DataError) as error:
        raise DataError("unreadable", f"{path}: cannot be read ({error}); name a file of answers") from None


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    text = _decoded(path)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and not any(name in body for name in (*IDS, "question")):
        body = _listed(body)
    checked = _whole if _BYTE.search(text) else _same
    if isinstance(body, list):
        for number, row in enumerate(body, 1):
            yield f"{path}: entry {number}", checked(row)
    elif text.lstrip()[:1] == "[" and not isinstance(_parsed(text.lstrip().split("\n")[0]), dict | list):
        yield from _entries(path)  # an array that is damaged somewhere
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path}:{number}", checked(_parsed(line))


def _listed(body: Mapping[str, Any]) -> list[Any]:
    """The rows in a map: a text for each id, or the lists of rows among its settings and figures.

    Raises:
        DataError: it is neither.
    """
    if not any(isinstance(value, list | dict) for value in body.values()):
        return [{"id": key, "text": value} for key, value in body.items()]
    found = [
        value for value in body.values() if isinstance(value, list) and any(isinstance(one, dict) for one in value)
    ]
    if not found:
        told = ", ".join(map(str, body)) or "nothing"
        raise DataError(
            "bad_row", f"neither a map from ids to texts nor one that holds a list of rows (it has: {told})"
        )
    return [row for rows in found for row in rows]


def _same(row: Any) -> Any:
    return row


def _decoded(path: Path) -> str:
    """The text, with a byte that is no UTF-8 as half of a pair: its row is the fault, not the file."""
    try:
        content = read_named(path, MOST_BYTES)
        if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return content.decode("utf-16")
        return content.decode("utf-8-sig", "surrogateescape")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("unreadable", f"{path}: cannot be read ({error}); name a file of answers") from None


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries that are whole, as the reader ``llava`` finds them; the last row says where it breaks off."""
    reader: Any = _plugins().make("reader", "llava", {"path": str(path)})
    try:
        yield from ((where, _whole(row)) for where, row in reader.rows(path))
    except Exception as error:
        yield str(path), DataError("bad_row", str(error))


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return DataError("bad_row", f"not JSON: {error}")


def _whole(row: Any) -> Any:
    """The row, unless it holds a byte that is no UTF-8."""
    try:
        found = isinstance(row, dict) and _BYTE.search(json.dumps(row, ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        return DataError("bad_row", f"cannot be kept: {error}")
    return DataError("bad_row", "a byte is not UTF-8; save the file as UTF-8") if found else row


def _sheet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise DataError(
            "missing_package", f"{path}: reading XLSX needs openpyxl: pip install 'infimed[xlsx]', or save it as TSV"
        ) from None
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:
        raise DataError("unreadable", f"{path}: no XLSX file ({type(error).__name__}: {error})") from None
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        names = [str(name) for name in next(rows, ())]
        for number, row in enumerate(rows, 2):
            yield f"{path}:{number}", dict(zip(names, row, strict=False))
    finally:
        book.close()
