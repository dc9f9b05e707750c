"""Files of answers as other tools write them: one reader for each layout, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core import DataError, printable
from infimed_plugins.predictions.asked import options_of
from infimed_plugins.predictions.files import IDS, rows_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEXTS = (
    "text", "prediction", "response", "output", "outputs", "model_answer", "model_output", "model_outputs",
    "model_response", "generated_text", "generation", "completion", "answer_pred",
)  # fmt: skip
PERHAPS = ("pred", "answer")
"""What a model said, or what another tool took from it, or what is right: the answer only where it can be no other."""
GOLDS = ("target", "gold", "gt_answer", "gt", "ground_truth", "reference", "correct_answer", "answer_index", "label")
QUESTIONS = ("question", "Question", "query", "prompt", "input")
ENDINGS = ("finish_reason", "stop_reason")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Prediction:
    """An answer of a model to one question.

    Attributes:
        id: of the question, as the file has it; a whole number may be its place in the benchmark, counted from 0.
        text: the answer; ``None`` where the file has none, with ``error`` where it says why.
        question: what was asked, where the file says so, and ``options`` from which to choose.
    """

    id: str
    text: str | None
    question: str = ""
    options: tuple[str, ...] = ()
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
    row = next((row for _, row in rows_of(path) if isinstance(row, dict)), {})
    if "resps" in row or "filtered_resps" in row:
        return "lm-eval" if "arguments" in row else "lmms-eval"
    if "prediction" in row and "index" in row:
        return "vlmevalkit"
    if {"question", "answer", "response"} <= row.keys() and not any(name in row for name in IDS):
        return "medevalkit"
    return "llava" if "question_id" in row and "text" in row else "jsonl"


def holds_answers(path: Path) -> bool:
    """Whether the first row of a file has a question, what is right, and what a model said to it."""
    if not path.is_file() or path.suffix not in (".json", ".jsonl", ".csv", ".tsv", ".xlsx"):
        return False
    try:
        row = next((row for _, row in rows_of(path) if isinstance(row, dict)), {})
    except DataError:
        return False
    says = "resps" in row or any(name in row for name in TEXTS)
    return "doc" in row or (
        says and any(name in row for name in QUESTIONS) and any(name in row for name in ("answer", *GOLDS))
    )


def _read(path: Path, layout: str, fields: _Fields, faults: list[DataError]) -> Iterator[Prediction]:
    """The answers of one file. Logs have one document once for each filter of its task: what was said is the same."""
    seen = set[str]()
    for place, (where, row) in enumerate(rows_of(path)):
        try:
            if isinstance(row, DataError):
                raise row
            if not isinstance(row, dict):
                raise DataError("bad_row", f"a row must be a JSON object, not {type(row).__name__}")
            one = LAYOUTS[layout](row, fields, where, place)
        except Exception as error:  # whatever it is, it is this row's
            code = error.code if isinstance(error, DataError) else "bad_row"
            told = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            faults.append(DataError(code, f"{where}: {printable(' '.join(told.split())[:500])}"))
            continue
        if layout not in ("lm-eval", "lmms-eval") or one.id not in seen:
            seen.add(one.id)
            yield one


def plain(row: Row, fields: _Fields, where: str, place: int) -> Prediction:
    """A row with an id and a text, of JSON Lines, a JSON list, CSV or TSV."""
    identity = _value(row, fields.id, IDS, "an id")
    return _prediction(row, identity, _text(row, fields, text_fields(row), "the answer's text"), where)


def text_fields(row: Row) -> tuple[str, ...]:
    """Where the answer's text may stand. ``answer`` beside a question, or where the row says what is right elsewhere or
    has options, is the accepted answer, and ``pred`` beside it what a tool took from a text under another name.
    """
    is_question = any(name in row for name in (*QUESTIONS, *GOLDS, "options", "choices"))
    return TEXTS if is_question else (*TEXTS, *PERHAPS)


def medevalkit(row: Row, fields: _Fields, where: str, place: int) -> Prediction:
    """MedEvalKit's ``results.json``: the kit's own rows with ``response``, in the order of the data set.

    A row is known by its ``place`` among the rows, counted from 0, in a table or JSON Lines as in a list.
    """
    identity = row.get(fields.id, place) if fields.id else place
    return _prediction(row, identity, _text(row, fields, ("response",), "'response'"), where)


def llava(row: Row, fields: _Fields, where: str, place: int) -> Prediction:
    """LLaVA's answer files: ``question_id``, ``prompt``, ``text``."""
    identity = _value(row, fields.id, ("question_id",), "'question_id'")
    return _prediction(row, identity, _text(row, fields, ("text",), "'text'"), where)


def vlmevalkit(row: Row, fields: _Fields, where: str, place: int) -> Prediction:
    """VLMEvalKit's predictions: a table with ``index``, ``question`` and ``prediction`` (XLSX, TSV, CSV or JSON)."""
    identity = _value(row, fields.id, ("index",), "'index'")
    return _prediction(row, identity, _text(row, fields, ("prediction",), "'prediction'"), where)


def samples_log(row: Row, fields: _Fields, where: str, place: int) -> Prediction:
    """Logs of lm-eval and lmms-eval: ``doc_id``, ``doc``, ``resps``; by likelihoods the likeliest choice."""
    identity = _value(row, fields.id, ("doc_id",), "'doc_id'")
    said = row.get("resps") if row.get("resps") not in (None, []) else row.get("filtered_resps")
    doc = row.get("doc")
    own = _first(doc, QUESTIONS) if isinstance(doc, Mapping) else None
    asked = own or row.get("input")
    options = options_of(doc) if isinstance(doc, Mapping) else ()
    return Prediction(str(identity), _said(said), asked if isinstance(asked, str) else "", options, where=where)


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


LAYOUTS: dict[str, Callable[[Row, _Fields, str, int], Prediction]] = {
    "jsonl": plain,
    "llava": llava,
    "vlmevalkit": vlmevalkit,
    "medevalkit": medevalkit,
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
        options_of(row),
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
    remedy = (
        "; name it with --text-field"
        if "text" in what and named is None and any(name in row for name in PERHAPS)
        else ""
    )
    raise DataError("missing_field", f"no field for {what} ({' or '.join(wanted)}); the row has: {there}{remedy}")


def _text(row: Row, fields: _Fields, names: Sequence[str], what: str) -> Any:
    """The answer; none where the row says what went wrong in its place."""
    if row.get("error") and not any(name in row for name in ((fields.text,) if fields.text else names)):
        return None
    return _value(row, fields.text, names, what)
