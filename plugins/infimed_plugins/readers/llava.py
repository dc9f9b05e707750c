"""The reader ``llava``: LLaVA, ShareGPT and Alpaca rows in JSON or JSON Lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Media, Sample, Turn
from infimed_plugins.readers.conversation import conversation, media_of, question_and_answer
from infimed_plugins.readers.dataset_info import NAME, Layout, files_of, layout_of
from infimed_plugins.readers.fields import REFUSED, STRUCTURED, history_of, is_prose, refuse, structured
from infimed_plugins.readers.files import FileReader, stable_id
from infimed_plugins.readers.json_array import array_entries
from infimed_plugins.readers.jsonl import json_lines, parsed
from infimed_plugins.readers.options import read_options, refuse_unread
from infimed_plugins.readers.texts import LONGEST_LINE, first_character, opened
from infimed_plugins.readers.tools import tools_of
from infimed_plugins.readers.values import as_json, is_empty, known, text_of

QUESTIONS = ("question", "instruction", "query", "prompt")
ANSWERS = ("answer", "output", "response", "caption", "completion", "report")
SYSTEMS = ("system", "system_prompt")
_ROW = frozenset({"image", "images", "conversations", "messages", *QUESTIONS, *ANSWERS})
"""Fields of which a row has one."""
USED = frozenset(
    {"id", "image", "images", "conversations", "messages", "tags", "licence", "license", "input", "options",
     *SYSTEMS, *QUESTIONS, *ANSWERS[:-1], *REFUSED}
)  # fmt: skip


class Llava(FileReader):
    """Rows with ``conversations`` (from, value) or ``messages`` (role, content) and ``image`` or ``images``.

    A file is a JSON array, or one object a line; ``.gz`` is read too. ``<image>`` stays where it stands. Other keys
    are kept in ``meta``. Rows of one question and answer are read as well: ``question``, ``instruction`` with
    ``input``, ``query`` or ``prompt``; ``answer``, ``output``, ``response``, ``caption``, ``completion`` or
    ``report``; ``history`` before them. A file that is one object with a list of rows for each split
    (``{"train": [...], "test": [...]}``) is read one list at a time: ``split`` says which.
    What a ``dataset_info.json`` beside the file says of its columns and roles is followed; ``path`` may name it.
    """

    image_key: str | None = Field(
        default=None, description="Key of the image(s): img_name ...; 'image' and 'images' by default."
    )
    dataset: str | None = Field(
        default=None, description="Which entry of dataset_info.json is read; all that name a local file by default."
    )
    split: str | None = Field(
        default=None, description="Which list is read of a file that is one object with several: train, val, test ..."
    )
    system: str | None = Field(default=None, min_length=1, description="System prompt of rows that have none.")

    def files(self) -> list[Path]:
        """The files; those that a ``dataset_info.json`` names, where ``path`` is one or a folder with one."""
        place = Path(os.path.abspath(os.path.expanduser(self.path)))
        info = place / NAME if place.is_dir() else place
        return files_of(info, self.dataset) if info.name == NAME and info.is_file() else super().files()

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Entries of the array, or lines (``file:line`` where the entry begins)."""
        return json_rows(file, self.encoding, self.split)

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """A conversation with its images placed."""
        if not isinstance(row, dict):
            raise DataError("bad_row", f"a row must be an object, not {type(row).__name__}")
        if (layout := layout_of(file, self.dataset)) is not None:
            row = layout.renamed(row, self.ignore)
        refuse(row, self.ignore)

        def place(name: str) -> Media:
            return self.media(file, name)

        found = media_of(row, (self.image_key,) if self.image_key else ("image", "images"), place)
        messages, system = _messages(row), _first_of(row, SYSTEMS)
        history, objects = history_of(row.get("history")), structured(row, "objects", self.ignore)
        if messages is not None:
            turns, media = conversation(messages, found, place, system, self.ignore, objects)
        else:
            question, answer = _question(row), _first_of(row, ANSWERS)
            if question is None and answer is None:
                keys = ", ".join(sorted(map(str, row)))
                raise DataError("bad_row", f"no conversation, question or answer (keys: {keys}); see docs/data.md")
            turns, media = question_and_answer(
                question, answer, found, place, system, row.get("history"), self.ignore, objects
            )
        if self.system is not None and all(turn.role != "system" for turn in turns):
            turns = (Turn(role="system", content=(self.system,)), *turns)
        tags = row.get("tags") or {}
        used = USED | {self.image_key} | ({"history"} if history else set())
        used |= {"report"} if messages is None and answer == row.get("report") else set()
        used |= {name for name in STRUCTURED if name in self.ignore or not is_prose(row.get(name))}
        sample = Sample(
            id=stable_id(row.get("id"), identity),
            turns=turns,
            tools=tools_of(structured(row, "tools", self.ignore)),
            options=read_options(row.get("options")),
            media=media,
            tags={str(key): text_of(value, str(key)) for key, value in tags.items() if known(value) is not None},
            licence=row.get("licence") or row.get("license"),
            meta={str(key): as_json(value) for key, value in row.items() if key not in used},
        )
        refuse_unread(row, sample, "give them as a list in 'options'", self.ignore)
        return sample

    def digest(self, file: Path) -> str:
        """Digest of one file's content, and of what is said of it beside it."""
        layout: Layout | None = layout_of(file, self.dataset)
        return super().digest(file) + (layout.digest() if layout else "")


