"""The reader `answered`: the questions that a file of answers holds beside what was said to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from infimed_core import DataError, Fault, Media, Reader, Sample, Turn
from infimed_plugins.predictions.asked import options_of, right_answer, without_marks
from infimed_plugins.predictions.files import IDS, rows_of
from infimed_plugins.predictions.layouts import GOLDS, QUESTIONS

IMAGES = ("image", "images", "img_name", "image_path", "img_path", "image_file")
PLACES = ("answer_index", "label")
"""Fields of a number that counts options from 0."""
LONGEST_NAME = 500
"""A longer text under the name of an image is the image itself, in letters."""


class Answered(Reader):
    """Questions with options and accepted answers, out of answers that another tool published with them.

    The rows are those of `infimed grade`: a list in JSON, JSON Lines, CSV, TSV or XLSX. A row has a question, an
    accepted answer (``answer``, ``target``, ``gold`` and similar) and perhaps options, an image's name and an id. Of a
    log of lm-eval or lmms-eval its ``doc`` says so.
    """

    path: str = Field(description="The file.")
    tags: tuple[str, ...] = Field(default=(), description="Fields kept as tags of each question.")
    ids: Literal["own", "place"] = Field(default="own", description="Each row's own id, or its place, counted from 0.")

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Every row as a question; a row without a question or an accepted answer is a fault."""
        path, seen = Path(self.path), set[str]()
        for place, (where, row) in enumerate(rows_of(path)):
            identity = f"{path.stem}-{place}"
            try:
                if isinstance(row, DataError):
                    raise row
                if not isinstance(row, Mapping):
                    raise DataError("bad_row", f"a row must be a JSON object, not {type(row).__name__}")
                own = next((str(row[name]) for name in IDS if row.get(name) not in (None, "")), identity)
                sample = self._question(row, own if self.ids == "own" else identity)
            except DataError as error:
                yield Fault(sample_id=identity, code=error.code, detail=str(error), where=where)
                continue
            is_again = "doc" in row and sample.id in seen  # logged once for each filter of its task
            seen.add(sample.id)
            if not is_again:
                yield sample

    def _question(self, row: Mapping[str, Any], identity: str) -> Sample:
        inner = row.get("doc")
        asked = {**inner, **{key: row[key] for key in ("target",) if key in row}} if isinstance(inner, Mapping) else row
        question = next((asked[name] for name in QUESTIONS if isinstance(asked.get(name), str)), "")
        if not question.strip():
            raise DataError("no_question", f"no field for a question; the row has: {', '.join(map(str, asked))}")
        options = options_of(asked)
        name = next((name for name in ("answer", *GOLDS) if asked.get(name) not in (None, "", [])), None)
        if name is None:
            raise DataError("no_answer", f"no field for the accepted answer; the row has: {', '.join(map(str, asked))}")
        right = right_answer(asked[name], options, name in PLACES)
        media = _images(asked)
        tags = {tag: str(row[tag]) for tag in self.tags if row.get(tag) not in (None, "")}
        tags |= {"modality": str(asked.get("modality") or "")} if media or "<image" in question else {}
        turns = (
            Turn(role="user", content=(*range(len(media)), without_marks(question))),
            Turn(role="assistant", content=(right,)),
        )
        return Sample(id=identity, turns=turns, media=media, options=options, references=(right,), tags=tags)


def accepted_answers(path: str) -> dict[tuple[str, ...], str]:
    """The accepted answer of every question with its options; none of one that is asked twice, as of two images."""
    found: dict[tuple[str, ...], str] = {}
    twice = set[tuple[str, ...]]()
    for row in Answered(path=path).read(""):
        if isinstance(row, Sample):
            question = (row.turns[0].text, *row.options)
            twice |= {question} if question in found else set()
            found[question] = row.references[0]
    return {question: answer for question, answer in found.items() if question not in twice}


def _images(row: Mapping[str, Any]) -> tuple[Media, ...]:
    """The images that a row names; nothing is opened."""
    given = next((row[name] for name in IMAGES if row.get(name) not in (None, "", [])), ())
    names = [given] if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
    return tuple(Media(uri=one) for one in names if isinstance(one, str) and len(one) <= LONGEST_NAME)
