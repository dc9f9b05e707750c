"""One abstract class for each kind of component; what a plugin author subclasses.

A component is a frozen pydantic model: its fields are exactly what ``with:`` may set in a run file. It is cheap to
make and to pickle; heavy state is loaded on first use and kept in ``functools.cached_property`` or a private
attribute, once per worker process.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from infimed_core.errors import DataError
from infimed_core.types import (
    Answer,
    Candidate,
    Encoded,
    Fault,
    Gated,
    Media,
    MetricValue,
    PackedBatch,
    Packs,
    Phase,
    Request,
    Sample,
    Score,
    Selection,
    Stage,
    Use,
    canonical_json,
)

T = TypeVar("T")
R = TypeVar("R")


class Component(BaseModel, ABC):
    """What a run file names with ``use:``; its fields are what ``with:`` may set."""

    version: ClassVar[str] = "1"
    """Raised by its author when the component computes something else: what was made before is then made anew."""
    nested: ClassVar[Mapping[str, str]] = {}
    """Settings that themselves name a component (``Use``), with its kind: made and checked with the run file."""

    # built on first use: a run pays for the components that it names, not for every installed one
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def identity(self) -> str:
        """Text that changes whenever the component would do something else; part of every artifact's hash."""
        made = f"{type(self).__module__}.{type(self).__qualname__}{canonical_json(self.model_dump(mode='json'))}"
        return made if self.version == "1" else f"{made}|{self.version}"

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """What would stop a run later and can be known before it, by setting: ``path``, ``stages.2.trainable``, ``""``.

        Told by line with every other mistake of the run file before anything starts: a file that is not there, a name
        that another component does not have. Cheap: looks at names and at the disk, opens no data. ``run`` holds the
        components that could be made, by place (``model``, ``data.sources.0``).
        """
        return {}

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the settings alone: state loaded on first use stays in the process that loaded it."""
        state = super().__getstate__()
        fields = type(self).model_fields
        return {
            **state,
            "__dict__": {k: v for k, v in state["__dict__"].items() if k in fields},
            "__pydantic_private__": None,
        }


class Ask(Protocol):
    """Ask a model: answers in the order of the requests, from the cache where it holds them."""

    def __call__(self, requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        """``model`` names an entry of the run file's ``models:``; ``None`` is the model that is graded (or the judge).

        Raises:
            InfimedError: the run file has no model of that name.
        """
        ...


class Reader(Component):
    """Reads samples from a data format."""

    def shards(self) -> Sequence[str]:
        """The parts that can be read apart, in order. One nameless part unless overridden."""
        return ("",)

    @abstractmethod
    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Yield every row of ``shard``, in order, as a sample or as the fault that explains why it is none."""

    def place(self) -> str:
        """Where the row that ``read`` has just yielded stands, for people (``file:line``); "" where that is unknown."""
        return ""

    def fingerprint(self) -> str:
        """A digest that changes when what ``read`` yields changes. Readers of files hash names, sizes and contents."""
        return hashlib.sha256(self.identity().encode()).hexdigest()


