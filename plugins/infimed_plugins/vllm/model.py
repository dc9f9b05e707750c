"""The `vllm` model: a checkpoint that vLLM's offline engine answers with, on a GPU of this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from infimed_core import (
    Answer,
    DataError,
    Generation,
    LoadedModel,
    MediaLoader,
    Model,
    Request,
    Turn,
    canonical_json,
    digest_of_checkpoint,
)
from infimed_plugins.checkpoint_files import check_weights

WINDOW = 512
"""Most questions whose images are decoded before vLLM gets them; it makes its own batches of them."""

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Room for the rank of an adapter that vLLM can be told to make."""

PLACING = ("tensor_parallel_size", "gpu_memory_utilization")
"""Settings that say where the model runs and change no question."""


class Vllm(Model):
    """A checkpoint asked through ``vllm.LLM.chat``, in this process. Not for training."""

    packages: ClassVar[Mapping[str, str]] = {"vllm": "infimed[vllm]"}
    trainable: ClassVar[bool] = False

    checkpoint: str = Field(description="Directory in Hugging Face layout, or an id on the hub.")
    adapter: str | None = Field(default=None, description="Directory of a PEFT adapter on top of the checkpoint.")
    revision: str | None = Field(default=None, description="Commit, tag or branch on the hub.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="Type of the weights; auto takes the checkpoint's."
    )
    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that hold one copy of the model.")
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0, description="Share of each GPU's memory.")
    max_model_len: int | None = Field(default=None, ge=1, description="Most tokens of prompt and answer together.")
    max_images: int = Field(default=8, ge=0, description="Most images of one question.")
    system: str | None = Field(default=None, description="System prompt of conversations that bring none.")
    chat_template_kwargs: dict[str, JsonValue] = Field(
        default_factory=dict, description="Given to the chat template: {enable_thinking: true} for reasoning."
    )

    def identity(self) -> str:
        """As for every component, without what only places the model."""
        fields = self.model_dump(mode="json", exclude=set(PLACING) | ({"adapter"} if self.adapter is None else set()))
        made = f"{type(self).__module__}.{type(self).__qualname__}{canonical_json(fields)}"
        return (
            made + digest_of_checkpoint(self.checkpoint) + (digest_of_checkpoint(self.adapter) if self.adapter else "")
        )

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> None:
        """vLLM opens the checkpoint itself."""

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """The engine, which starts at the first question.

        Raises:
            DataError: vLLM is not installed.
        """
        if importlib.util.find_spec("vllm") is None:
            raise DataError(
                "not_installed", "vLLM is not installed: pip install 'infimed[vllm]' on a machine with a GPU"
            )
        return Engine(self)


class Engine(LoadedModel):
    """vLLM's engine for one checkpoint."""

    def __init__(self, settings: Vllm) -> None:
        self.settings = settings

    @cached_property
    def engine(self) -> Any:
        """``vllm.LLM``; code from the checkpoint is never run."""
        import vllm

        settings = self.settings
        for place in (settings.checkpoint, settings.adapter):
            if place is not None and Path(place).is_dir():  # vLLM would read weights in other formats too
                check_weights(Path(place))
        return vllm.LLM(
            model=settings.checkpoint,
            revision=settings.revision,
            dtype=settings.dtype,
            tensor_parallel_size=settings.tensor_parallel_size,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            max_model_len=settings.max_model_len,
            limit_mm_per_prompt={"image": settings.max_images},
            trust_remote_code=False,
            seed=0,
            **adapter_settings(settings.adapter),
        )

    @property
    def identity(self) -> str:
        """Digest of the checkpoint's name and revision, every setting that decides, and vLLM's version."""
        from importlib.metadata import packages_distributions, version

        package = packages_distributions().get("vllm", ["vllm"])[0]  # builds for CPUs go by another name
        return hashlib.sha256(f"{self.settings.identity()}{version(package)}".encode()).hexdigest()

    def describe(self) -> dict[str, JsonValue]:
        """The settings."""
        return dict(self.settings.model_dump(mode="json"))

    def asking(self) -> dict[str, JsonValue]:
        """The settings; the chat template is the checkpoint's."""
        return self.describe()

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        """Answers window by window; a question that cannot be asked is an answer with ``error``."""
        for start in range(0, len(requests), WINDOW):
            asked: list[Request] = []
            conversations = []
            for request in requests[start : start + WINDOW]:
                try:
                    conversations.append(conversation(request, self.settings.system, media))
                    asked.append(request)
                except DataError as error:
                    yield Answer(sample_id=request.sample_id, error=f"{error.code}: {error}")
            yield from self._ask(asked, conversations)

    def _ask(self, requests: Sequence[Request], conversations: Sequence[list[dict[str, Any]]]) -> Iterator[Answer]:
        if not requests:
            return
        try:
            outputs = self.engine.chat(
                list(conversations),
                [sampling(request.generation, bool(request.continuations)) for request in requests],
                use_tqdm=False,
                chat_template_kwargs=dict(self.settings.chat_template_kwargs),
                **adapter_request(self.settings.adapter),
            )
        except _refusals() as error:  # vLLM refuses a whole call for one question that is too long
            if len(requests) == 1:
                yield Answer(sample_id=requests[0].sample_id, error=f"refused: {error}")
                return
            for request, messages in zip(requests, conversations, strict=True):
                yield from self._ask([request], [messages])
            return
        for request, output in zip(requests, outputs, strict=True):
            yield Answer(
                sample_id=request.sample_id,
                text=output.outputs[0].text.strip(),
                num_prompt_tokens=len(output.prompt_token_ids or ()),
                num_answer_tokens=len(output.outputs[0].token_ids),
                finish_reason=getattr(output.outputs[0], "finish_reason", None),
                log_likelihoods=log_likelihoods(output.outputs[0], request.continuations),
            )


