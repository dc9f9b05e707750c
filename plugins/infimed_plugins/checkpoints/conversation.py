"""A conversation with a model: turns and images so far, and the next answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from infimed_core import Answer, DataError, Generation, LoadedModel, Media, MediaLoader, Request, Turn


@dataclass
class Conversation:
    """What was said so far. Images that are waiting go before the next question."""

    model: LoadedModel
    loader: MediaLoader
    generation: Generation
    system: str | None = None
    turns: list[Turn] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    waiting: list[Media] = field(default_factory=list)

    def show(self, item: Media) -> tuple[int, ...]:
        """Put an image before the next question; its size.

        Raises:
            DataError: it cannot be opened.
        """
        size = self.loader.probe(item)
        self.waiting.append(item)
        return size

    def ask(self, question: str) -> Answer:
        """The answer, which becomes part of the conversation; one with an error leaves it as it was.

        Raises:
            DataError: an image cannot be opened.
        """
        first = len(self.media)
        content = (*range(first, first + len(self.waiting)), question)
        turns = (*self._opening(), *self.turns, Turn(role="user", content=content))
        media = (*self.media, *self.waiting)
        for item in self.waiting:
            self.loader.probe(item)
        request = Request(sample_id="question", turns=turns, media=media, generation=self.generation)
        answer = next(iter(self.model.answer([request], self.loader)))
        if answer.error is not None:
            raise DataError("no_answer", answer.error)
        self.turns += [turns[-1], Turn(role="assistant", content=(answer.text or "",))]
        self.media, self.waiting = list(media), []
        return answer

    def forget(self) -> None:
        """Begin anew."""
        self.turns, self.media, self.waiting = [], [], []

    def _opening(self) -> Iterator[Turn]:
        if self.system is not None:
            yield Turn(role="system", content=(self.system,))
