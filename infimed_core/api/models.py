"""Models: what is encoded, asked and answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from infimed_core.api.component import Component, Row
from infimed_core.api.data import Fault, Media, MediaLoader, Sample, Turn
from infimed_core.errors import DataError


class Ask(Protocol):
    """Ask a model: answers in the order of the requests, from the cache where it holds them."""

    def __call__(self, requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        """``model`` names an entry of the run file's ``models:``; ``None`` is the model that is graded (or the judge).

        Raises:
            InfimedError: the run file has no model of that name.
        """
        ...


class ModelPool(Protocol):
    """The models of the run file's ``models:`` section, by name."""

    def identity(self, name: str) -> str:
        """Digest of what decides the answers of a named model, without opening it.

        Raises:
            InfimedError: the run file has no model of that name.
        """
        ...

    def ask(
        self, name: str, requests: Sequence[Request], progress: Callable[[int], None] = lambda count: None
    ) -> list[Answer]:
        """Answers in the order of the requests; what was answered before is not asked again.

        Raises:
            InfimedError: the run file has no model of that name, or it cannot be opened.
        """
        ...

    def counts(self, name: str) -> dict[str, int]:
        """How many questions were ``asked`` and how many answers were ``reused``, so far."""
        ...


@dataclass(frozen=True)
class TextLengths:
    """Token counts of samples without their image placeholders.

    Attributes:
        tokens: int64 [n], text, template and the markers around images, but not the placeholders themselves.
        supervised: int64 [n], labels that carry loss.
        refused: by place, why ``encode`` would refuse a sample; its counts are 0.
    """

    tokens: NDArray[np.int64]
    supervised: NDArray[np.int64]
    refused: Mapping[int, DataError] = field(default_factory=dict)


class Encoder(ABC):
    """Turns samples into tokens and pixels for one checkpoint. Picklable, holds no torch module, needs no device."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Digest of tokenizer, template and image processor; independent of the resolution cap."""

    @property
    def max_tokens(self) -> int | None:
        """Longest sample the model takes, or ``None``."""
        return None

    @abstractmethod
    def text_lengths(self, samples: Sequence[Sample]) -> TextLengths:
        """Token counts from text alone; no media are opened."""

    def text(self, ids: NDArray[np.int64]) -> str:
        """Token ids as text for people, control tokens included; their numbers where an encoder has no words."""
        return " ".join(map(str, ids.tolist()))

    def doubts(self) -> tuple[str, ...]:
        """What a person should know before training with this encoder; told when the samples are counted."""
        return ()

    @abstractmethod
    def visual_sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Placeholders and vision patches of images of these sizes under the cap, by arithmetic; int64 [n] each.

        Equal, always, to what ``encode`` produces.
        """

    def decode_size(self, height: int, width: int, max_visual_tokens: int | None) -> tuple[int, int] | None:
        """Smallest height and width at which an image may be decoded under the cap; ``None``: whole.

        An encoder that gives a size uses ``shapes`` in ``encode``, the (height, width) of each
        image's header, which decide its visual tokens although it was decoded smaller.
        """
        return None

    @abstractmethod
    def encode(
        self,
        sample: Sample,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> Encoded:
        """Encode with ``images`` (uint8 [h, w, 3], one for each media index used in the turns, in reading order).

        ``len(encoded) == tokens + sum(visual tokens)`` of the two methods above, exactly. Images may come larger or
        smaller than their header said only if ``load`` was given ``at_most``; ``sizes`` in the plan stay those of
        the header.

        Raises:
            DataError: the sample cannot be encoded (no user text, too many images ...).
        """


class LoadedModel(ABC):
    """A model in memory that can be asked."""

    answers_by_id: ClassVar[bool] = False
    """Whether it looks its answers up by the question's id, so that none is kept for another question alike."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Digest of the weights and of everything else that decides an answer; part of the answer cache's key."""

    @abstractmethod
    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        """Answer every request, in any order, each as soon as it is there; a failure is an answer with ``error``."""

    def describe(self) -> dict[str, JsonValue]:
        """Facts for the run record: architecture, parameters, dtype, device, isolation verdict."""
        return {}

    def asking(self) -> dict[str, JsonValue]:
        """How it is asked, for the record: chat template, system prompt, what a server says it serves."""
        return {}


class TrainableModel(LoadedModel):
    """A torch model that can be trained on packed rows."""

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """The encoder that belongs to this checkpoint."""

    @property
    @abstractmethod
    def module(self) -> Any:
        """The ``torch.nn.Module`` itself."""

    @abstractmethod
    def hidden_states(self, batch: PackedBatch) -> Any:
        """Final hidden states of a row, tensor [L, width], on the model's device; differentiable."""

    def draw(
        self, prompts: Sequence[tuple[Sample, int | None]], count: int, generation: Generation, media: MediaLoader
    ) -> list[list[tuple[Encoded, str, bool]] | DataError]:
        """``count`` answers to each prompt (a sample that ends with a user turn, and its cap on visual tokens): prompt
        and answer encoded, with a loss on what was drawn; its text; and whether it ended by itself.

        Which answers come depends on ``generation.seed``, the sample's id and their number alone, but for rounding.
        """
        raise NotImplementedError(f"{type(self).__name__} draws no answers to learn from")

    @abstractmethod
    def output_embedding(self) -> Any:
        """The ``torch.nn.Module`` (a Linear without bias, usually) that turns hidden states into logits."""

    @abstractmethod
    def parameter_groups(self) -> dict[str, list[str]]:
        """Names of ``module``'s parameters by group: ``vision``, ``projector``, ``language``, ``embeddings``."""

    @abstractmethod
    def can_pack(self) -> tuple[bool, str]:
        """Whether samples in one row are proven not to see each other, and how that was found."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write a complete checkpoint in Hugging Face layout (weights, config, tokenizer, template, processor)."""


