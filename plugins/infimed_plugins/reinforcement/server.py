"""Answers drawn by a vLLM server that takes the weights over before every step: settings, and the exchange with it."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import Field, field_validator

from infimed_core import (
    DataError,
    Encoded,
    Generation,
    InfimedError,
    MediaLoader,
    Request,
    Row,
    Sample,
    TrainableModel,
    printable,
)
from infimed_plugins.http.addresses import base_url_of, doubt_of
from infimed_plugins.http.secrets import read_key
from infimed_plugins.http.transport import CallError, Server

POLICY = "infimed-policy"
"""Name under which a server holds the adapter that learns."""
NEVER = -100.0
"""Bias on the logits of tokens that are not to be drawn; the least that a server takes."""


class RolloutServer(Row):
    """A vLLM server that draws the answers; it is told to load the weights from a folder before every step."""

    base_url: str = Field(description="Address of the server up to /chat/completions, e.g. http://127.0.0.1:8000/v1.")
    model: str | None = Field(default=None, description="The model's name there; null takes the only one it serves.")
    weights: str | None = Field(
        default=None,
        description="Folder for the weights that this machine writes and the server reads, under the same path; null "
        "takes a temporary one of this machine.",
    )
    api_key_environment: str = Field(
        default="VLLM_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Environment variable with its key."
    )
    timeout_seconds: float = Field(default=600.0, gt=0, description="Longest wait for one question or for the weights.")
    most_difference: float = Field(
        default=0.1,
        gt=0,
        description="Largest mean difference between the server's log-probabilities of drawn tokens and the trainer's; "
        "beyond it the server has other weights, and the run stops.",
    )
    allow_identified: bool = Field(
        default=False, description="Send samples tagged identity with any value but clear to another machine."
    )

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return base_url_of(value)


@runtime_checkable
class DrawnElsewhere(Protocol):
    """A model whose answers may be drawn elsewhere: it encodes the prompts and what comes back."""

    def draw_elsewhere(
        self,
        prompts: Sequence[tuple[Sample, int | None]],
        count: int,
        generation: Generation,
        media: MediaLoader,
        ask: Callable[..., list[list[list[int]]]],
    ) -> list[list[tuple[Encoded, str, bool]] | DataError]:
        """As ``TrainableModel.draw``, of the tokens that ``ask`` draws.

        Called with a list of (encoded prompt, ``Request`` whose images are as the model sees them), ``count``, tokens
        that are never drawn and tokens that end an answer, it returns the tokens of each answer to each prompt.
        """
        ...


class ServerDraws:
    """Speaks to the server, and draws by it in the place of a model.

    Attributes:
        log_probabilities: of the drawn tokens of each answer of the step, by the server; by the answer's id.
    """

    def __init__(self, settings: RolloutServer) -> None:
        self.log_probabilities: dict[str, list[float]] = {}
        self._settings = settings
        self._model = settings.model
        self._holds_adapter = False
        self._written: Path | None = None

    @cached_property
    def _server(self) -> Server:
        settings = self._settings
        name = settings.api_key_environment
        try:
            return Server(self._root, read_key(os.environ.get(name, ""), name), name, settings.timeout_seconds)
        except DataError as error:
            raise self._error(f"was not asked: {error}") from None

    @property
    def _root(self) -> str:
        """The address that the paths of vLLM's own interfaces stand behind."""
        return self._settings.base_url.removesuffix("/v1")

    @cached_property
    def _folder(self) -> Path:
        if self._settings.weights is not None:
            return Path(self._settings.weights).expanduser().absolute()
        made = tempfile.mkdtemp(prefix="infimed-policy-")
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return Path(made)

    # -- weights -------------------------------------------------------------------------------------------------

    def take_over(self, model: TrainableModel, step: int, is_first: bool, everyone_waits: Any) -> None:
        """Let the server load the weights as they are; every rank calls this, and the first one writes them."""
        self.log_probabilities = {}
        adapter = False
        if is_first:
            adapter = self._send_weights(model, step)
        self._holds_adapter = any(everyone_waits(adapter))
        if self._model is None:
            self._model = self._only_model()

    def _send_weights(self, model: TrainableModel, step: int) -> bool:
        """Write and announce the weights; returns whether they are an adapter's."""
        folder = self._folder / f"{POLICY}-{step + 1}"  # the folder may hold things of others
        shutil.rmtree(folder, ignore_errors=True)
        model.save(folder)
        adapter = (folder / "adapter_config.json").is_file()
        if adapter:
            body = {"lora_name": POLICY, "lora_path": str(folder), "load_inplace": True}
            needs = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora"
            self._exchange("/v1/load_lora_adapter", body, f"start it with {needs}, and let it read {self._folder}")
        else:
            body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            needs = f"start it with VLLM_SERVER_DEV_MODE=1, and let it read {self._folder}"
            self._exchange("/collective_rpc", body, needs)
        needs = "start it with VLLM_SERVER_DEV_MODE=1; vLLM 0.32 has all that is needed"
        reset = self._exchange("/reset_prefix_cache", {}, needs)
        if isinstance(reset, Mapping) and reset.get("success") is False:
            raise self._error("could not empty its prefix cache, which holds keys and values of the weights before")
        # Its workers forget what they made of pictures, and its scheduler does not: an old picture would end it.
        self._exchange("/reset_encoder_cache", {}, needs)
        if self._written is not None and self._written != folder:
            shutil.rmtree(self._written, ignore_errors=True)
        self._written = folder
        return adapter

    def _only_model(self) -> str:
        reply = self._exchange("/v1/models", None, "is it a vLLM server?")
        listed = reply.get("data") if isinstance(reply, Mapping) else None
        names = [str(one.get("id")) for one in listed or [] if isinstance(one, Mapping)]
        names = [name for name in names if name != POLICY]
        if len(names) != 1:
            raise self._error(f"serves {len(names)} models ({', '.join(names[:9]) or 'none'}); name one: model: ...")
        return names[0]

    # -- answers -------------------------------------------------------------------------------------------------

    def draw(
        self,
        model: TrainableModel,
        prompts: Sequence[tuple[Sample, int | None]],
        count: int,
        generation: Generation,
        media: MediaLoader,
    ) -> list[list[tuple[Encoded, str, bool]] | DataError]:
        """As ``TrainableModel.draw``, by the server.

        Raises:
            InfimedError: the server is gone, refuses, lacks what is needed, or reads a prompt otherwise.
        """
        if not isinstance(model, DrawnElsewhere):
            raise InfimedError(f"{type(model).__name__} has no draw_elsewhere: its answers cannot come from a server")
        return model.draw_elsewhere(prompts, count, generation, media, self._tokens)

    def _tokens(
        self, asked: Sequence[tuple[Encoded, Request]], count: int, never: Sequence[int], ends: Sequence[int]
    ) -> list[list[list[int]]]:
        bodies = [self._body(request, count, never, ends) for _, request in asked]
        with ThreadPoolExecutor(max_workers=max(1, len(bodies))) as pool:
            replies = list(pool.map(self._ask, bodies))
        return [self._read(prompt, reply, count, ends) for (prompt, _), reply in zip(asked, replies, strict=True)]

    def _body(self, request: Request, count: int, never: Sequence[int], ends: Sequence[int]) -> dict[str, Any]:
        doubt = doubt_of(request.tags)
        if doubt is not None and not (self._server.is_own or self._settings.allow_identified):
            raise self._error(
                f"is another machine, and sample '{request.sample_id}' is tagged identity: {doubt}; clear the data, or "
                "set allow_identified: true"
            )
        generation = request.generation
        seed = hashlib.blake2b(f"{generation.seed}|{request.sample_id}".encode(), digest_size=6).digest()
        return {
            "model": POLICY if self._holds_adapter else self._model,
            "messages": [{"role": turn.role, "content": _content(turn, request)} for turn in request.turns],
            "n": count,
            "max_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
            # whatever the checkpoint's generation_config.json says, answers come from the model's own distribution
            "top_p": 1.0, "top_k": 0, "min_p": 0.0,
            "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "seed": int.from_bytes(seed, "big"),
            "stop_token_ids": list(ends),
            "logit_bias": {str(token): NEVER for token in never},
            "logprobs": True,
            "return_token_ids": True,
        }  # fmt: skip

    def _ask(self, body: Mapping[str, Any]) -> Any:
        return self._exchange("/v1/chat/completions", body, f"does it serve '{body['model']}'?")

    def _read(self, prompt: Encoded, reply: Any, count: int, ends: Sequence[int]) -> list[list[int]]:
        choices = reply.get("choices") if isinstance(reply, Mapping) else None
        if not isinstance(choices, list) or len(choices) != count:
            given = len(choices) if isinstance(choices, list) else "no"
            raise self._error(f"gave {given} answers where {count} were asked for")
        self._check_prompt(prompt, reply.get("prompt_token_ids"))
        found: list[list[int]] = []
        for number, choice in enumerate(sorted(choices, key=lambda one: one.get("index", 0))):
            tokens = choice.get("token_ids")
            if not isinstance(tokens, list) or not tokens or not all(isinstance(token, int) for token in tokens):
                raise self._error("tells no tokens of its answers (return_token_ids); vLLM does from 0.11 on")
            listed = (choice.get("logprobs") or {}).get("content") or []
            if len(listed) != len(tokens):
                raise self._error(f"tells {len(listed)} log-probabilities for an answer of {len(tokens)} tokens")
            stop = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
            self.log_probabilities[f"{prompt.sample_id}#{number}"] = [float(one["logprob"]) for one in listed[:stop]]
            found.append(tokens[:stop])
        return found

    def _check_prompt(self, prompt: Encoded, read: Any) -> None:
        if not isinstance(read, list):
            raise self._error("tells no tokens of its prompts (return_token_ids); vLLM does from 0.11 on")
        own = prompt.input_ids.tolist()
        if read == own:
            return
        place = next((i for i, (a, b) in enumerate(zip(own, read, strict=False)) if a != b), min(len(own), len(read)))
        raise self._error(
            f"reads '{prompt.sample_id}' as {len(read)} tokens, the model that learns as {len(own)} (other from token "
            f"{place + 1} on): give it the same chat template and image processor, and images no fewer visual tokens "
            "than its processor's least (min_pixels)"
        )

    def check(self, difference: float, temperature: float) -> None:
        """Stop where the log-probabilities are too far from the trainer's to come from the same weights.

        Raises:
            InfimedError: they are.
        """
        most = self._settings.most_difference
        if difference <= most:
            return
        tempered = ", or needs --logprobs-mode processed_logprobs, since the temperature is not 1"
        raise self._error(
            f"does not answer by the weights that were sent: its log-probabilities are {difference:.3g} from the "
            f"trainer's, and {most:g} is allowed (most_difference); it did not take the weights over (vLLM for CPUs "
            "keeps an output head that is tied to the embeddings), or reckons in coarser numbers (--dtype)"
            f"{tempered if temperature != 1.0 else ''}"
        )

    # -- exchange ------------------------------------------------------------------------------------------------

    def _exchange(self, path: str, body: Mapping[str, Any] | None, remedy: str) -> Any:
        """POST ``body`` (GET where it is ``None``); returns the JSON of the reply, ``None`` where it holds none."""
        if path.startswith("/v1/"):
            path = self._settings.base_url.removeprefix(self._root) + path.removeprefix("/v1")
        try:
            return self._server.exchange(path, body)
        except CallError as error:
            if error.code == "malformed_reply":
                return None
            if error.refusal:
                raise self._error(f"replied to {path} with {error.refusal}; {remedy}") from None
            raise self._error(f"does not answer ({error}); start it again, then the same command goes on") from None

    def _error(self, text: str) -> InfimedError:
        return InfimedError(f"the server that draws answers, {self._settings.base_url}, {printable(text)}")


def _content(turn: Any, request: Request) -> str | list[dict[str, Any]]:
    if not turn.media_indices:
        return str(turn.text)
    parts: list[dict[str, Any]] = []
    for part in turn.content:
        if isinstance(part, str):
            parts += [{"type": "text", "text": part}] if part else []
        else:
            data = base64.b64encode(request.media[part].data or b"").decode()
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    return parts
