"""What flows through a run: rows that live on disk (pydantic) and arrays of the hot path (dataclasses)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

IGNORED_LABEL = -100
"""A label that carries no loss, as in torch's ``cross_entropy``."""

JsonObject = dict[str, Any]
"""A JSON object."""

Role = Literal["system", "user", "assistant"]


class Row(BaseModel):
    """A frozen row that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", defer_build=True
    )


class Use(Row):
    """A component named in a run file: ``use`` names it (``name`` or ``plugin/name``), ``with`` sets it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    use: str = Field(description="Name of a component, qualified as plugin/name where two plugins offer it.")
    settings: dict[str, Any] = Field(default_factory=dict, alias="with", description="The component's settings.")


class Media(Row):
    """One image, volume slice or signal, by place (``uri``) or by content (``data``).

    ``kind`` names the modality component that reads it (``image``, ``dicom``, ``nifti`` ...); ``uri`` is an
    absolute path; ``options`` picks a part of it (``{"frame": 3}``, ``{"axis": 2, "index": 80}``).
    """

    kind: str = "image"
    uri: str | None = None
    data: bytes | None = Field(default=None, repr=False)
    sha256: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)


class Turn(Row):
    """One message. ``content`` holds texts and indices into the sample's ``media``, in reading order."""

    role: Role
    content: tuple[str | int, ...]

    @property
    def text(self) -> str:
        """The texts of the turn, joined by nothing; media are left out."""
        return "".join(part for part in self.content if isinstance(part, str))

    @property
    def media_indices(self) -> tuple[int, ...]:
        """Indices into ``Sample.media``, in reading order."""
        return tuple(part for part in self.content if isinstance(part, int))


class Sample(Row):
    """One conversation with its media: the only sample type, for training and for benchmarks.

    A training sample ends with an assistant turn; every assistant turn is supervised. A benchmark sample
    ends with a user turn; ``references`` holds the accepted answers (for multiple choice the letter first,
    then the option's text) and ``options`` the option texts without letters.
    Usual ``tags``: modality, task_type, source, language, stage, split, study.
    """

    id: str
    turns: tuple[Turn, ...]
    media: tuple[Media, ...] = ()
    references: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    licence: str | None = None
    meta: dict[str, JsonValue] = Field(default_factory=dict)


class Fault(Row):
    """A row that could not be used: counted under ``code``, told with ``where`` (file:line or uri) and ``detail``."""

    sample_id: str
    code: str
    detail: str
    where: str = ""


class Score(Row):
    """A value in [0, 1], or ``None`` where it could not be scored (never 0, never NaN in its place).

    ``parts`` holds the dimensions or sub-scores, ``reasons`` codes from the scorer's closed list,
    ``raw`` the measurements behind it. A grader's detail for people (the answer as read) goes to ``note``.
    """

    value: float | None = Field(default=None, ge=0.0, le=1.0)
    status: Literal["ok", "unscored", "error"] = "ok"
    parts: dict[str, float | None] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    raw: dict[str, float | None] = Field(default_factory=dict)
    note: str = ""


class Candidate(Row):
    """What a selector sees of a sample: its id, tags and quality score.

    The score is that of the run's first scorer; parts and reasons of the others are in it as ``scorer.part``.
    """

    id: str
    tags: dict[str, str]
    score: Score


class Selection(Row):
    """A selector's verdict: the ids kept, in input order, and for every other id why it was not."""

    kept: tuple[str, ...]
    rejected: dict[str, tuple[str, ...]]


class Gated(Row):
    """A gate's verdict on a data set: the ids it would remove, each with its reasons, and facts for the record."""

    rejected: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    details: dict[str, JsonValue] = Field(default_factory=dict)


class Generation(Row):
    """How an answer is generated. ``temperature`` 0 is greedy decoding."""

    max_new_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int = 0
    stop: tuple[str, ...] = ()
    json_schema: dict[str, JsonValue] | None = Field(
        default=None, description="JSON Schema of the reply; a model that can constrain its decoding does."
    )


