"""The model `predictions`: answers that another tool wrote to a file, graded as if they were asked here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from infimed_core import Answer, Component, DataError, LoadedModel, MediaLoader, Model, Request, digest_of_checkpoint
from infimed_plugins.predictions.files import MOST_BYTES
from infimed_plugins.predictions.layouts import Prediction, guessed_layout, read_predictions
from infimed_plugins.predictions.matching import match

SHOWN = 5
"""Ids that a message names."""


class Predictions(Model):
    """A file of answers in the place of a model; a question that it has no answer to stays unanswered."""

    trainable: ClassVar[bool] = False
    can_be_asked: ClassVar[bool] = False
    version: ClassVar[str] = "2"  # of the rules by which answers are matched to questions

    path: str = Field(description="The file of answers, or a folder of such files.")
    layout: Literal["auto", "jsonl", "lm-eval", "lmms-eval", "vlmevalkit", "medevalkit", "llava"] = Field(
        default="auto", description="Which tool's layout; jsonl is any table of ids and texts, auto looks."
    )
    id_field: str | None = Field(
        default=None, description="Field that holds the question's id; a usual name by default."
    )
    text_field: str | None = Field(default=None, description="Field that holds the answer; a usual name by default.")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A file that is not there, is no plain one, or is larger than any file of answers."""
        place = Path(self.path)
        if not place.exists():
            return {"path": f"{self.path}: no such file; name a file of answers"}
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            if not file.is_file() and not file.is_dir():
                return {"path": f"{file}: is no plain file (a pipe or device), and is not opened"}
            if file.stat().st_size > MOST_BYTES:
                return {"path": f"{file}: is larger than {MOST_BYTES // 2**20} MB; divide it, a benchmark a file"}
        return {}

    def identity(self) -> str:
        """Changes with the content of the file."""
        found = hashlib.sha256()
        place = Path(self.path)
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            found.update(digest_of_checkpoint(str(file)).encode() if file.is_file() else b"")
        return f"{super().identity()}|{found.hexdigest()}"

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> None:
        """There is no checkpoint."""

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """Read the file.

        Raises:
            DataError: it is missing or laid out otherwise.
        """
        path = Path(self.path)
        if not path.exists():
            raise DataError("no_predictions", f"{path}: no such file; name a file of answers")
        layout = guessed_layout(path) if self.layout == "auto" else self.layout
        faults: list[DataError] = []
        found = read_predictions(path, layout, self.id_field, self.text_field, faults)
        return FileOfAnswers(self, layout, found, [str(fault) for fault in faults])


class FileOfAnswers(LoadedModel):
    """Answers by the id of the question."""

    answers_by_id: ClassVar[bool] = True

    def __init__(
        self, settings: Predictions, layout: str, predictions: Sequence[Prediction], faults: Sequence[str] = ()
    ) -> None:
        self._settings, self._layout, self._predictions, self._faults = settings, layout, predictions, faults
        self._facts: dict[str, JsonValue] = {}

    @property
    def identity(self) -> str:
        """The settings and the content of the file."""
        return self._settings.identity()

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        """The answer of every question that the file has one to; an error that says so for the others."""
        found = match(requests, self._predictions)
        self._facts = {
            "matched_by": found.by,
            "matched": len(found.answers),
            "answers_to_no_question": len(found.left_over),
            "first_of_these": [one.id for one in found.left_over[:SHOWN]],
        }
        for request in requests:
            one = found.answers.get(request.sample_id)
            if one is None:
                told = found.wrong.get(request.sample_id, self._missing())
                yield Answer(sample_id=request.sample_id, error=f"no_prediction: {told}", num_calls=0)
            elif one.error or one.text is None:
                told = one.error or f"{one.where}: the answer is missing"
                yield Answer(sample_id=request.sample_id, error=f"no_prediction: {told}", num_calls=0)
            else:
                ended = one.finish_reason
                yield Answer(sample_id=request.sample_id, text=one.text, finish_reason=ended, num_calls=0)

    def _missing(self) -> str:
        bad = f"; {len(self._faults)} of its rows are none, first: {self._faults[0]}" if self._faults else ""
        return f"{self._settings.path} has no answer to this question{bad}"

    def asking(self) -> dict[str, JsonValue]:
        """Where the answers are from, and how they were matched with the questions."""
        return {
            "path": self._settings.path,
            "layout": self._layout,
            "predictions": len(self._predictions),
            "rows_at_fault": len(self._faults),
            "first_faults": list(self._faults[:SHOWN]),
            **self._facts,
        }

    def describe(self) -> dict[str, JsonValue]:
        """As ``asking``."""
        return self.asking()