def adapter_settings(adapter: str | None) -> dict[str, Any]:
    """Arguments of the engine for an adapter: vLLM makes room for its rank alone where it is told it."""
    if adapter is None:
        return {}
    try:
        rank = int(json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise DataError("no_adapter", f"{adapter}: holds no adapter_config.json with a rank 'r' ({error})") from error
    return {"enable_lora": True, "max_lora_rank": next((most for most in LORA_RANKS if most >= rank), rank)}


def adapter_request(adapter: str | None) -> dict[str, Any]:
    """The argument of ``LLM.chat`` that puts the adapter on top."""
    if adapter is None:
        return {}
    from vllm.lora.request import LoRARequest

    return {"lora_request": LoRARequest("adapter", 1, adapter)}


def _refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises for a question that it does not take; newer ones (seen in 0.32) have a class of their own."""
    try:
        from vllm.exceptions import VLLMClientError
    except ImportError:
        return (ValueError,)
    return ValueError, VLLMClientError


def conversation(request: Request, system: str | None, media: MediaLoader) -> list[dict[str, Any]]:
    """The messages of ``LLM.chat``: texts and PIL images in the order of each turn's content.

    Raises:
        DataError: a medium is missing, broken, or no image.
    """
    turns = request.turns
    if system is not None and not (turns and turns[0].role == "system"):
        turns = (Turn(role="system", content=(system,)), *turns)
    return [{"role": turn.role, "content": _content(turn, request, media)} for turn in turns]


def _content(turn: Turn, request: Request, media: MediaLoader) -> str | list[dict[str, Any]]:
    from PIL import Image

    if not turn.media_indices:
        return turn.text
    parts: list[dict[str, Any]] = []
    for part in turn.content:
        if isinstance(part, str):
            parts += [{"type": "text", "text": part}] if part else []
            continue
        if not 0 <= part < len(request.media):
            raise DataError("missing_media", f"the question names medium {part}, which it does not have")
        pixels = media.load(request.media[part])
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise DataError("no_image", f"a medium of kind '{request.media[part].kind}' is no image")
        parts.append({"type": "image_pil", "image_pil": Image.fromarray(pixels)})
    return parts


ALTERNATIVES = 20
"""Likeliest tokens that the engine lists; more it takes only where it is started with ``max_logprobs``."""


def log_likelihoods(output: Any, continuations: Sequence[str]) -> tuple[float, ...]:
    """Of each text the log-probability that the answer is this one token, from the list of the likeliest tokens.

    A text that is not listed gets the least value of the list: it is less likely still. Empty where the list does not
    settle that: none of the texts is in it, or one that is missing begins with a token that is.
    """
    places = getattr(output, "logprobs", None) if continuations else None
    if not places:
        return ()
    pairs = [(str(one.decoded_token or "").strip(), float(one.logprob)) for one in places[0].values()]
    known = {text: [value for token, value in pairs if token == text] for text in continuations}
    missing = [text for text, values in known.items() if not values]
    if len(missing) == len(known) or any(token and text.startswith(token) for text in missing for token, _ in pairs):
        return ()
    least = min(value for _, value in pairs)
    return tuple(math.log(sum(map(math.exp, known[text]))) if known[text] else least for text in continuations)


def sampling(generation: Generation, compared: bool = False) -> Any:
    """``vllm.SamplingParams`` of a generation; a JSON schema constrains the decoding.

    ``compared``: the likeliest first tokens are wanted with their log-probabilities.
    """
    import vllm
    from vllm.sampling_params import StructuredOutputsParams

    settings = sampling_settings(generation) | ({"logprobs": ALTERNATIVES} if compared else {})
    schema = settings.pop("json_schema", None)
    if schema is not None:
        settings["structured_outputs"] = StructuredOutputsParams(json=schema)
    return vllm.SamplingParams(**settings)


def sampling_settings(generation: Generation) -> dict[str, Any]:
    """The arguments; greedy where the temperature is 0."""
    settings: dict[str, Any] = {
        "max_tokens": generation.max_new_tokens,
        "temperature": generation.temperature,
        "top_p": generation.top_p if generation.temperature > 0 else 1.0,
    }
    if generation.temperature > 0:
        settings["seed"] = generation.seed
    if generation.stop:
        settings["stop"] = list(generation.stop)
    if generation.json_schema is not None:
        settings["json_schema"] = dict(generation.json_schema)
    return settings
