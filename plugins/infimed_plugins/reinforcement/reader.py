"""The readers ``preference-pairs`` and ``labelled-answers``: questions with answers that somebody judged."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from infimed_core import Component, DataError, Fault, Media, Reader, Sample, Turn, printable
from infimed_plugins.reinforcement.dpo import REJECTED
from infimed_plugins.reinforcement.kto import LABEL

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
_IMAGE = re.compile(r"<image>")
_HALF = re.compile("[\ud800-\udfff]")
_KNOWN = {
    "id", "prompt", "question", "instruction", "input", "system", "conversations", "messages", "image", "images",
    "tags", "source",
}  # fmt: skip
_OF_PAIRS = {"chosen", "rejected", "score_chosen", "score_rejected", "rejected_response", "rejected_messages"}
LOOKED_AT = 64
"""Rows that `infimed check` looks at."""
_ANSWERS, _LABELS = ("completion", "output", "answer", "response"), ("label", "kto_tag")


class JudgedAnswers(Reader):
    """Rows of JSON Lines or of a JSON array: questions with answers that somebody judged."""

    path: str = Field(min_length=1, description="The file.")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of every sample.")
    image_root: str | None = Field(default=None, description="Folder of the images; by default the file's own.")
    allow_outside: bool = Field(
        default=False, description="Allow images outside that folder (.., absolute paths, links)."
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Names of the file for keys that it calls otherwise: {conversations: chat}."
    )
    max_samples: int | None = Field(default=None, ge=1, description="Most rows that are read; all by default.")
    _line: str = PrivateAttr(default="")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A file that is not there."""
        return {} if Path(self.path).expanduser().is_file() else {"path": f"there is no file {self.path}"}

    def place(self) -> str:
        """``file:row``."""
        return self._line

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Every row, as a sample that ends with the chosen answer and keeps the rejected one, or as a fault."""
        file = Path(self.path).expanduser()
        for number, row in enumerate(islice(_rows(file), self.max_samples), start=1):
            self._line = printable(f"{file}:{number}")
            try:
                yield self._sample(file, number, row)
            except Exception as error:  # whatever it is, it is this row's
                code = error.code if isinstance(error, DataError) else "bad_row"
                detail = printable(" ".join(str(error).split())[:500]) or type(error).__name__
                yield Fault(sample_id=printable(f"{file.stem}-{number}"), code=code, detail=detail, where=self._line)

    def doubts(self) -> tuple[str, ...]:
        """That the first rows are no samples, or many of them."""
        rows = list(islice(self.read(self.path), LOOKED_AT))
        faults = [row for row in rows if isinstance(row, Fault)]
        if len(faults) * 10 <= len(rows):
            return () if rows else (f"NO SAMPLE in {self.path}: it has no row",)
        said = f"{faults[0].where}: {faults[0].code}: {faults[0].detail}"
        if len(faults) == len(rows):
            return (f"NO SAMPLE in the first {len(rows)} rows; {said}",)
        return (f"{len(faults)} of the first {len(rows)} rows are no samples; {said}",)

    def judged(self, row: Mapping[str, Any]) -> tuple[list[Message], str, dict[str, Any]]:
        """The question, the answer that the sample ends with, and what goes into the sample's ``meta``."""
        raise NotImplementedError

    def _sample(self, file: Path, number: int, row: Any) -> Sample:
        if isinstance(row, Exception):
            raise row
        if not isinstance(row, dict):
            raise DataError("bad_row", f"a row must be an object, not {type(row).__name__}")
        row = self._renamed(row)
        question, answer, meta = self.judged(row)
        if not question or question[-1][0] != "user":
            raise DataError("no_question", "there is no question before the answer")
        for text in (answer, *(value for value in meta.values() if isinstance(value, str))):
            if _IMAGE.search(text):
                raise DataError("bad_row", "an answer holds the mark <image>")
        images = row.get("images") or ([row["image"]] if row.get("image") else [])
        if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise DataError("bad_row", "images must be a list of paths")
        turns = _placed(question, len(images))
        text = json.dumps(row, sort_keys=True, ensure_ascii=False)
        if _HALF.search(text):
            raise DataError("bad_row", "a text holds half of a surrogate pair: a character was cut in two")
        identity = row.get("id") or f"{file.stem}-{number}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        folder = Path(self.image_root).expanduser() if self.image_root else file.parent
        media = tuple(Media(uri=self._place_of(folder, image)) for image in images)
        given: Any = row.get("tags") if isinstance(row.get("tags"), dict) else {}
        tags = {"source": str(row.get("source") or file.stem), **{k: str(v) for k, v in given.items()}, **self.tags}
        tags |= {LABEL: str(meta[LABEL]).lower()} if LABEL in meta else {}
        whole = (*turns, Turn(role="assistant", content=(answer,)))
        return Sample(id=str(identity), turns=whole, media=media, tags=tags, meta=meta)

    def _renamed(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with the names that are known here."""
        for column in self.columns.values():
            if column not in row:
                raise DataError("bad_row", f"there is no '{column}', which columns names")
        taken = set(self.columns.values())
        return {k: v for k, v in row.items() if k not in taken} | {ours: row[its] for ours, its in self.columns.items()}

    def _place_of(self, folder: Path, image: str) -> str:
        """The path of an image; only a run file that says so may name one outside the file's folder."""
        if "://" in image:
            raise DataError("remote_media", f"{image!r} is no local file; download it and name its path")
        place = os.path.realpath(folder / image)
        if not (self.allow_outside or Path(place).is_relative_to(os.path.realpath(folder))):
            raise DataError("outside_root", f"{image!r} leads out of {folder}; set allow_outside: true if it is meant")
        return place


class PreferencePairs(JudgedAnswers):
    """Rows with ``chosen`` and ``rejected``, in JSON Lines or a JSON array.

    The question is ``prompt`` (TRL), ``instruction`` with ``input`` (Alpaca), ``question``, or the turns of
    ``conversations`` or ``messages``. An answer is a text, a message, or a list of messages of which the last is the
    answer (and those before it, where there is no prompt, are the question). In a row of ms-swift the chosen answer
    ends ``messages``, and ``rejected_response`` or ``rejected_messages`` hold the other. ``<image>`` stands for the
    next of ``images``; images without a mark come first. A key that is none of these is a fault of its row.
    """

    def judged(self, row: Mapping[str, Any]) -> tuple[list[Message], str, dict[str, Any]]:
        """The chosen answer; ``meta`` keeps the rejected one."""
        _only(row, _OF_PAIRS, "a preference pair")
        if row.get("rejected_messages") or row.get("rejected_response"):
            row = _of_swift(row)
        question, (chosen, rejected) = _question(row), (_answer(row, key) for key in ("chosen", "rejected"))
        if not question and (before := _before(row)):
            question = before
        if chosen.strip() == rejected.strip():
            raise DataError("no_preference", "chosen and rejected are the same answer")
        return question, chosen, {REJECTED: rejected}


class LabelledAnswers(JudgedAnswers):
    """Rows with an answer and whether it is good, in JSON Lines or a JSON array.

    ``label`` (TRL) or ``kto_tag`` (LLaMA-Factory) is true, false, 1 or 0. The answer is ``completion``, ``output``,
    ``answer`` or ``response``, or the last of ``conversations``, ``messages`` or of a list in ``completion``. The
    question and ``images`` are as in ``preference-pairs``. The label is a tag too, so that a stage can leave out what
    is bad.
    """

    def judged(self, row: Mapping[str, Any]) -> tuple[list[Message], str, dict[str, Any]]:
        """The answer; ``meta`` keeps the label."""
        _only(row, {*_ANSWERS, *_LABELS}, "a labelled answer")
        labels = [row[key] for key in _LABELS if row.get(key) is not None]
        if len(labels) != 1 or not isinstance(labels[0], int) or labels[0] not in (0, 1):
            raise DataError("no_label", "a row needs one label, which is true or false")
        good = bool(labels[0])
        question = _question(row)
        keys = [key for key in _ANSWERS if row.get(key) not in (None, "", [])]
        if len(keys) > 1:
            raise DataError("bad_row", f"'{keys[0]}' and '{keys[1]}' are both answers")
        if keys:
            value = row[keys[0]]
            whole = _messages(value) if isinstance(value, list) else []
            return question or whole[:-1], _answer(row, keys[0]), {LABEL: good}
        if not question or question[-1][0] != "assistant" or not question[-1][1].strip():
            raise DataError("no_answer", "there is no answer")
        return question[:-1], question[-1][1], {LABEL: good}


def _only(row: Mapping[str, Any], own: set[str], what: str) -> None:
    if unknown := sorted(k for k, v in row.items() if k not in _KNOWN | own and v not in (None, "", [])):
        raise DataError("unsupported_field", f"'{unknown[0]}' is no key of {what}")


def _rows(file: Path) -> Iterator[Any]:
    """Every row, or the exception that it is; lines end with a line feed alone, whatever else Unicode calls a line."""
    if not file.is_file():
        raise DataError("missing_file", f"{file}: there is no such file, or it is a folder, pipe or device")
    with file.open("rb") as stream:
        is_array = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        stream.seek(0)
        for line in [stream.read()] if is_array else stream:
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                row = DataError("bad_json" if is_array else "bad_row", f"not JSON: {error}")
            yield from row if isinstance(row, list) and is_array else [row]


Message = tuple[str, str]
"""Role and text."""


def _messages(value: Any) -> list[Message]:
    found: list[Message] = []
    for message in value if isinstance(value, list) else [value]:
        if not isinstance(message, dict):
            raise DataError("bad_row", "a message must be an object")
        role = _ROLES.get(str(message.get("role", message.get("from", ""))))
        text = message.get("content", message.get("value"))
        if role is None or not isinstance(text, str):
            raise DataError("bad_row", "a message needs a role (or from) that is known, and content (or value) as text")
        found.append((role, text))
    return found


def _question(row: Mapping[str, Any]) -> list[Message]:
    found: list[Message] = [("system", row["system"])] if isinstance(row.get("system"), str) and row["system"] else []
    for key in ("conversations", "messages"):
        if row.get(key):
            return [*found, *_messages(row[key])]
    prompt = row.get("prompt") or row.get("question") or row.get("instruction")
    if isinstance(prompt, list):
        return [*found, *_messages(prompt)]
    if not isinstance(prompt, str) or not prompt:
        return []
    more = row.get("input")
    return [*found, ("user", f"{prompt}\n{more}" if isinstance(more, str) and more else prompt)]


def _answer(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if isinstance(value, list | dict) and value:
        role, value = _messages(value)[-1]
        if role != "assistant":
            raise DataError("bad_row", f"'{key}' does not end with an answer")
    if not isinstance(value, str) or not value.strip():
        raise DataError("no_answer", f"'{key}' has no answer")
    return value


def _of_swift(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ms-swift as any other: its chosen answer ends ``messages``."""
    messages, rejected = row.get("messages"), row.get("rejected_messages") or row["rejected_response"]
    if not isinstance(messages, list) or not messages or row.get("chosen") or row.get("rejected"):
        raise DataError(
            "bad_row", "a rejected answer of ms-swift stands beside 'messages' that end with the chosen one"
        )
    others = {key: value for key, value in row.items() if key not in ("messages", *_OF_PAIRS)}
    if isinstance(rejected, list):
        if _messages(rejected)[:-1] != _messages(messages)[:-1]:
            raise DataError("no_question", "messages and rejected_messages do not begin with the same question")
        rejected = rejected[-1:]
    return {**others, "messages": messages[:-1], "chosen": messages[-1:], "rejected": rejected}


def _before(row: Mapping[str, Any]) -> list[Message]:
    """The question that both lists of messages begin with."""
    chosen, rejected = (
        _messages(row[key])[:-1] if isinstance(row[key], list) else [] for key in ("chosen", "rejected")
    )
    if chosen != rejected:
        raise DataError("no_question", "chosen and rejected do not begin with the same question")
    return chosen


def _placed(question: Sequence[Message], num_images: int) -> tuple[Turn, ...]:
    marks = sum(len(_IMAGE.findall(text)) for _, text in question)
    if marks and marks != num_images:
        raise DataError("image_count", f"{marks} marks <image> for {num_images} images")
    left = list(range(num_images))
    turns: list[Turn] = []
    for role, text in question:
        parts: list[str | int] = []
        if not marks and role == "user" and left:
            parts, left = [*left], []
        for number, piece in enumerate(_IMAGE.split(text)):
            parts += [left.pop(0)] if number else []
            parts += [piece] if piece else []
        turns.append(Turn(role=role, content=tuple(parts)))  # type: ignore[arg-type]
    return tuple(turns)