class Modality(Component):
    """Reads one kind of media (``Media.kind`` is the name it is offered under)."""

    @abstractmethod
    def probe(self, media: Media) -> tuple[int, ...]:
        """Return (height, width) as ``load`` will deliver it, or (length,), from the header alone.

        Raises:
            DataError: the file is missing, not of this kind, or over the size limit.
        """

    @abstractmethod
    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Decode to uint8 [height, width, 3] RGB (or uint8 [length, ...] for what is no image).

        ``at_most`` (height, width) allows, never obliges, a cheaper decode to any size that is at least that large.

        Raises:
            DataError: the content is broken; a truncated file is an error, never a part of an image.
        """


class MediaLoader:
    """Opens any media through the modality component that its ``kind`` names. Picklable."""

    def __init__(self, modalities: Mapping[str, Modality]) -> None:
        self._modalities = dict(modalities)

    def _find(self, media: Media) -> Modality:
        try:
            return self._modalities[media.kind]
        except KeyError:
            known = ", ".join(sorted(self._modalities))
            raise DataError(
                "unknown_kind", f"no modality named '{media.kind}' is installed (installed: {known})"
            ) from None

    def probe(self, media: Media) -> tuple[int, ...]:
        """``Modality.probe`` of the right modality."""
        return self._find(media).probe(media)

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """``Modality.load`` of the right modality."""
        return self._find(media).load(media, at_most)


class Scorer(Component):
    """Scores the quality of samples."""

    dimensions: ClassVar[tuple[str, ...]] = ()
    """Names of the parts of every score, in display order."""
    identity_reasons: ClassVar[frozenset[str]] = frozenset()
    """Reason codes of this scorer that say a person may be identifiable in a sample; empty where it does not look."""
    identity_part: ClassVar[str] = ""
    """The part of a score that is ``None`` where identity could not be checked."""

    def given_dimensions(self) -> Sequence[str]:
        """``dimensions``, or those that the settings ask for in their place; empty: not known before it has scored."""
        return self.dimensions

    def fitted(self, samples: Sequence[Sample], media: MediaLoader, directory: Path) -> Scorer:
        """The scorer that scores this data set: itself, or a copy that knows a reference made from the data.

        Called once, before the first ``score``; what must outlive a kill is written to ``directory``, where an earlier
        call may have left it. The reference must not depend on the order of the samples.
        """
        return self

    @abstractmethod
    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        """One score per sample, in order. What cannot be scored is ``None`` with a reason, never dropped.

        A sample's score does not depend on the other samples of the call.
        """


class JudgingScorer(Scorer):
    """Scores by asking a model of the run file's ``models:`` section; runs in one process, the model does the work.

    Before it asks, every sample carries the tag ``identity``: ``flagged`` (an earlier scorer of the run gave one of
    its ``identity_reasons``), ``unchecked`` (none looked, or it could not) or ``clear``.
    """

    model: str = Field(default="judge", description="Which of the run file's models is asked.")

    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        """Not for this kind of scorer: ``judge`` is called instead."""
        raise TypeError(f"{type(self).__name__} scores by asking a model: call judge()")

    @abstractmethod
    def judge(self, samples: Sequence[Sample], media: MediaLoader, ask: Ask) -> list[Score]:
        """One score per sample, in order; a judgement that failed is ``None`` with a reason.

        ``ask`` asks ``model``; its answers are stored, and nothing is asked twice. A score with the status ``error``
        (the model could not be reached) is asked for again by the next run; ``unscored`` is final.
        """


class Gate(Component):
    """Looks at a whole data set at once: duplicates, overlap with the benchmarks of the run."""

    @abstractmethod
    def check(
        self,
        samples: Sequence[Sample],
        benchmarks: Mapping[str, Sequence[Sample]],
        media: MediaLoader,
        executor: Executor,
    ) -> Gated:
        """Which samples must not be trained on, and why.

        ``samples`` is read from disk as it is indexed: go through it once, keep what is thin. ``benchmarks`` holds
        the questions of every benchmark of the run by name (empty without an ``evaluation:`` section).
        """


class Selector(Component):
    """Chooses samples by their stored scores; never scores again."""

    def named_dimensions(self) -> Mapping[str, str]:
        """Every dimension that the settings name, with the setting that does; a run that lacks one does not start."""
        return {}

    @abstractmethod
    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """Keep or reject every candidate, each reject with its reasons."""


class ResolutionScheduler(Component):
    """Says how large images may be at each point of a stage."""

    @abstractmethod
    def plan(self, num_samples: int) -> list[Phase]:
        """Phases that cover samples 0 to ``num_samples`` without gap or overlap."""


class Packer(Component):
    """Groups samples into rows. Sees costs, not samples."""

    row_tokens: int = Field(default=4096, ge=1, description="Most language-model tokens in a row.")
    row_patches: int | None = Field(default=None, ge=1, description="Most vision patches in a row.")
    row_images: int | None = Field(default=None, ge=1, description="Most images in a row.")

    padded: ClassVar[bool] = False
    """Whether rows are padded batches (every segment as long as the longest) instead of packed ones."""

    @property
    def budget(self) -> NDArray[np.int64]:
        """int64 [3]: tokens, patches, images; ``2**62`` where there is no limit."""
        unlimited = 2**62
        return np.array([self.row_tokens, self.row_patches or unlimited, self.row_images or unlimited], dtype=np.int64)

    @property
    def most_in_row(self) -> int | None:
        """Most samples in a row, where the settings alone say it."""
        return None

    @abstractmethod
    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        """Group indices of ``costs`` (int64 [n, 3]: tokens, patches, images) so that no group exceeds ``budget``.

        Deterministic. The costs come in a seeded random order. An index left out (it fits no row) is a counted drop.
        """


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

    def encoder(self, checkpoint: Path) -> Encoder:
        """The encoder of a checkpoint, without loading weights."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder: it cannot be trained")

    def can_pack(self, checkpoint: Path) -> tuple[bool, str]:
        """Whether samples of a checkpoint may share a row, and how that is known, without loading weights.

        Where they may not, its rows are padded. ``TrainableModel.can_pack`` has the last word before training.
        """
        return True, "left to the loaded model"


