"""Answers as they come, kept by who was asked and what: nothing that stands is asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from infimed_core.components import LoadedModel, MediaLoader
from infimed_core.record import digest
from infimed_core.types import Answer, Request


class AnswerCache:
    """Answers as they come, in a file that only grows; nothing that stands in it is asked again."""

    def __init__(self, path: Path, model_identity: str) -> None:
        self.path = path
        self._identity = model_identity
        self._media: dict[str, str] = {}
        self._answers: dict[str, Answer] = {}
        self.num_asked = 0
        self.num_reused = 0
        if path.exists():
            with path.open(encoding="utf-8") as stream:
                for line in stream:
                    try:
                        body = json.loads(line)
                        self._answers[body["key"]] = Answer.model_validate(body["answer"])
                    except (ValueError, KeyError):
                        continue  # the last line of a run that was killed while writing it: that answer is asked again

    def key(self, request: Request) -> str:
        """Digest of the model, the conversation, the content of its media and the generation settings."""
        media = [
            [item.kind, item.sha256 or self._hash(item.uri, item.data), dict(item.options)] for item in request.media
        ]
        turns = [turn.model_dump(mode="json") for turn in request.turns]
        return digest(self._identity, turns, media, request.generation.model_dump(mode="json"))

    def _hash(self, uri: str | None, data: bytes | None) -> str:
        if data is not None:
            return hashlib.sha256(data).hexdigest()
        if uri not in self._media:
            try:
                with Path(uri or "").open("rb") as stream:
                    self._media[uri or ""] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError:
                self._media[uri or ""] = f"missing:{uri}"
        return self._media[uri or ""]

    def ask(
        self, model: LoadedModel, media: MediaLoader, requests: Sequence[Request], progress: Callable[[int], None]
    ) -> list[Answer]:
        """Answers in the order of the requests; an error is not cached, so that the next run asks again."""
        keys = [self.key(request) for request in requests]
        answers: list[Answer | None] = []
        waiting: list[int] = []
        for index, key in enumerate(keys):
            known = self._answers.get(key)
            answers.append(known.model_copy(update={"sample_id": requests[index].sample_id}) if known else None)
            if known is None:
                waiting.append(index)
        self.num_reused += len(requests) - len(waiting)
        progress(len(requests) - len(waiting))
        # two requests may share a sample id (a panel asks one sample several times), so places are handed out by number
        places = {str(number): index for number, index in enumerate(waiting)}
        numbered = [requests[index].model_copy(update={"sample_id": str(n)}) for n, index in enumerate(waiting)]
        if numbered:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                for answer in model.answer(numbered, media):
                    index = places.pop(answer.sample_id)
                    answer = answer.model_copy(update={"sample_id": requests[index].sample_id})
                    answers[index] = answer
                    self.num_asked += 1
                    progress(1)
                    if answer.error is None:
                        self._answers[keys[index]] = answer
                        stream.write(json.dumps({"key": keys[index], "answer": answer.model_dump(mode="json")}) + "\n")
                        stream.flush()
        return [
            answer or Answer(sample_id=requests[index].sample_id, error="the model returned nothing for this request")
            for index, answer in enumerate(answers)
        ]