class Model(Component):
    """Where a model comes from and how it is opened."""

    trainable: ClassVar[bool] = True
    can_be_asked: ClassVar[bool] = True
    """``False`` where its answers stand before it is asked, so that it is not asked again in other ways."""
    runs_elsewhere: ClassVar[bool] = False
    """Whether asking it takes no memory of this machine, so that it is asked while others are."""
    group_names: ClassVar[tuple[str, ...]] = ()
    """The parameter groups of every checkpoint that it opens; empty where only a loaded model can tell."""

    def weights_identity(self) -> str:
        """As ``identity``, without the settings that decide only how the model is asked: they retrain nothing."""
        return self.identity()

    @abstractmethod
    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> Path | None:
        """Make or find the base checkpoint; return its directory (``directory`` itself or elsewhere).

        ``texts`` iterates over all text of the run's training data, for a model that builds its own vocabulary.
        ``None`` where there is no checkpoint (a remote model).
        """

    @abstractmethod
    def load(self, checkpoint: Path | None) -> LoadedModel:
        """Open a checkpoint (the base or one that training saved)."""

    def request_settings(self) -> dict[str, JsonValue]:
        """Settings of the model that change what it is sent with a question (a system prompt): part of the protocol."""
        return {}

    def try_connection(self) -> str | None:
        """What a server answered to one short question, for ``infimed check --connect``; ``None`` where there is none.

        Raises:
            DataError: it cannot be reached, or does not answer.
        """
        return None

    def encoder(self, checkpoint: Path) -> Encoder:
        """The encoder of a checkpoint, without loading weights."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder: it cannot be trained")

    def can_pack(self, checkpoint: Path) -> tuple[bool, str]:
        """Whether samples of a checkpoint may share a row, and how that is known, without loading weights.

        Where they may not, its rows are padded. ``TrainableModel.can_pack`` has the last word before training.
        """
        return True, "the loaded model decides"


IGNORED_LABEL = -100
"""A label that carries no loss, as in torch's ``cross_entropy``."""


