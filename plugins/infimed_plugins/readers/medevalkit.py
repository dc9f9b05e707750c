"""The reader ``medevalkit``: a folder as MedEvalKit keeps its data sets, tables of one split and images beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Media, Sample
from infimed_plugins.readers.conversation import media_of, question_and_answer
from infimed_plugins.readers.fields import STRUCTURED, refuse, structured, unsupported
from infimed_plugins.readers.files import FileReader, stable_id
from infimed_plugins.readers.llava import json_rows
from infimed_plugins.readers.options import (
    MOST_OPTIONS,
    OPTIONS,
    columns_of_options,
    keys_of,
    letter_of,
    listed_options,
    place_of,
    read_options,
)
from infimed_plugins.readers.parquet import parquet_rows
from infimed_plugins.readers.tables import table_rows
from infimed_plugins.readers.values import is_empty, known, text_of

KINDS = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
IDS = ("id", "qid", "question_id", "index")
QUESTIONS = ("question", "query", "prompt")
ANSWERS = ("answer", "gt_answer", "label", "answer_idx", "correct option", "report", "caption")
IMAGES = ("image", "images", "img_name", "image_path", "figure_path", "image_paths")
IMAGE_FOLDERS = ("", "images", "imgs", "figures", "Images", "image")
TAGS = {
    "modality": "modality", "modality_type": "modality", "location": "body_part", "body_system": "body_part",
    "q_lang": "language", "answer_type": "answer_type", "question_type": "question_type", "dataset": "dataset",
}  # fmt: skip


class MedEvalKit(FileReader):
    """Reads the tables of a split (JSON, JSON lines, CSV, Parquet) below a folder and finds the images they name.

    Known columns: a question, an answer (a text, or the letter of an option), options (a map of letters, a list, or one
    column each: ``option_A``, ``Choice A``, ``A``, ``opa``), images (``image``, ``img_name``, ``image_path``,
    ``Figure_path`` ...). An image is looked for from the folder, and in its ``images``, ``imgs`` or ``figures``.
    Options follow the question with their letters; the answer to train on is the letter with its text.
    """

    path: str = Field(description="The folder, relative to the current directory.")
    split: str = Field(default="train", description="Part whose files are read: train, test ...; empty: every table.")

    @property
    def root(self) -> Path:
        """The folder.

        Raises:
            DataError: ``missing_file``: there is none.
        """
        folder = Path(os.path.abspath(os.path.expanduser(self.path)))
        if not folder.is_dir():
            raise DataError("missing_file", f"{self.path}: no such folder (looked for {folder})")
        return folder

    def files(self) -> list[Path]:
        """The tables of the split, sorted: those named for it, or lying in a folder of its name.

        Raises:
            DataError: ``missing_file``: there are none; says which tables are there.
        """
        tables = sorted(path for path in self.root.rglob("*") if path.suffix in KINDS and path.is_file())
        found = [path for path in tables if self._in_split(path.relative_to(self.root))]
        if not found:
            there = ", ".join(str(path.relative_to(self.root)) for path in tables[:8]) or "none"
            raise DataError(
                "missing_file", f"{self.path}: no table of the split '{self.split}' (tables: {there}); set split"
            )
        return found

    def _in_split(self, path: Path) -> bool:
        wanted = self.split.lower()
        words = re.split(r"[^a-z]+", path.stem.lower())
        return not wanted or wanted in words or wanted in (part.lower() for part in path.parts[:-1])

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Rows with the place each comes from."""
        if file.suffix == ".parquet":
            return parquet_rows(file)
        if file.suffix in (".csv", ".tsv"):
            return table_rows(file, None, self.encoding)
        return json_rows(file, self.encoding)

    def own_id(self, row: Any) -> Any:
        """What stands in the first column of ids that the row has."""
        fields = {str(key).lower(): value for key, value in row.items()} if isinstance(row, Mapping) else {}
        return _first(fields, IDS)

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """A question with its options, images and answer."""
        if not isinstance(row, Mapping):
            raise DataError("bad_row", f"a row must be an object, not {type(row).__name__}")
        fields = {str(key).lower(): value for key, value in row.items()}
        refuse(fields, (*self.ignore, "label"))  # here a label is an answer
        for name in STRUCTURED:
            if structured(fields, name, self.ignore) is not None:
                raise unsupported(name, "a question of this layout has none")
        question, answer = _first(fields, QUESTIONS), _first(fields, ANSWERS)
        given = _first(fields, OPTIONS)
        options = read_options(given) if given is not None else _by_column(fields)
        place = _counted(fields.get("cop"), options) if answer is None else None
        if question is None and answer is None and place is None:
            raise DataError("bad_row", f"no question and no answer (columns: {', '.join(map(str, row))})")
        told: Any = answer
        references: tuple[str, ...] = ()
        if options:
            if len(options) > MOST_OPTIONS:
                raise DataError("bad_row", f"{len(options)} options; a question may have {MOST_OPTIONS}")
            if place is None:
                place = place_of(text_of(answer, "answer"), options, keys_of(given))
            if place is None:
                raise DataError("bad_row", f"the answer {answer!r} is none of the {len(options)} options")
            told = f"{letter_of(place)}. {options[place]}"
            references = (letter_of(place), options[place])
            lettered = "\n".join(f"{letter_of(number)}. {option}" for number, option in enumerate(options))
            question = f"{text_of(question, 'question').strip()}\n{lettered}"
        found = media_of(fields, IMAGES, self._find)
        turns, media = question_and_answer(question, told, found, self._find, ignore=self.ignore)
        tags = {tag: text_of(fields[name], tag) for name, tag in TAGS.items() if not is_empty(fields.get(name))}
        own = _first(fields, IDS)
        return Sample(
            id=identity if own is None else f"{identity.rsplit('-', 1)[0]}-{stable_id(own, identity)}",
            turns=turns,
            media=media,
            options=options,
            references=references,
            tags=tags,
        )

    def _find(self, name: str) -> Media:
        """The image where it lies: from the folder, or from one of its folders of images."""
        start = self.root / "x"
        for folder in IMAGE_FOLDERS:
            medium = self.media(start, str(Path(folder) / name))
            if medium.uri and os.path.exists(medium.uri):
                return medium
        return self.media(start, name)  # missing: told when it is opened


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of the fields that says something."""
    return next((fields[name] for name in names if known(fields.get(name)) not in (None, "", [], {})), None)


def _counted(number: Any, options: Sequence[str]) -> int | None:
    """MedMCQA's answer, counted from 0."""
    number = known(number)
    if isinstance(number, str) and number.strip().isdecimal():  # as a table of text has it
        number = int(number)
    if isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < len(options):
        return int(number) if number == int(number) else None
    return None


def _by_column(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Options of a column each; none where the row has no such columns."""
    for names in columns_of_options(fields.keys()):
        values = [fields[name] for name in names]
        if not all(is_empty(value) for value in values):
            return listed_options(values)
    return ()
