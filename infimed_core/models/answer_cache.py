"""Answers as they come, kept by who was asked and what: nothing that stands is asked again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from infimed_core.api.data import MediaLoader
from infimed_core.api.models import Answer, LoadedModel, Request
from infimed_core.contracts import checked_answer, wrong
from infimed_core.errors import InfimedError
from infimed_core.named_files import digest_of_file
from infimed_core.store.artifacts import digest
from infimed_core.texts import whole_in


def _whole(answer: Answer) -> Answer:
    """The answer as files can hold it: a model may cut a character in half."""
    said = answer.model_dump(mode="json")
    mended = whole_in(said)
    return answer if mended == said else Answer.model_validate(mended)


class AnswerCache:
    """Answers as they come, in a file that only grows; nothing that stands in it is asked again."""

    def __init__(self, path: Path, model_identity: str, others: Iterable[Path] = ()) -> None:
        """``others`` are files of the model's answers in other runs; what is used of them is copied to ``path``."""
        self.path = path
        if path.exists() and not path.is_file() and path != Path(os.devnull):
            raise InfimedError(f"{path}: is no regular file; remove it and run the same command again")
        self._identity = model_identity
        self._media: dict[str, str] = {}
        self._answers = dict(_read(path))
        self._elsewhere = {key: answer for other in others if other != path for key, answer in _read(other)}
        self.num_asked = 0
        self.num_reused = 0
        self.num_of_other_runs = 0

    def key(self, request: Request) -> str:
        """Digest of the model, the conversation, the content of its media and the generation settings."""
        media = [
            [item.kind, item.sha256 or self._hash(item.uri, item.data), dict(item.options)] for item in request.media
        ]
        turns = [turn.model_dump(mode="json") for turn in request.turns]
        texts = [request.continuations] if request.continuations else []
        return digest(self._identity, turns, media, request.generation.model_dump(mode="json"), *texts)

    def _hash(self, uri: str | None, data: bytes | None) -> str:
        if data is not None:
            return hashlib.sha256(data).hexdigest()
        if uri not in self._media:
            found = digest_of_file(Path(uri or ""))
            self._media[uri or ""] = f"missing:{uri}" if found == "unreadable" else found
        return self._media[uri or ""]

    def ask(
        self, model: LoadedModel, media: MediaLoader, requests: Sequence[Request], progress: Callable[[int], None]
    ) -> list[Answer]:
        """Answers in the order of the requests; an error is not cached, so that the next run asks again."""
        keys = [self.key(request) for request in requests]
        self._take_over(key for key in dict.fromkeys(keys) if key not in self._answers and key in self._elsewhere)
        answers: list[Answer | None] = []
        waiting: list[int] = []
        for index, key in enumerate(keys):
            known = self._answers.get(key)
            answers.append(known.model_copy(update={"sample_id": requests[index].sample_id}) if known else None)
            if known is None:
                waiting.append(index)
        self.num_reused += len(requests) - len(waiting)
        progress(len(requests) - len(waiting))
        # A request goes out under the name of its content: the same content draws the same sample in a run that goes on
        # after a kill, and what is asked twice at once is sent once. Tags decide what may be sent, so they count too.
        places: dict[str, list[int]] = {}
        for index in waiting:
            places.setdefault(digest(keys[index], requests[index].tags), []).append(index)
        named = [requests[first].model_copy(update={"sample_id": name}) for name, (first, *_) in places.items()]
        if named:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                for answer in model.answer(named, media):
                    found = places.pop(checked_answer(model, answer), ())
                    if not found:
                        raise wrong(model, "answer", "gave an answer that was not asked for, or gave one twice")
                    answer = _whole(answer)
                    for index in found:
                        answers[index] = answer.model_copy(update={"sample_id": requests[index].sample_id})
                    key = keys[found[0]]
                    self.num_asked += 1
                    self.num_reused += len(found) - 1
                    progress(len(found))
                    if answer.error is None:
                        self._keep(key, answer, stream)
        return [
            answer or Answer(sample_id=requests[index].sample_id, error="the model returned nothing for this request")
            for index, answer in enumerate(answers)
        ]

    def _take_over(self, keys: Iterable[str]) -> None:
        """Copy answers of other runs, so that this run stays whole when they are deleted."""
        found = list(keys)
        if found:
            self.num_of_other_runs += len(found)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                for key in found:
                    self._keep(key, self._elsewhere[key], stream)

    def _keep(self, key: str, answer: Answer, stream: TextIO) -> None:
        self._answers[key] = answer
        body = {"key": key, "answer": answer.model_dump(mode="json")}
        # begins a line too: the last one may have been cut by a kill
        stream.write("\n" * (stream.tell() > 0) + json.dumps({**body, "check": digest(body)[:16]}))
        stream.flush()


def _read(path: Path) -> Iterator[tuple[str, Answer]]:
    if path.is_file():
        with path.open("rb") as stream:
            for line in stream:
                try:
                    body = json.loads(line)
                    check = body.pop("check", None)  # earlier versions wrote none
                    if check in (None, digest(body)[:16]):
                        yield body["key"], Answer.model_validate(body["answer"])
                except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
                    continue  # damaged, or cut by a kill while it was written: that answer is asked again
