"""Files of answers as other tools write them: one reader for each layout, by name."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infimed_core import DataError, Registry, load_plugins, printable, read_named

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IDS = ("id", "question_id", "sample_id", "qid", "index", "doc_id")
TEXTS = ("text", "prediction", "response", "output", "model_answer", "generated_text", "pred", "answer")
QUESTIONS = ("question", "Question", "query", "prompt", "input")
ENDINGS = ("finish_reason", "stop_reason")
MOST_BYTES = 2**30
"""The largest file of answers: 50,000 answers of 10 KB are half of it."""
Row = Mapping[str, Any]
_BYTE = re.compile("[\udc80-\udcff]")
"""What a byte that is no UTF-8 was read as."""


@dataclass(frozen=True)
class Prediction:
    """An answer of a model to one question.

    Attributes:
        id: of the question, as the file has it; a whole number may be its place in the benchmark, counted from 0.
        text: the answer; ``None`` where the file has none, with ``error`` where it says why.
        question: what was asked, where the file says so.
    """

    id: str
    text: str | None
    question: str = ""
    finish_reason: str | None = None
    error: str | None = None
    where: str = ""


def read_predictions(
    path: Path, layout: str, id_field: str | None, text_field: str | None, faults: list[DataError] | None = None
) -> list[Prediction]:
    """Every answer of a file, or of every file in a folder, in order; ``layout`` is one of ``LAYOUTS``.

    A row that is no answer is added to ``faults``, told with its file and line; those beside it are read.

    Raises:
        DataError: the file cannot be read, or no row of it is an answer; the message names the first row's fault.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".jsonl", ".json", ".xlsx", ".tsv", ".csv"))
    if not files:
        raise DataError("no_predictions", f"{path}: no file of answers in this folder")
    faults = [] if faults is None else faults
    found = [one for file in files for one in _read(file, layout, _Fields(id_field, text_field), faults)]
    if not found and faults:
        raise faults[0]
    if not found:
        raise DataError("no_predictions", f"{path}: holds no answer")
    return found


@dataclass(frozen=True)
class _Fields:
    id: str | None
    text: str | None


def guessed_layout(path: Path) -> str:
    """The layout of a file, told from the first row that is one."""
    if path.is_dir():
        return next((guessed_layout(file) for file in sorted(path.iterdir()) if file.is_file()), "jsonl")
    if path.suffix in (".xlsx", ".tsv"):
        return "vlmevalkit"
    row = next((row for _, row in _rows(path) if isinstance(row, dict)), {})
    if "resps" in row or "filtered_resps" in row:
        return "lm-eval" if "arguments" in row else "lmms-eval"
    if "prediction" in row and "index" in row:
        return "vlmevalkit"
    return "llava" if "question_id" in row and "text" in row else "jsonl"


def _read(path: Path, layout: str, fields: _Fields, faults: list[DataError]) -> Iterator[Prediction]:
    """The answers of one file. Logs have one document once for each filter of its task: what was said is the same."""
    seen = set[str]()
    for where, row in _rows(path):
        try:
            if isinstance(row, DataError):
                raise row
            if not isinstance(row, dict):
                raise DataError("bad_row", f"a row must be a JSON object, not {type(row).__name__}")
            one = LAYOUTS[layout](row, fields, where)
        except Exception as error:  # whatever it is, it is this row's
            code = error.code if isinstance(error, DataError) else "bad_row"
            told = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            faults.append(DataError(code, f"{where}: {printable(' '.join(told.split())[:500])}"))
            continue
        if layout not in ("lm-eval", "lmms-eval") or one.id not in seen:
            seen.add(one.id)
            yield one


def plain(row: Row, fields: _Fields, where: str) -> Prediction:
    """A row with an id and a text, of JSON Lines, a JSON list, CSV or TSV."""
    return _prediction(row, _value(row, fields.id, IDS, "an id"), _text(row, fields, TEXTS, "the answer's text"), where)


