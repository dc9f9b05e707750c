"""The benchmark ``paraphrased``: the same questions in other words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import Field

from infimed_core import Component, DataError, Sample, read_named
from infimed_plugins.medevalkit.wrappers.wrapped import Wrapped

FRAMES = (
    "Please answer the following question. {question}",
    "I have a question for you: {question}",
    "Consider this carefully. {question}",
    "A colleague asks: {question}",
    "Here is the question that I would like you to answer: {question}",
)
"""Other ways to put a question, which leave its words alone."""


class Paraphrased(Wrapped):
    """Every question put in another way; options and instructions stay as they are.

    Without ``wordings`` the question's own words stay, and what introduces them changes: the weakest test there is. A
    file of wordings that somebody wrote or checked (JSON Lines of ``id`` and ``text``) replaces the question itself.
    """

    wordings: Path | None = Field(
        default=None, description="JSON Lines: id of the question and its text in other words."
    )
    seed: int = Field(default=0, ge=0, description="Draws how a question is introduced.")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A file that is not there, and those of the benchmark."""
        own = {} if self.wordings is None or self.wordings.is_file() else {"wordings": f"{self.wordings}: no such file"}
        return {**own, **super().problems(run)}

    @cached_property
    def _given(self) -> dict[str, str]:
        if self.wordings is None:
            return {}
        found = {}
        try:
            lines = read_named(self.wordings).decode().split("\n")
        except (OSError, ValueError) as error:
            raise DataError("bad_wording", f"{self.wordings}: cannot be read: {error}") from None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                    found[str(row["id"])] = str(row["text"])
                except (ValueError, RecursionError, KeyError, TypeError):
                    told = f"{self.wordings}:{number}: write a JSON object with id and text"
                    raise DataError("bad_wording", told) from None
        return found

    def altered(self, sample: Sample) -> Sample:
        """The question in other words."""
        asked = self.inner.wording(sample).strip()
        if self.wordings is not None:
            if sample.id not in self._given:
                raise DataError("no_wording", f"{self.wordings} has no other words for '{sample.id}'")
            words = self._given[sample.id]
        else:
            draw = hashlib.sha256(f"{self.seed} {sample.id}".encode()).digest()[0]
            words = FRAMES[draw % len(FRAMES)].format(question=asked)
        *before, last = sample.turns
        for place, part in enumerate(last.content):
            if isinstance(part, str) and asked and asked in part:
                content = (*last.content[:place], part.replace(asked, words, 1), *last.content[place + 1 :])
                return sample.model_copy(update={"turns": (*before, last.model_copy(update={"content": content}))})
        raise DataError("not_shown", f"the prompt of '{sample.id}' does not show the question in its own words")