class Request(Row):
    """One question to a model: a conversation that ends with a user turn.

    ``tags`` are the sample's; they decide whether it may be sent to another machine, never what is answered.
    """

    sample_id: str
    turns: tuple[Turn, ...]
    media: tuple[Media, ...] = ()
    generation: Generation = Generation()
    tags: dict[str, str] = Field(default_factory=dict)


class Answer(Row):
    """What came back. ``text`` is ``None`` exactly when ``error`` says why there is none.

    ``transcript`` holds the intermediate turns of a solver that asks more than once.
    """

    sample_id: str
    text: str | None = None
    error: str | None = None
    num_prompt_tokens: int | None = None
    num_answer_tokens: int | None = None
    finish_reason: str | None = None
    """How the answer ended, where the model says so: ``stop``, ``length`` (cut at a limit), ``content_filter``."""
    num_calls: int = 1
    transcript: tuple[dict[str, JsonValue], ...] = ()


class Mix(Row):
    """A share of a stage's data: the samples whose tags match ``where`` (value or list of values per tag)."""

    where: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    weight: float = Field(default=1.0, gt=0.0, description="Relative share of what is drawn from here.")

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether every tag named in ``where`` has (one of) the wanted value(s)."""
        return all(
            tags.get(tag) in ((wanted,) if isinstance(wanted, str) else wanted) for tag, wanted in self.where.items()
        )


class StageEvaluation(Row):
    """What a stage is measured by while it trains. The weights that come out do not depend on it.

    A sample that any stage of a run holds out is trained on by none. Samples and questions are a seeded choice, the
    same at every measurement.
    """

    every: int = Field(ge=1, description="Steps between two measurements; after the last step there is always one.")
    held_out: dict[str, str | tuple[str, ...]] | None = Field(
        default=None, description="Tags of the samples whose loss is measured; no stage trains on them."
    )
    benchmarks: tuple[str, ...] = Field(
        default=(), description="Benchmarks of the run's evaluation that are asked, by their names."
    )
    max_samples: int = Field(
        default=64, ge=1, description="Most samples held out that are measured, and most questions of each benchmark."
    )

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if self.held_out is None and not self.benchmarks:
            raise ValueError("measures nothing; give held_out (tags of samples), benchmarks (names), or both")
        return self


class Stage(Row):
    """One training stage; a trainer's own stage class adds its settings (learning rate ...).

    The data are every sample that some ``mix`` entry matches (all samples where ``mix`` is empty), drawn with
    the entries' weights. The length is one of ``num_samples`` (drawn, with repetition after a full pass),
    ``num_tokens`` or ``num_steps``, else ``epochs``.
    ``resolution`` and ``packing`` override the run file's sections for this stage.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    mix: tuple[Mix, ...] = ()
    mix_by: Literal["samples", "tokens"] = Field(
        default="samples", description="What the weights of the mix are shares of: samples drawn, or their tokens."
    )
    epochs: float = Field(default=1.0, gt=0.0)
    num_samples: int | None = Field(default=None, ge=1, description="Length in samples drawn.")
    num_tokens: int | None = Field(
        default=None, ge=1, description="Length in tokens, images included: as near to it as whole samples come."
    )
    num_steps: int | None = Field(default=None, ge=1, description="Length in optimizer steps.")
    rows_per_step: int = Field(default=1, ge=1, description="Packed rows in one optimizer step, over all ranks.")
    overlong: Literal["drop", "error"] = Field(
        default="drop",
        description="What happens to a sample that fits no row after its images were shrunk: a counted drop, or an "
        "error before training starts.",
    )
    resolution: Use | None = None
    packing: Use | None = None
    evaluate: StageEvaluation | None = Field(
        default=None, description="What is measured while the stage trains: a loss on held-out samples, benchmarks."
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [name for name in ("num_samples", "num_tokens", "num_steps") if getattr(self, name) is not None]
        given += ["epochs"] if given and self.epochs != 1.0 else []
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are two lengths of one stage; keep one")
        return self


@dataclass(frozen=True)
class Phase:
    """Samples ``start`` to ``stop`` (exclusive) of a stage are seen at no more than ``max_visual_tokens`` an image.

    ``None`` is native resolution.
    """

    start: int
    stop: int
    max_visual_tokens: int | None


@dataclass(frozen=True)
class Packs:
    """Groups of indices as a CSR pair: pack ``i`` is ``members[offsets[i]:offsets[i + 1]]``.

    Attributes:
        members: int64 [number of packed indices].
        offsets: int64 [number of packs + 1], from 0, non-decreasing.
    """

    members: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def from_lists(cls, groups: Iterable[Sequence[int]]) -> Packs:
        """The same packs from a list of lists."""
        groups = list(groups)
        lengths = np.fromiter((len(group) for group in groups), dtype=np.int64, count=len(groups))
        offsets = np.zeros(len(groups) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        members = np.fromiter((i for group in groups for i in group), dtype=np.int64, count=int(offsets[-1]))
        return cls(members, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.members[self.offsets[index] : self.offsets[index + 1]]


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


@dataclass(frozen=True)
class RunEvent:
    """Something that happened in a run, told to every ``infimed_run_event`` listener.

    ``kind``: ``run_started``, ``step_started``, ``step_skipped`` (its artifact stands), ``progress`` (payload
    ``done``, ``total``, ``unit``), ``log`` (payload: numbers of a training step), ``evaluation`` (payload: what was
    measured after a training step), ``message``, ``step_finished``, ``run_finished``. ``step`` names the step;
    ``directory`` is the run's.
    """

    kind: str
    step: str
    directory: str
    payload: Mapping[str, Any] = field(default_factory=dict)


class MetricValue(Row):
    """A metric with its 95% interval and how many samples stand behind it."""

    value: float | None
    low: float | None = None
    high: float | None = None
    num_scored: int = 0
    num_unscored: int = 0


class ResultRow(Row):
    """One model on one benchmark (or on the part of it that ``group`` names), under one scoring.

    ``model`` is ``base``, a stage's name, or a baseline: ``most-common-answer``, ``constant-letter``, or a model's name
    with ``-image-blind`` (the same model, asked without the images).
    """

    benchmark: str
    version: str
    model: str
    scoring: str
    group: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, MetricValue]


class Comparison(Row):
    """A paired difference of ``metric`` between two models on the same samples: ``model`` minus ``against``.

    ``p_value`` is McNemar's where every score is 0 or 1 and no two questions share an image or study, else that of the
    clustered paired bootstrap; ``p_adjusted`` is Holm's over all comparisons of the run; ``minimum_detectable`` is the
    true difference that would be found with probability 0.8.
    """

    benchmark: str
    scoring: str
    metric: str
    model: str
    against: str
    difference: float
    low: float
    high: float
    p_value: float | None = None
    p_adjusted: float | None = None
    minimum_detectable: float | None = None
    num_pairs: int


class PluginInfo(Row):
    """A plugin that took part: its entry-point name, distribution and version."""

    name: str
    distribution: str
    version: str


class StepRecord(Row):
    """One step of a run. ``num_in == num_out + sum(dropped.values())`` wherever rows flow."""

    name: str
    status: Literal["running", "done", "reused", "failed", "interrupted"]
    artifact: str | None = None
    num_in: int | None = None
    num_out: int | None = None
    dropped: dict[str, int] = Field(default_factory=dict)
    seconds: float = 0.0
    details: dict[str, JsonValue] = Field(default_factory=dict)


class RunRecord(Row):
    """run.json: what was run, on what, with which result. Written at the start and after every step."""

    format: Literal[1] = 1
    name: str
    status: Literal["running", "done", "failed", "interrupted"]
    started: str
    finished: str | None = None
    config: dict[str, JsonValue]
    plugins: tuple[PluginInfo, ...] = ()
    environment: dict[str, JsonValue] = Field(default_factory=dict)
    seed: int = 0
    steps: tuple[StepRecord, ...] = ()
    results: tuple[ResultRow, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    error: str | None = None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