def llava(row: Row, fields: _Fields, where: str) -> Prediction:
    """LLaVA's answer files: ``question_id``, ``prompt``, ``text``."""
    identity = _value(row, fields.id, ("question_id",), "'question_id'")
    return _prediction(row, identity, _text(row, fields, ("text",), "'text'"), where)


def vlmevalkit(row: Row, fields: _Fields, where: str) -> Prediction:
    """VLMEvalKit's predictions: a table with ``index``, ``question`` and ``prediction`` (XLSX, TSV, CSV or JSON)."""
    identity = _value(row, fields.id, ("index",), "'index'")
    return _prediction(row, identity, _text(row, fields, ("prediction",), "'prediction'"), where)


def samples_log(row: Row, fields: _Fields, where: str) -> Prediction:
    """Logs of lm-eval and lmms-eval: ``doc_id``, ``doc``, ``resps``; by likelihoods the likeliest choice."""
    identity = _value(row, fields.id, ("doc_id",), "'doc_id'")
    said = row.get("resps") if row.get("resps") not in (None, []) else row.get("filtered_resps")
    doc = row.get("doc")
    own = _first(doc, QUESTIONS) if isinstance(doc, Mapping) else None
    asked = own or row.get("input")
    return Prediction(str(identity), _said(said), asked if isinstance(asked, str) else "", where=where)


def _said(value: Any) -> str | None:
    """The text of a response, or the letter of the likeliest choice of ``[log-probability, is greedy]`` pairs."""
    likelihoods = _likelihoods(value)
    if len(likelihoods) > 1:
        return LETTERS[max(range(len(likelihoods)), key=likelihoods.__getitem__)]
    while isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            return None
        value = value[0]
    if value is None or isinstance(value, str):
        return value
    raise DataError("bad_row", f"'resps' holds {type(value).__name__}, neither texts nor likelihoods")


def _likelihoods(value: Any) -> list[float]:
    found = []
    for one in value if isinstance(value, list) else ():
        while isinstance(one, list) and len(one) == 1 and isinstance(one[0], list):
            one = one[0]
        if not (isinstance(one, list) and len(one) == 2 and str(one[1]) in ("True", "False")):
            return []
        found.append(float(one[0]))
    if any(value != value for value in found):
        raise DataError("bad_row", "a likelihood is not a number, so that none is the likeliest")
    return found


LAYOUTS: dict[str, Callable[[Row, _Fields, str], Prediction]] = {
    "jsonl": plain,
    "llava": llava,
    "vlmevalkit": vlmevalkit,
    "lm-eval": samples_log,
    "lmms-eval": samples_log,
}


def _prediction(row: Row, identity: Any, text: Any, where: str) -> Prediction:
    error = row.get("error")
    ended = _first(row, ENDINGS)
    return Prediction(
        str(identity),
        None if text is None else str(text),
        str(_first(row, QUESTIONS) or ""),
        str(ended) if ended else None,
        str(error) if error else None,
        where,
    )


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _value(row: Row, named: str | None, names: Sequence[str], what: str) -> Any:
    """A field of a row; ``None`` where it is there and empty.

    Raises:
        DataError: no such field.
    """
    wanted = (named,) if named else names
    for name in wanted:
        if name in row:
            return row[name]
    there = ", ".join(map(str, row)) or "nothing"
    raise DataError("missing_field", f"no field for {what} ({' or '.join(wanted)}); the row has: {there}")


def _text(row: Row, fields: _Fields, names: Sequence[str], what: str) -> Any:
    """The answer; none where the row says what went wrong in its place."""
    if row.get("error") and not any(name in row for name in ((fields.text,) if fields.text else names)):
        return None
    return _value(row, fields.text, names, what)


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of every row of a table or of a JSON file; one that cannot be read is the error it is.

    Raises:
        DataError: the file cannot be read at all.
    """
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
    if isinstance(body, dict) and isinstance(body.get("logs"), list):
        body = body["logs"]  # as lmms-eval wrote them in one file with its settings
    if isinstance(body, dict) and not any(name in body for name in IDS):
        body = [{"id": key, "text": value} for key, value in body.items()]
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