class Generation(Row):
    """How an answer is generated. ``temperature`` 0 is greedy decoding."""

    max_new_tokens: int = Field(default=64, ge=1, description="Most tokens of an answer.")
    temperature: float = Field(default=0.0, ge=0.0, description="0 always takes the most probable token.")
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, description="Sample from the most probable tokens of this sum.")
    seed: int = Field(default=0, description="Seed of sampling.")
    stop: tuple[str, ...] = Field(default=(), description="An answer ends before any of these texts.")
    json_schema: dict[str, JsonValue] | None = Field(
        default=None, description="JSON Schema of the reply; a model that can constrain its decoding does."
    )


class Request(Row):
    """One question to a model: a conversation that ends with a user turn.

    ``tags`` are the sample's; they decide whether it may be sent to another machine, never what is answered. Where
    there are ``continuations``, the answer's ``log_likelihoods`` of these texts are wanted and not its own words.
    """

    sample_id: str
    turns: tuple[Turn, ...]
    media: tuple[Media, ...] = ()
    generation: Generation = Field(default_factory=Generation)
    tags: dict[str, str] = Field(default_factory=dict)
    continuations: tuple[str, ...] = ()


class Answer(Row):
    """What came back. ``text`` is ``None`` exactly when ``error`` says why there is none.

    ``transcript`` holds the intermediate turns of a solver that asks more than once. ``log_likelihoods`` are those of
    the request's ``continuations``; empty from a model that cannot tell. ``confidence`` (0 to 1) is the solver's.
    """

    sample_id: str
    text: str | None = None
    error: str | None = None
    num_prompt_tokens: int | None = None
    num_answer_tokens: int | None = None
    finish_reason: str | None = None
    """How the answer ended, where the model says so: ``stop``, ``length`` (cut at a limit), ``content_filter``."""
    num_calls: int = 1
    log_likelihoods: tuple[float, ...] = ()
    confidence: float | None = None
    transcript: tuple[dict[str, JsonValue], ...] = ()


@dataclass(frozen=True)
class Encoded:
    """One sample as a model takes it. ``L`` tokens, ``R`` rows of positions (family-specific; row 0 counts from 0).

    Attributes:
        input_ids: int64 [L].
        labels: int64 [L], already shifted: ``labels[t]`` is the token to predict at ``t`` or ``IGNORED_LABEL``;
            the last is always ``IGNORED_LABEL``.
        positions: int64 [R, L].
        token_types: int64 [L]: 0 for text, 1 for an image placeholder.
        visual_tokens: placeholders of each image, in order.
        vision: arrays that the vision tower takes, each concatenated over samples along its first axis
            (for Qwen-VL: ``pixel_values`` [patches, features], ``image_grid_thw`` [images, 3]).
    """

    sample_id: str
    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    token_types: NDArray[np.int64]
    visual_tokens: tuple[int, ...] = ()
    vision: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """How many positions carry a label."""
        return int((self.labels != IGNORED_LABEL).sum())


@dataclass(frozen=True)
class PackedBatch:
    """One row: samples end to end, kept apart by ``cu_seqlens``. Shapes as in ``Encoded`` with L the row's length.

    In the padded layout (``padded=True``) every segment has the same length: its own tokens, then padding that
    carries no loss and comes after everything real, so that a causal model gives the same result.

    Attributes:
        cu_seqlens: int32 [number of segments + 1], from 0 to L.
        num_padding: tokens of L that belong to no sample.
        num_supervised: labels that are not ``IGNORED_LABEL``.
        dropped: samples of the plan that could not be encoded, each with its reason.
        sources: the tag ``source`` of each sample ("" where it has none), or empty.
    """

    sample_ids: tuple[str, ...]
    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    token_types: NDArray[np.int64]
    cu_seqlens: NDArray[np.int32]
    visual_tokens: tuple[int, ...]
    vision: Mapping[str, NDArray[Any]]
    num_supervised: int
    num_padding: int = 0
    padded: bool = False
    dropped: tuple[Fault, ...] = ()
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.input_ids)
