"""Rows of named columns (CSV, Parquet, Hugging Face datasets) as samples, by a mapping the run file may set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field

from infimed_core import DataError, Row, Sample
from infimed_plugins.readers.conversation import Place, conversation, media_of
from infimed_plugins.readers.conversation import question_and_answer as asked
from infimed_plugins.readers.fields import refuse, structured
from infimed_plugins.readers.files import stable_id
from infimed_plugins.readers.options import listed_options, read_options, refuse_unread
from infimed_plugins.readers.places import picture_of
from infimed_plugins.readers.tools import tools_of
from infimed_plugins.readers.values import as_json, is_empty, known, text_of
from infimed_plugins.readers.views import question_about

ASKED = "What the user asks where a row has no question of its own; nothing by default: its answer is a caption."


class Columns(Row):
    """Which column holds what. A column that is named and missing is an error; those with a default may be missing."""

    id: str | None = Field(default=None, description="Column of the id; made of file and row number by default.")
    image: str | dict[str, str] | None = Field(
        default=None,
        description="Column of the image(s): bytes, {bytes, path}, path, or a list; 'image' or 'images'. A map names "
        "the views of a study in the prompt: {PA view: frontal, Lateral view: lateral}; an empty one is left out.",
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

    def named(self) -> dict[str, str]:
        """Every column that the run file names, by its place there."""
        given = {name: getattr(self, name) for name in ("id", "conversations", "system")}
        views = self.image if isinstance(self.image, dict) else {}
        given |= {"image": self.image} if isinstance(self.image, str) else {}
        given |= {f"image.{view}": name for view, name in views.items()}
        given |= {name: getattr(self, name) for name in ("question", "answer") if name in self.model_fields_set}
        given |= {f"tags.{tag}": name for tag, name in self.tags.items()}
        given |= {f"meta.{place}": name for place, name in enumerate(self.meta)}
        options = self.options or ()
        given |= {"options": options} if isinstance(options, str) else {}
        given |= {f"options.{n}": name for n, name in enumerate(options)} if not isinstance(options, str) else {}
        return {place: name for place, name in given.items() if name is not None}

    def missing(self, there: Collection[str]) -> dict[str, str]:
        """The columns that are named and that no row has, by their place in the run file."""
        told = f"(there are: {', '.join(map(str, there))})"
        found = {place: f"no column '{name}' {told}" for place, name in self.named().items() if name not in there}
        usual = {self.question, self.answer, "conversations", "messages"}
        if not found and self.conversations is None and not usual & set(there):
            found["answer"] = f"no column '{self.question}', '{self.answer}', 'conversations' or 'messages' {told}"
        return found


def sample_of(
    row: Mapping[str, Any],
    columns: Columns,
    identity: str,
    place: Place,
    ignore: Collection[str] = (),
    otherwise: str | None = None,
) -> Sample:
    """The sample in a row; ``otherwise`` is asked where it has no question.

    Raises:
        DataError: ``bad_row`` where a named column is missing or holds something else than it should.
    """
    if missing := columns.missing(row.keys()):
        raise DataError("bad_row", f"{next(iter(missing.values()))}; set columns")
    ignore = (*ignore, *columns.named().values())  # what the run file names means what it says there
    refuse(row, ignore)
    views = columns.image if isinstance(columns.image, dict) else {}
    names = (columns.image,) if isinstance(columns.image, str) else tuple(views.values()) or ("image", "images")
    fields = {name: _names(row[name]) for name in names if name in row}
    media = media_of(fields, names, place)
    system = known(row[columns.system]) if columns.system else None
    talk = columns.conversations or next(
        (name for name in ("conversations", "messages") if known(row.get(name)) not in (None, "", [])), None
    )
    objects = structured(row, "objects", ignore)
    question, answer = row.get(columns.question), row.get(columns.answer)
    question = otherwise if otherwise is not None and is_empty(question) else question
    if views:
        if talk is not None:
            raise DataError("bad_row", "columns.image names views, which stand before a question, not a conversation")
        shown = [(view, media_of(fields, (name,), place)) for view, name in views.items()]
        shown = [(view, own) for view, own in shown if own]
        turns, found = question_about(shown, question, answer, place, system, row.get("history"), ignore, objects)
    elif talk is not None:
        turns, found = conversation(known(row[talk]), media, place, system, ignore, objects)
    else:
        turns, found = asked(question, answer, media, place, system, row.get("history"), ignore, objects)
    sample = Sample(
        id=stable_id(row[columns.id] if columns.id else None, identity),
        turns=turns,
        tools=tools_of(structured(row, "tools", ignore)),
        media=found,
        options=_options(row, columns.options),
        tags={tag: text_of(row[name], tag) for tag, name in columns.tags.items() if known(row[name]) is not None},
        meta={name: as_json(row[name]) for name in columns.meta},
    )
    refuse_unread(row, sample, "set columns: {options: ...}", ignore)
    return sample


def _names(images: Any) -> Any:
    """Numbers that name files, as where the program that wrote the table took names for numbers."""
    images = known(images)
    if isinstance(images, list):
        if (picture := picture_of(images)) is not None:
            return picture
        return [_names(image) for image in images]
    return text_of(images, "image") if isinstance(images, (int, float)) and not isinstance(images, bool) else images


def _options(row: Mapping[str, Any], columns: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if isinstance(columns, str):
        return read_options(row[columns])
    return listed_options([row[name] for name in columns or ()])