class Batches(Protocol):
    """The rows of a stage. Picklable; any step can be made at any time, in any process, with the same result."""

    @property
    def plan_hash(self) -> str:
        """Digest of everything that decides which rows come when."""
        ...

    @property
    def num_steps(self) -> int:
        """Optimizer steps in the stage."""
        ...

    def rows(self, step: int) -> list[PackedBatch]:
        """All rows of an optimizer step, over all ranks, in a fixed order (decodes and encodes; CPU work)."""
        ...

    def num_rows(self, step: int) -> int:
        """``len(rows(step))`` without making them."""
        ...

    def row(self, step: int, index: int) -> PackedBatch:
        """One row of a step."""
        ...


class Measurements(Protocol):
    """What a stage is measured by while it trains (``Stage.evaluate``); the same in every process of the run."""

    @property
    def every(self) -> int:
        """Steps between two measurements; after the last step there is always one."""
        ...

    @property
    def held_out(self) -> Batches | None:
        """One step of rows whose loss is measured; no stage trains on their samples."""
        ...

    @property
    def benchmarks(self) -> Sequence[str]:
        """Names of the benchmarks that are asked."""
        ...

    def ask(self, model: LoadedModel, rank: int, size: int) -> JsonValue:
        """Ask the model as it is the questions of one rank out of ``size``, and grade its answers."""
        ...

    def summarise(self, shares: Sequence[JsonValue]) -> dict[str, JsonValue]:
        """The figures of each benchmark, from what ``ask`` returned on every rank."""
        ...


@dataclass(frozen=True)
class TrainingContext:
    """What a trainer needs besides model, rows and stage.

    Attributes:
        directory: where the trainer keeps resumable state; survives a kill; removed after the stage.
        seed: seed of everything random in the stage.
        emit: report ``progress``, ``log``, ``evaluation`` or ``message`` (kind, payload).
        stopped: set when the user asked to stop; the trainer writes its state and raises ``KeyboardInterrupt``.
        measurements: what to measure while the stage trains, without an effect on the weights; ``None`` for nothing.
    """

    directory: Path
    seed: int
    emit: Callable[[str, Mapping[str, Any]], None]
    stopped: threading.Event = field(default_factory=threading.Event)
    measurements: Measurements | None = None


class Trainer(Component):
    """Trains a model through stages."""

    @property
    @abstractmethod
    def stage_list(self) -> Sequence[Stage]:
        """The stages in order."""

    def result_identity(self, stage: Stage) -> str:
        """Text of every setting that decides the weights after ``stage``; leave out worker counts and the like."""
        own = self.model_dump(mode="json", exclude={"stages"})
        own |= {} if self.version == "1" else {"version": self.version}
        return canonical_json([own, stage.model_dump(mode="json", exclude={"evaluate"})])

    @abstractmethod
    def train(
        self, model: TrainableModel, batches: Batches, stage: Stage, context: TrainingContext
    ) -> dict[str, JsonValue]:
        """Train ``model`` in place over ``batches``, resuming from ``context.directory`` if state is there.

        Returns facts for the record: steps, tokens, supervised_tokens, images, padding_share, tokens_per_second,
        data_wait_share, flops, loss_first, loss_last, ``curve``: a list of {step, loss, ...}, and ``evaluations``: a
        list of {step, held_out_loss, benchmarks} where ``context.measurements`` asks for them.
        """


