"""The run file's further models, opened when they are first asked; every answer is kept beside the run."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

from infimed_core.api.data import MediaLoader, Sample
from infimed_core.api.models import Answer, Ask, LoadedModel, Model, Request, TrainableModel
from infimed_core.errors import InfimedError
from infimed_core.models.answer_cache import AnswerCache
from infimed_core.runfile.plan import Plan
from infimed_core.store.artifacts import digest


def asking(
    samples: Iterable[Sample],
    ask: Callable[[Sequence[Request]], list[Answer]],
    ask_named: Callable[[str, Sequence[Request]], list[Answer]],
    prepare: Callable[[Request], Request] = lambda request: request,
) -> Ask:
    """How a solver, a judge or a scorer asks about ``samples``: every request gets the tags of its sample.

    Args:
        ask: asks the model that is meant where none is named.
        ask_named: asks a model of the run file's ``models:``.
        prepare: changes a request before it is sent.
    """
    tags = {sample.id: sample.tags for sample in samples}

    def tagged(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        made = [prepare(request.model_copy(update={"tags": tags.get(request.sample_id, {})})) for request in requests]
        return ask(made) if model is None else ask_named(model, made)

    return tagged


class RunModelPool:
    """Asks the models of ``models:`` by name; one is opened at its first question, and none is asked twice."""

    def __init__(self, plan: Plan, directory: Path, media: MediaLoader) -> None:
        self._plan = plan
        self._directory = directory
        self._media = media
        self._opened: dict[str, tuple[LoadedModel, AnswerCache]] = {}
        self._lock = threading.Lock()

    def identity(self, name: str) -> str:
        """Digest of what decides a named model's answers, without opening it.

        Raises:
            InfimedError: the run file has no model of that name.
        """
        return digest("named model", 1, self._component(name).identity(), self._plan.file.run.seed)

    def ask(
        self, name: str, requests: Sequence[Request], progress: Callable[[int], None] = lambda count: None
    ) -> list[Answer]:
        """Answers in the order of the requests.

        Raises:
            InfimedError: the run file has no model of that name, or it cannot be opened.
        """
        model, cache = self._open(name)
        with self._lock:  # models that are graded side by side may want one judge
            return cache.ask(model, self._media, requests, progress)

    def counts(self, name: str) -> dict[str, int]:
        """How many questions were asked and how many were answered before, so far."""
        if name not in self._opened:
            return {"asked": 0, "reused": 0}
        cache = self._opened[name][1]
        return {"asked": cache.num_asked, "reused": cache.num_reused}

    def _component(self, name: str) -> Model:
        if name not in self._plan.file.models:
            known = ", ".join(sorted(self._plan.file.models)) or "none"
            raise InfimedError(
                f"a model named '{name}' is asked, but 'models:' of {self._plan.source} has no such entry "
                f"(it has: {known}); add it there"
            )
        return cast(Model, self._plan.component(f"models.{name}"))

    def _open(self, name: str) -> tuple[LoadedModel, AnswerCache]:
        with self._lock:
            if name not in self._opened:
                component = self._component(name)
                identity = self.identity(name)
                # two names of one model share a checkpoint and its answers
                home = self._directory / "models" / hashlib.sha256(identity.encode()).hexdigest()[:16]
                checkpoint = component.prepare(home / "checkpoint", tuple, self._plan.file.run.seed)
                loaded = component.load(checkpoint)
                if not isinstance(loaded, TrainableModel):  # what a server says it serves is part of who answers
                    identity = digest(identity, loaded.identity)
                cache = AnswerCache(self._directory / "cache" / f"{identity[:16]}.jsonl", identity)
                self._opened[name] = (loaded, cache)
            return self._opened[name]
