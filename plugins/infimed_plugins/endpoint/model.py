"""The `openai-compatible` model: where the server is, how it is asked, and what makes two of them the same."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, JsonValue, field_validator

from infimed_core import Answer, DataError, Generation, LoadedModel, MediaLoader, Model, Request, Turn, canonical_json
from infimed_plugins.endpoint.asking import AskingOptions, Standing, ask_all
from infimed_plugins.endpoint.messages import Asking
from infimed_plugins.http.addresses import base_url_of
from infimed_plugins.http.secrets import read_key
from infimed_plugins.http.transport import CallError, Patience, Server

OWN_FIELDS = ("model", "messages", "stream")
"""Fields of the body that ``extra_body`` may not set."""


class OpenAICompatible(Model):
    """A model behind OpenAI's chat completions interface: vLLM, SGLang, llama.cpp, `transformers serve`, a cloud."""

    model_config = ConfigDict(hide_input_in_errors=True)  # an address with a password is refused, and not shown

    trainable: ClassVar[bool] = False
    runs_elsewhere: ClassVar[bool] = True

    base_url: str = Field(description="Address of the server up to /chat/completions, e.g. http://127.0.0.1:8000/v1.")
    model: str | None = Field(default=None, description="The model's name there; null takes the only one it serves.")
    api_key_environment: str = Field(
        default="OPENAI_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the key; the key itself never stands in a run file.",
    )
    system: str | None = Field(default=None, description="System prompt of conversations that bring none.")
    max_image_side: int | None = Field(
        default=None, ge=1, description="Longest side of an image in pixels; larger ones are shrunk. null sends all."
    )
    image_format: Literal["png", "jpeg"] = Field(
        default="png",
        description="How images are sent that are no JPEG files: png loses nothing, jpeg (95) is smaller.",
    )
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="Name of the length limit in the body; newer OpenAI models want the second."
    )
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="More fields of the body, as they are; null takes a field out."
    )
    concurrency: int = Field(default=16, ge=1, le=1024, description="Most questions under way at a time.")
    timeout_seconds: float = Field(default=600.0, gt=0, description="Longest wait for one answer.")
    max_retries: int = Field(
        default=8, ge=0, description="More tries after a lost connection, status 429 or 5xx; two after an empty reply."
    )
    first_wait_seconds: float = Field(default=0.5, ge=0, description="Wait before the first of them; then it doubles.")
    longest_wait_seconds: float = Field(default=30.0, ge=0, description="Longest wait between two tries.")
    allow_identified: bool = Field(
        default=False, description="Send samples tagged identity with any value but clear to another machine."
    )

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return base_url_of(value)

    @field_validator("extra_body")
    @classmethod
    def _check_extra(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in OWN_FIELDS:
            if name in value:
                raise ValueError(f"'{name}' is set by InfiMed")
        return value

    def identity(self) -> str:
        """As for every component, without what changes no answer: concurrency, waits, the key's place, permission."""
        deciding = self.model_dump(mode="json", include={"base_url", "model", *Asking.model_fields})
        return f"{type(self).__module__}.{type(self).__qualname__}{canonical_json(deciding)}"

    def request_settings(self) -> dict[str, JsonValue]:
        """What every request carries besides the question, where it is not as InfiMed sends it unasked."""
        own = self.model_dump(mode="json", include={"system", "max_image_side", "image_format", "extra_body"})
        return {
            name: value
            for name, value in own.items()
            if value != type(self).model_fields[name].get_default() and value not in (None, {})
        }

    @property
    def asking(self) -> Asking:
        """The settings that decide an answer."""
        return Asking.model_validate(self.model_dump(include=set(Asking.model_fields)))

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> None:
        """There is no checkpoint."""

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """The server; it is spoken to here only where it must say which model it serves.

        Raises:
            DataError: ``model`` is null, and the server is not there or serves not exactly one.
        """
        key = read_key(os.environ.get(self.api_key_environment, ""), self.api_key_environment)
        server = Server(self.base_url, key, self.api_key_environment, self.timeout_seconds)
        return Endpoint(self, server, self.model or self._only_model(server))

    def try_connection(self) -> str:
        """The answer to one short question.

        Raises:
            DataError: the server cannot be reached, refuses, or does not answer.
        """
        quick = self.model_copy(update={"max_retries": 0, "timeout_seconds": min(self.timeout_seconds, 60.0)})
        loaded = quick.load(None)
        turn = Turn(role="user", content=("Reply with the word: ready",))
        # a reasoning model thinks before it speaks, so the answer may be cut before it begins
        request = Request(sample_id="check", turns=(turn,), generation=Generation(max_new_tokens=16))
        answer = next(iter(loaded.answer([request], MediaLoader({}))))
        if answer.error is not None:
            raise DataError("no_answer", f"{self.base_url} does not answer: {answer.error}")
        served = loaded.model if isinstance(loaded, Endpoint) else self.model
        return f"{self.base_url} answers as '{served}': {' '.join((answer.text or '').split())[:60]!r}"

    @property
    def patience(self) -> Patience:
        """How often and how long to try."""
        return Patience(self.max_retries, self.first_wait_seconds, self.longest_wait_seconds)

    def _only_model(self, server: Server) -> str:
        try:
            served = list_models(self.patience.call(lambda: server.exchange("/models"), threading.Event()))
        except CallError as error:
            raise DataError(error.code, f"asked which model is served: {error}") from error
        if len(served) != 1:
            names = ", ".join(str(entry["id"]) for entry in served[:10]) or "none"
            raise DataError(
                "which_model", f"{self.base_url} serves {len(served)} models ({names}); name one: model: ..."
            )
        return str(served[0]["id"])


class Endpoint(LoadedModel):
    """A server that can be asked."""

    def __init__(self, settings: OpenAICompatible, server: Server, model: str) -> None:
        self.settings, self.server, self.model = settings, server, model
        self._standing = Standing()

    @cached_property
    def served(self) -> dict[str, str]:
        """What the server's list says of our model: ``id`` and, where it tells, ``root`` (weights) and ``revision``.

        Empty where the server has no such list or does not answer: that is no reason not to ask it.
        """
        try:
            # with patience: a server that starts up late must not look like another model
            reply = self.settings.patience.call(lambda: self.server.exchange("/models"), threading.Event())
        except CallError as error:
            self._standing.is_gone = not error.reached
            return {}
        return _said(next((entry for entry in list_models(reply) if entry["id"] == self.model), {}))

    @property
    def identity(self) -> str:
        """Digest of the address, the model's name, what the server says of it, and every setting that decides."""
        parts = [self.settings.base_url, self.model, self.served, self.settings.asking.model_dump(mode="json")]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()

    def asking(self) -> dict[str, JsonValue]:
        """As ``describe``: system prompt, what the server says it serves; the chat template is the server's own."""
        return self.describe()

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        """Answers as they come. What the server cannot or may not be asked is an answer with ``error``."""
        own = self.settings
        options = AskingOptions(own.asking, own.patience, own.concurrency, own.allow_identified)
        return ask_all(options, self.server, self.model, requests, media, self._standing)

    def describe(self) -> dict[str, JsonValue]:
        """Where and what was asked; never the key."""
        return {
            "base_url": self.settings.base_url,
            "model": self.model,
            "served": dict(self.served),
            "on_this_machine": self.server.is_own,
            **self.settings.asking.model_dump(mode="json"),
        }


def _said(entry: Mapping[str, Any]) -> dict[str, str]:
    """What identifies a model in a server's list; ``created`` is left out, for vLLM puts the time of asking there."""
    return {name: entry[name] for name in ("id", "root", "revision") if isinstance(entry.get(name), str)}


def list_models(reply: Any) -> list[Mapping[str, Any]]:
    """The entries of GET /models that have an id; none where the reply has another shape."""
    data = reply.get("data") if isinstance(reply, Mapping) else None
    if not isinstance(data, list):
        return []
    return [entry for entry in data if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)]
