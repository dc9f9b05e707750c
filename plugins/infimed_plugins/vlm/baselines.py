"""Models that do not look: a fixed answer and a random option, the floor that every other model must clear."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from infimed_core import Answer, LoadedModel, MediaLoader, Model, Request

OPTION = re.compile(r"^\s*\(?([A-Z])[.):：、]\s*\S", re.MULTILINE)
"""A line that offers an option: its letter, a mark, its text."""


class _Blind(LoadedModel):
    """Answers with a function of the request alone."""

    def __init__(self, identity: str, reply: Callable[[Request], str]) -> None:
        self._identity, self._reply = identity, reply

    @property
    def identity(self) -> str:
        """The component's settings."""
        return self._identity

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        """Answers in order; no medium is opened."""
        for request in requests:
            yield Answer(
                sample_id=request.sample_id, text=self._reply(request), num_prompt_tokens=0, num_answer_tokens=0
            )

    def describe(self) -> dict[str, JsonValue]:
        """There are no parameters."""
        return {"architecture": "none", "parameters": 0}


class Constant(Model):
    """Answers every question with the same text."""

    trainable: ClassVar[bool] = False
    can_be_asked: ClassVar[bool] = False

    text: str = Field(default="A", description="The answer to every question.")

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> None:
        """There is no checkpoint."""

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """The fixed answer."""
        return _Blind(self.identity(), lambda request: self.text)


class Random(Model):
    """Answers with the letter of a random option of the question's last turn; otherwise with one of ``otherwise``."""

    trainable: ClassVar[bool] = False

    seed: int = Field(default=0, description="Changes which options are drawn.")
    otherwise: tuple[str, ...] = Field(
        default=("yes", "no"), min_length=1, description="Drawn from where no option is."
    )

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> None:
        """There is no checkpoint."""

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """The random answer: the same for the same sample, whatever is asked beside it."""
        return _Blind(self.identity(), self._draw)

    def _draw(self, request: Request) -> str:
        letters = tuple(dict.fromkeys(OPTION.findall(request.turns[-1].text))) if request.turns else ()
        choices = letters if len(letters) > 1 else self.otherwise
        digest = hashlib.sha256(f"{self.seed}|{request.sample_id}".encode()).digest()
        return choices[int.from_bytes(digest[:8], "big") % len(choices)]