def json_rows(file: Path, encoding: str | None = None, split: str | None = None) -> Iterator[tuple[str, Any]]:
    """Entries of a JSON array, or lines of an object each, or of the list ``split`` of an object, with their places.

    Raises:
        DataError: ``bad_file``: there is no such list.
    """
    if first_character(file, encoding) != "[":
        yield from _inner_rows(file, encoding, split) or json_lines(file, encoding)
        return
    if split is not None:
        raise DataError("bad_file", "is a list of rows, not an object with a list for each split; leave out split")
    with opened(file, encoding) as text:
        for line, entry in array_entries(text):
            yield f"{file}:{line}", entry


def splits_of(file: Path, encoding: str | None = None) -> list[str]:
    """The names of the lists of rows of a file that is one object with several; none of any other file."""
    whole = _whole_object(file, encoding) if first_character(file, encoding) == "{" else None
    lists = list(_lists_of_rows(whole))
    return lists if len(lists) > 1 else []


def _whole_object(file: Path, encoding: str | None) -> dict[str, Any] | None:
    """The object that a file is; ``None`` of a file of lines."""
    with opened(file, encoding) as text:
        first = text.readline(LONGEST_LINE)
        if not first.strip().startswith("{"):
            return None
        whole = parsed(first, encoding)
        if not isinstance(whole, DataError):  # a line of rows is one row more often than all of them
            entries = [entry for rows in _lists_of_rows(whole).values() for entry in rows]
            if not entries or not all(_ROW & entry.keys() for entry in entries) or text.read(LONGEST_LINE).strip():
                return None
        if isinstance(whole, DataError):
            whole = parsed(first + text.read(LONGEST_LINE), encoding)
    return whole if isinstance(whole, dict) else None


def _inner_rows(file: Path, encoding: str | None, split: str | None) -> list[tuple[str, Any]]:
    """The rows of a file that is one object: those of its only list, or of ``split``, else itself; none of lines."""
    whole = _whole_object(file, encoding)
    lists = _lists_of_rows(whole)
    there = ", ".join(f"'{name}' ({len(rows):,} rows)" for name, rows in lists.items()) or "none"
    if split is not None and split not in lists:
        raise DataError("bad_file", f"no list of rows is called '{split}' (there are: {there}); set split")
    if split is not None or len(lists) == 1:
        name = split or next(iter(lists))
        return [(f"{file}:{name}[{number}]", entry) for number, entry in enumerate(lists[name])]
    if lists:
        told = f"several lists of rows: {there}; set split: {next(iter(lists))} to read that one"
        return [(f"{file}:1", DataError("bad_file", told))]
    return [(f"{file}:1", whole)] if whole is not None else []


def _lists_of_rows(whole: Any) -> dict[str, list[Any]]:
    """The lists of objects in an object that is no row itself."""
    if not isinstance(whole, dict) or {"conversations", "messages", *QUESTIONS, *ANSWERS} & whole.keys():
        return {}
    lists = {str(name): value for name, value in whole.items() if isinstance(value, list) and value}
    return {name: value for name, value in lists.items() if all(isinstance(entry, dict) for entry in value)}


def _first_of(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _messages(row: Mapping[str, Any]) -> Any:
    """The conversation; a ``prompt`` of messages and the ``completion`` behind it are one too."""
    talk, prompt, completion = row.get("conversations", row.get("messages")), row.get("prompt"), row.get("completion")
    if talk is not None or not isinstance(prompt, list):
        return talk
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    return [*prompt, *(completion if isinstance(completion, list) else [])]


def _question(row: dict[str, Any]) -> Any:
    """The question, with ``input`` below it as in Alpaca's layout."""
    question, more = known(_first_of(row, QUESTIONS)), known(row.get("input"))
    if isinstance(question, str) and isinstance(more, str) and more:
        return f"{question}\n{more}" if question else more
    return more if is_empty(question) and more is not None else question
