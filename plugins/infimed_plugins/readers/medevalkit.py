"""The reader ``medevalkit``: a folder as MedEvalKit keeps its data sets, tables of one split and images beside them."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Media, Sample
from infimed_plugins.readers.conversation import image_list, medium_of, question_and_answer
from infimed_plugins.readers.files import FileReader, stable_id
from infimed_plugins.readers.json_array import array_entries
from infimed_plugins.readers.jsonl import json_lines
from infimed_plugins.readers.parquet import parquet_rows

KINDS = (".parquet", ".jsonl", ".json", ".csv")
IDS = ("id", "qid", "question_id", "index")
QUESTIONS = ("question", "query", "prompt")
ANSWERS = ("answer", "gt_answer", "label", "answer_idx", "correct option", "report", "caption")
IMAGES = ("image", "images", "img_name", "image_path", "figure_path", "image_paths")
IMAGE_FOLDERS = ("", "images", "imgs", "figures", "Images", "image")
TAGS = {
    "modality": "modality", "modality_type": "modality", "location": "body_part", "body_system": "body_part",
    "q_lang": "language", "answer_type": "answer_type", "question_type": "question_type", "dataset": "dataset",
}  # fmt: skip
LETTERS = "ABCDEFGHIJ"
_LETTERED = re.compile(r"^\s*\(?([A-J])[).:]\s*")


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
            yield from parquet_rows(file)
        elif file.suffix == ".csv":
            with file.open(encoding="utf-8-sig", newline="") as stream:
                table = csv.DictReader(stream)
                for row in table:
                    yield f"{file}:{table.line_num}", row
        elif _is_array(file):
            with file.open(encoding="utf-8-sig") as text:
                for line, entry in array_entries(text):
                    yield f"{file}:{line}", entry
        elif file.suffix == ".jsonl":
            yield from json_lines(file)
        else:
            yield str(file), json.loads(file.read_text(encoding="utf-8-sig"))

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """A question with its options, images and answer."""
        if not isinstance(row, Mapping):
            raise DataError("bad_row", f"a row must be an object, not {type(row).__name__}")
        fields = {str(key).lower(): value for key, value in row.items()}
        question, answer = _first(fields, QUESTIONS), _first(fields, ANSWERS)
        if question is None and answer is None:
            raise DataError("bad_row", f"no question and no answer (columns: {', '.join(map(str, row))})")
        options = _options(row)
        place_given = fields.get("cop")  # MedMCQA's key, counted from 0
        if answer is None and isinstance(place_given, int) and 0 <= place_given < len(options):
            answer = LETTERS[place_given]
        told: Any = answer
        references: tuple[str, ...] = ()
        if options:
            place = _place(str(answer if answer is not None else ""), options)
            if place is None:
                raise DataError("bad_row", f"the answer {answer!r} is none of the {len(options)} options")
            told = f"{LETTERS[place]}. {options[place]}"
            references = (LETTERS[place], options[place])
            lettered = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
            question = f"{str(question or '').strip()}\n{lettered}"
        found = [medium_of(item, self._find) for name in IMAGES for item in image_list(fields.get(name))]
        turns, media = question_and_answer(question, told, found, self._find)
        tags = {tag: str(fields[name]) for name, tag in TAGS.items() if fields.get(name) not in (None, "")}
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


def _is_array(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _options(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Options without letters, in the order of their letters; empty where the row has none."""
    given = next((row[name] for name in ("options", "choices", "Options") if row.get(name)), None)
    if isinstance(given, str) and given.lstrip()[:1] in "[{":
        try:
            given = json.loads(given)
        except ValueError:
            raise DataError("bad_row", "options are a text that is no JSON") from None
    if isinstance(given, Mapping):
        given = [given[key] for key in sorted(given) if given[key] is not None]
    if not isinstance(given, (list, tuple)):
        fields = {str(key).lower(): value for key, value in row.items()}
        forms = ("option_{}", "choice {}", "choice_{}", "op{}", "{}")
        columns = ([fields.get(form.format(letter.lower())) for letter in LETTERS] for form in forms)
        given = next((found for found in columns if found[0] not in (None, "") and found[1] not in (None, "")), [])
    texts = [_LETTERED.sub("", str(text)).strip() for text in given if text not in (None, "")]
    return tuple(texts[: len(LETTERS)])


def _place(answer: str, options: Sequence[str]) -> int | None:
    """Which option an answer names: by its text, by its letter, or by both."""
    plain = [option.strip().lower() for option in options]
    text = answer.strip()
    if text.lower() in plain:
        return plain.index(text.lower())
    if len(text) == 1 and text.upper() in LETTERS[: len(options)]:
        return LETTERS.index(text.upper())
    if (lettered := _LETTERED.match(text)) and _LETTERED.sub("", text).strip().lower() in plain:
        return LETTERS.index(lettered[1])
    return None
