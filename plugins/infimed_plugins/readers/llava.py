"""The reader ``llava``: LLaVA, ShareGPT and Alpaca rows in JSON or JSON Lines."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import DataError, Sample
from infimed_plugins.readers.conversation import conversation, image_list, medium_of, question_and_answer
from infimed_plugins.readers.files import FileReader, stable_id
from infimed_plugins.readers.json_array import array_entries
from infimed_plugins.readers.jsonl import json_lines

USED = (
    "id",
    "image",
    "images",
    "conversations",
    "messages",
    "system",
    "tags",
    "licence",
    "license",
    "input",
    "options",
)
QUESTIONS = ("question", "instruction", "query", "prompt")
ANSWERS = ("answer", "output", "response", "caption")


class Llava(FileReader):
    """Rows with ``conversations`` (from, value) or ``messages`` (role, content) and ``image`` or ``images``.

    A file is a JSON array, or one object a line; ``.gz`` is read too. ``<image>`` stays where it stands. Other keys
    with a plain value are kept in ``meta``. Rows of one question and answer are read as well: ``question``,
    ``instruction`` with ``input``, ``query`` or ``prompt``; ``answer``, ``output``, ``response`` or ``caption``.
    """

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Entries of the array, or lines (``file:line`` where the entry begins)."""
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rb") as peeked:
            is_array = peeked.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        if not is_array:
            yield from json_lines(file)
            return
        with opener(file, "rt", encoding="utf-8-sig") as text:
            for line, entry in array_entries(text):
                yield f"{file}:{line}", entry

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """A conversation with its images placed."""
        if not isinstance(row, dict):
            raise DataError("bad_row", f"a row must be an object, not {type(row).__name__}")
        messages = row.get("conversations", row.get("messages"))

        def place(name: str) -> Any:
            return self.media(file, name)

        images = image_list(row.get("image")) + image_list(row.get("images"))
        found = [medium_of(image, place) for image in images]
        if messages is not None:
            turns, media = conversation(messages, found, place, row.get("system"))
        else:
            question, answer = _question(row), _first_of(row, ANSWERS)
            if question is None and answer is None:
                keys = ", ".join(sorted(map(str, row)))
                raise DataError("bad_row", f"no conversation, question or answer (keys: {keys}); see docs/data.md")
            turns, media = question_and_answer(question, answer, found, place, row.get("system"))
        tags = row.get("tags") or {}
        return Sample(
            id=stable_id(row.get("id"), identity),
            turns=turns,
            options=_options(row),
            media=media,
            tags={str(key): str(value) for key, value in tags.items()},
            licence=row.get("licence") or row.get("license"),
            meta={
                key: value
                for key, value in row.items()
                if key not in (*USED, *QUESTIONS, *ANSWERS) and _is_plain(value)
            },
        )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _first_of(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _question(row: dict[str, Any]) -> Any:
    """The question, with ``input`` below it as in Alpaca's layout."""
    question, more = _first_of(row, QUESTIONS), row.get("input")
    if isinstance(question, str) and isinstance(more, str) and more:
        return f"{question}\n{more}" if question else more
    return more if question is None else question


def _options(row: dict[str, Any]) -> tuple[str, ...]:
    options = row.get("options")
    if options is None:
        return ()
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise DataError("bad_row", "options must be a list of texts, without letters")
    return tuple(options)
