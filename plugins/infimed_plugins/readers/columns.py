"""Rows of named columns (CSV, Parquet, Hugging Face datasets) as samples, by a mapping the run file may set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from infimed_core import DataError, Row, Sample
from infimed_plugins.readers.conversation import Place, conversation, image_list, medium_of, question_and_answer
from infimed_plugins.readers.files import stable_id


class Columns(Row):
    """Which column holds what. A column that is named and missing is an error; those with a default may be missing."""

    id: str | None = Field(default=None, description="Column of the id; made of file and row number by default.")
    image: str | None = Field(
        default=None, description="Column of the image(s): bytes, {bytes, path}, path, or a list; 'image' or 'images'."
    )
    question: str = Field(default="question", description="Column of the question; may be missing: a caption.")
    answer: str = Field(default="answer", description="Column of the answer (or caption).")
    conversations: str | None = Field(
        default=None, description="Column of a conversation; 'conversations' or 'messages' where there is one."
    )
    system: str | None = Field(default=None, description="Column of a system prompt.")
    options: str | tuple[str, ...] | None = Field(
        default=None,
        description="Column of the options (a list), or a column for each; empty ones at the end are left out.",
    )
    tags: dict[str, str] = Field(default_factory=dict, description="From a tag's name to the column of its value.")
    meta: tuple[str, ...] = Field(default=(), description="Columns kept in the sample's meta.")


def sample_of(row: Mapping[str, Any], columns: Columns, identity: str, place: Place) -> Sample:
    """The sample in a row.

    Raises:
        DataError: ``bad_row`` where a named column is missing or holds something else than it should.
    """
    options = (columns.options,) if isinstance(columns.options, str) else columns.options or ()
    named = [columns.id, columns.image, columns.conversations, columns.system, *columns.tags.values(), *columns.meta]
    named += options
    for name in named:
        if name is not None and name not in row:
            raise DataError("bad_row", f"no column '{name}' (there are: {', '.join(map(str, row))}); set columns")
    images = image_list(row[columns.image]) if columns.image else _usual(row, "image") + _usual(row, "images")
    media = [medium_of(image, place) for image in images if image is not None]
    talk = columns.conversations or next((name for name in ("conversations", "messages") if row.get(name)), None)
    system = row[columns.system] if columns.system else None
    if talk is not None:
        turns, found = conversation(row[talk], media, place, system)
    elif columns.question in row or columns.answer in row:
        turns, found = question_and_answer(row.get(columns.question), row.get(columns.answer), media, place, system)
    else:
        raise DataError(
            "bad_row",
            f"no column '{columns.question}', '{columns.answer}', 'conversations' or 'messages' "
            f"(there are: {', '.join(map(str, row))}); set columns",
        )
    return Sample(
        id=stable_id(row[columns.id] if columns.id else None, identity),
        turns=turns,
        media=found,
        options=_options(row, columns.options),
        tags={tag: str(row[name]) for tag, name in columns.tags.items() if row[name] is not None},
        meta={name: row[name] for name in columns.meta},
    )


def _options(row: Mapping[str, Any], columns: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if isinstance(columns, str):
        found = row[columns]
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except ValueError:
                found = None
            if not isinstance(found, list):
                raise DataError(
                    "bad_row", f'\'{columns}\' must hold a list, as in ["axial", "coronal"]; or name a column each'
                )
        texts = list(found or ())
    else:
        texts = [row[name] for name in columns or ()]
    options = ["" if text is None else str(text).strip() for text in texts]
    while options and not options[-1]:
        options.pop()
    if "" in options:
        letter = chr(ord("A") + options.index(""))
        raise DataError("bad_row", f"option {letter} is empty and one behind it is not, so that letters would move up")
    return tuple(options)


def _usual(row: Mapping[str, Any], name: str) -> list[Any]:
    return image_list(row.get(name))
