"""Files of answers as other tools write them: one reader for each layout, by name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IDS = ("id", "question_id", "sample_id", "qid", "index", "doc_id")
TEXTS = ("text", "prediction", "response", "output", "model_answer", "generated_text", "pred", "answer")
QUESTIONS = ("question", "Question", "query", "prompt", "input")
ENDINGS = ("finish_reason", "stop_reason")


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


def read_predictions(path: Path, layout: str, id_field: str | None, text_field: str | None) -> list[Prediction]:
    """Every answer of a file, or of every file in a folder, in order; ``layout`` is one of ``LAYOUTS``.

    Raises:
        DataError: the file cannot be read or is laid out otherwise; the message names file, line and what was expected.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".jsonl", ".json", ".xlsx", ".tsv", ".csv"))
    if not files:
        raise DataError("no_predictions", f"{path}: no file of answers in this folder")
    read = LAYOUTS[layout]
    found = [one for file in files for one in read(file, _Fields(id_field, text_field))]
    if not found:
        raise DataError("no_predictions", f"{path}: holds no answer")
    return found


@dataclass(frozen=True)
class _Fields:
    id: str | None
    text: str | None


def guessed_layout(path: Path) -> str:
    """The layout of a file, told from its first row."""
    if path.is_dir():
        return next((guessed_layout(file) for file in sorted(path.iterdir()) if file.is_file()), "jsonl")
    if path.suffix in (".xlsx", ".tsv"):
        return "vlmevalkit"
    row = next((row for _, row in _rows(path)), {})
    if "resps" in row or "filtered_resps" in row:
        return "lm-eval" if "arguments" in row else "lmms-eval"
    if "prediction" in row and "index" in row:
        return "vlmevalkit"
    return "llava" if "question_id" in row and "text" in row else "jsonl"


def plain(path: Path, fields: _Fields) -> Iterator[Prediction]:
    """Rows with an id and a text, in JSON Lines, a JSON list, CSV or TSV."""
    for where, row in _rows(path):
        identity = _value(row, fields.id, IDS, where, "an id")
        text = _value(row, fields.text, TEXTS, where, "the answer's text")
        yield _prediction(row, identity, text, where)


def llava(path: Path, fields: _Fields) -> Iterator[Prediction]:
    """LLaVA's answer files: ``question_id``, ``prompt``, ``text``."""
    for where, row in _rows(path):
        identity = _value(row, fields.id, ("question_id",), where, "'question_id'")
        text = _value(row, fields.text, ("text",), where, "'text'")
        yield _prediction(row, identity, text, where)


def vlmevalkit(path: Path, fields: _Fields) -> Iterator[Prediction]:
    """VLMEvalKit's predictions: a table with ``index``, ``question`` and ``prediction`` (XLSX, TSV, CSV or JSON)."""
    for where, row in _rows(path):
        identity = _value(row, fields.id, ("index",), where, "'index'")
        text = _value(row, fields.text, ("prediction",), where, "'prediction'")
        yield _prediction(row, identity, text, where)


def samples_log(path: Path, fields: _Fields) -> Iterator[Prediction]:
    """Logs of lm-eval and lmms-eval (``--log_samples``): ``doc_id``, ``doc``, ``resps``; by likelihoods the likeliest.

    One document is logged once for each filter of its task; what the model said is the same in all.
    """
    seen = set[str]()
    for where, row in _rows(path):
        identity = str(_value(row, fields.id, ("doc_id",), where, "'doc_id'"))
        if identity in seen:
            continue
        seen.add(identity)
        said = row.get("resps") if row.get("resps") not in (None, []) else row.get("filtered_resps")
        doc = row.get("doc")
        own = _first(doc, QUESTIONS) if isinstance(doc, Mapping) else None
        asked = own or row.get("input")
        yield Prediction(identity, _said(said, where), asked if isinstance(asked, str) else "", where=where)


def _said(value: Any, where: str) -> str | None:
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
    raise DataError("bad_row", f"{where}: 'resps' holds {type(value).__name__}, neither texts nor likelihoods")


def _likelihoods(value: Any) -> list[float]:
    found = []
    for one in value if isinstance(value, list) else ():
        while isinstance(one, list) and len(one) == 1 and isinstance(one[0], list):
            one = one[0]
        if not (isinstance(one, list) and len(one) == 2 and str(one[1]) in ("True", "False")):
            return []
        found.append(float(one[0]))
    return found


LAYOUTS: dict[str, Callable[[Path, _Fields], Iterator[Prediction]]] = {
    "jsonl": plain,
    "llava": llava,
    "vlmevalkit": vlmevalkit,
    "lm-eval": samples_log,
    "lmms-eval": samples_log,
}


def _prediction(row: Mapping[str, Any], identity: Any, text: Any, where: str) -> Prediction:
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


def _value(row: Mapping[str, Any], named: str | None, names: Sequence[str], where: str, what: str) -> Any:
    """A field of a row; ``None`` where it is there and empty.

    Raises:
        DataError: no such field.
    """
    wanted = (named,) if named else names
    for name in wanted:
        if name in row:
            return row[name]
    there = ", ".join(map(str, row)) or "nothing"
    raise DataError("missing_field", f"{where}: no field for {what} ({' or '.join(wanted)}); the row has: {there}")


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every row of a table or of a JSON file."""
    if path.suffix == ".xlsx":
        yield from _sheet(path)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("unreadable", f"{path}: cannot be read ({error}); name a file of answers") from None
    if path.suffix in (".csv", ".tsv"):
        csv.field_size_limit(2**31 - 1)  # VLMEvalKit's tables may hold whole pictures
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
        for number, line in enumerate(table, 2):
            yield f"{path}:{number}", {str(key): value for key, value in line.items()}
        return
    yield from _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and isinstance(body.get("logs"), list):
        body = body["logs"]  # as lmms-eval wrote them in one file with its settings
    if isinstance(body, dict) and not any(name in body for name in IDS):
        body = [{"id": key, "text": value} for key, value in body.items()]
    rows: Iterator[tuple[str, Any]]
    if isinstance(body, list):
        rows = ((f"{path}: entry {number}", row) for number, row in enumerate(body, 1))
    else:
        rows = ((f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    for where, row in rows:
        if isinstance(row, str) and not isinstance(body, list):
            try:
                row = json.loads(row)
            except (ValueError, RecursionError) as error:
                raise DataError("bad_row", f"{where}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError("bad_row", f"{where}: a row must be a JSON object, not {type(row).__name__}")
        yield where, row


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