class Solver(Component):
    """How a model is asked the questions of a benchmark."""

    def models(self) -> Sequence[str]:
        """Names of the run file's ``models:`` that this solver asks besides the one that is graded."""
        return ()

    @abstractmethod
    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order. ``ask`` may be called any number of times; ``generation`` is the
        benchmark's ``Generation`` or the run file's override."""


class Benchmark(Component):
    """A set of questions with a way to grade the answers."""

    scorings: ClassVar[tuple[str, ...]] = ("strict",)
    """Ways of grading, the first is the one that counts."""
    group_by: ClassVar[tuple[str, ...]] = ()
    """Tags by which results are shown in parts."""
    baseline_by: ClassVar[tuple[str, ...]] = ()
    """Tags that define a kind of question for the most-common-answer baseline."""
    cluster_by: ClassVar[str] = ""
    """Tag whose equal values are not independent (an image, a study); intervals resample these. "" is the sample."""
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    """Names of the metric components that summarise the scores."""
    judging: ClassVar[str] = ""
    """What ``judge`` leaves to rules and what it asks the judge; stands in the protocol of a judged run."""

    @abstractmethod
    def samples(self) -> Iterator[Sample | Fault]:
        """Every question, in a fixed order."""

    @abstractmethod
    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """Grade one answer. What cannot be read is unscored (``None``), with a reason; never a guess."""

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score] | None:
        """Grade by asking a judge (``ask`` without a name), one score per sample; ``None``: no use for a judge here.

        Each judge of ``evaluation.judges`` gives a scoring of its own, ``judge:NAME``. A verdict that is missing or
        unreadable is unscored.
        """
        return None

    def compared_texts(self, sample: Sample, answer: Answer) -> dict[str, tuple[str, str]]:
        """Section -> (reference, answer) for metrics of texts; ``""`` is the whole. Sections without a reference are
        left out; an answer that lacks a section has ``""`` there."""
        return {"": (sample.references[0], answer.text or "")} if sample.references else {}

    def is_open(self, sample: Sample) -> bool:
        """Whether the answer is free text, so that measures of open answers take it in."""
        return True

    def solver(self) -> Use:
        """The solver this benchmark wants unless the run file names another."""
        return Use(use="direct")

    def generation(self) -> Any:
        """The ``Generation`` this benchmark wants; ``None`` for the default."""
        return None

    def fingerprint(self) -> str:
        """A digest that changes when the questions or their grading change."""
        return hashlib.sha256(f"{self.identity()}|{self.version}".encode()).hexdigest()

    def summarise(
        self, samples: Sequence[Sample], answers: Sequence[Answer], scoring: str
    ) -> dict[str, JsonValue] | None:
        """Anything to record beside the metrics (another harness's result format ...)."""
        return None


class Metric(Component):
    """Reduces scores to one value."""

    of_open_answers: ClassVar[bool] = False
    """Whether only free text takes part (``Benchmark.is_open``); what is then unscored are such answers alone."""

    def missing(self) -> str:
        """What must be installed first, with the command that does; asked before any model is. "" for nothing."""
        return ""

    @abstractmethod
    def compute(self, scores: Sequence[Score]) -> float | None:
        """The metric over scored samples (``value`` not ``None``); ``None`` where it is undefined."""

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64] | None:
        """One value per score such that ``compute`` is their mean, float64 [n]; ``None`` where the metric is no mean.

        NaN where a score takes no part in it (a closed question in a measure of open answers). A mean gets its interval
        from all resamples at once; any other metric is computed anew on each resample.
        """
        return None


class TextMetric(Metric):
    """Measures every answer's text against its reference; the metric is the mean over all scored answers.

    The core calls ``measure`` once for each model and benchmark and keeps the values in ``Score.parts``.
    """

    key: ClassVar[str]
    """Name of the part in ``Score.parts``; a section's name goes before it (``findings_cider``)."""
    section: ClassVar[str] = ""
    """Which of the benchmark's ``compared_texts`` is measured; "" is the whole."""

    @property
    def part(self) -> str:
        """The name in ``Score.parts``."""
        return f"{self.section}_{self.key}" if self.section else self.key

    @abstractmethod
    def measure(self, references: Sequence[str], texts: Sequence[str | None]) -> list[float | None]:
        """One value per pair, in order; ``None`` where it cannot be measured.

        A text is ``None`` where the answer is unscored: it gets no value, but its reference belongs to the corpus.
        """

    def compute(self, scores: Sequence[Score]) -> float | None:
        """The mean of the part over the scores that have it."""
        found = [value for score in scores if (value := score.parts.get(self.part)) is not None]
        return sum(found) / len(found) if found else None

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64] | None:
        """The part of every score, NaN where a score lacks it."""
        return np.array([score.parts.get(self.part) for score in scores], dtype=np.float64)


class Executor(Component):
    """Maps a function over items, in processes or on a cluster."""

    @abstractmethod
    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``. ``function`` and items are picklable; an exception is raised as it was."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within this, what one ``map`` starts (processes, say) may wait for the next; at its end nothing is left."""
        yield


__all__ = [
    "Ask", "Batches", "Benchmark", "Component", "Encoder", "Executor", "Gate", "JudgingScorer", "LoadedModel",
    "Measurements", "MediaLoader", "Metric", "MetricValue", "Modality", "Model", "Packer", "Reader",
    "ResolutionScheduler", "Scorer", "Selector", "Solver", "TextLengths", "TextMetric", "TrainableModel", "Trainer",
    "TrainingContext",
]  # fmt: skip
