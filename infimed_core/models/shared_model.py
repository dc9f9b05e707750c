"""A model whose requests are dealt out to every process of the run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import JsonValue

from infimed_core.api.component import JsonObject
from infimed_core.api.data import MediaLoader
from infimed_core.api.models import Answer, LoadedModel, Request
from infimed_core.distributed.ranks import POLL_SECONDS, wait_for_file
from infimed_core.store.files import write_atomically
from infimed_core.store.steps import RunState

FEWEST_SHARED = 2
"""Requests for each process, below which the first process answers alone."""


class _SharedModel(LoadedModel):
    """Gives the answers of this process and, as they come, of the others; each has a copy of the model."""

    def __init__(self, state: RunState, component: str, checkpoint: Path, model: LoadedModel) -> None:
        self._state, self._component, self._checkpoint, self._model = state, component, checkpoint, model

    @property
    def identity(self) -> str:
        return self._model.identity

    def describe(self) -> dict[str, JsonValue]:
        return self._model.describe()

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        ranks = self._state.ranks
        if len(requests) < FEWEST_SHARED * ranks.size:
            yield from self._model.answer(requests, media)
            return
        directory = self._state.path.absolute() / "state" / "answers"
        directory.mkdir(parents=True, exist_ok=True)
        parts = [directory / f"rank-{rank}.jsonl" for rank in range(ranks.size)]
        for part in parts:
            part.unlink(missing_ok=True)
        lines = [request.model_dump_json() for request in requests]
        write_atomically(directory / "requests.jsonl", "".join(line + "\n" for line in lines))
        ranks.give(
            {
                "kind": "answer",
                "component": self._component,
                "checkpoint": str(self._checkpoint.absolute()),
                "requests": str(directory / "requests.jsonl"),
                "parts": [str(part) for part in parts],
            }
        )
        readers = [_Growing(part) for part in parts[1:]]
        for answer in self._model.answer(requests[:: ranks.size], media):
            ranks.check()
            yield answer
            for reader in readers:
                yield from reader.new()
        while not ranks.done():
            for reader in readers:
                yield from reader.new()
            time.sleep(POLL_SECONDS)
        for reader in readers:
            yield from reader.new()
        for path in (*parts, directory / "requests.jsonl"):
            path.unlink(missing_ok=True)


class _Growing:
    """Whole lines of a file that another process appends answers to, each read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new(self) -> Iterator[Answer]:
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                grown = stream.read()
        except FileNotFoundError:
            return
        whole = grown[: grown.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.split(b"\n")[:-1]:
            yield Answer.model_validate(json.loads(line))


def answer_share(state: RunState, task: JsonObject, model: LoadedModel) -> None:
    """Answer this process's share of the requests of a ``shared`` model."""
    ranks = state.ranks
    source = Path(task["requests"])
    wait_for_file(source, ranks.rank)
    requests = [Request.model_validate_json(line) for line in source.read_text(encoding="utf-8").split("\n")[:-1]]
    with Path(task["parts"][ranks.rank]).open("w", encoding="utf-8") as stream:
        for answer in model.answer(requests[ranks.rank :: ranks.size], state.media):
            ranks.check()
            stream.write(answer.model_dump_json() + "\n")
            stream.flush()


def shared(state: RunState, component: str, checkpoint: Path | None, model: LoadedModel) -> LoadedModel:
    """The model as all processes of the run answer with it; itself where there is one process, or no checkpoint."""
    if state.ranks.size == 1 or checkpoint is None:
        return model
    return _SharedModel(state, component, checkpoint, model)
