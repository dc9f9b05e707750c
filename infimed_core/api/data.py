"""Samples and the parts that read, open and filter them."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, field_validator

from infimed_core.api.component import Component, Row, as_named, found_now
from infimed_core.errors import DataError
from infimed_core.named_files import digest_of_files

T = TypeVar("T")
R = TypeVar("R")


class Reader(Component):
    """Reads samples from a data format."""

    def shards(self) -> Sequence[str]:
        """The parts that can be read apart, in order. One nameless part unless overridden."""
        return ("",)

    @abstractmethod
    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Yield every row of ``shard``, in order, as a sample or as the fault that explains why it is none."""

    def read_from(self, shard: str, start: int) -> Iterator[Sample | Fault]:
        """``read`` from row number ``start`` on, after a kill; override it where rows are skipped faster than read."""
        return islice(self.read(shard), start, None)

    def place(self) -> str:
        """Where the row that ``read`` has just yielded stands, for people (``file:line``); "" where that is unknown."""
        return ""

    def fingerprint(self) -> str:
        """A digest that changes when what ``read`` yields changes.

        Unless overridden: the settings, and every file and folder that they name.
        """
        return hashlib.sha256(f"{self.identity()}|{digest_of_files(dict(self), as_named)}".encode()).hexdigest()


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

    def slices(self, media: Sequence[Media], plane: str | None = None) -> Slices | None:
        """The slices of a volume, from headers alone: of one file, of a folder, or of a list of files.

        ``plane`` is ``sagittal``, ``coronal`` or ``axial``; by default the plane in which the volume was taken, or
        axial. ``None``: there is no volume, or the media pick a slice already. A modality without volumes need not
        override it.

        Raises:
            DataError: there is a volume that cannot be put in order, or not cut along ``plane``.
        """
        return None


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
        """``Modality.probe`` of the right modality.

        Raises:
            DataError: of the modality; ``modality_failed`` where it failed otherwise or gave no size.
        """
        modality = self._find(media)
        size = _called(modality, "probe", media, lambda: modality.probe(media))
        if not isinstance(size, tuple) or not size or not all(isinstance(n, int | np.integer) and n > 0 for n in size):
            raise _failed(modality, "probe", media, f"returned {size!r}, not (height, width) or (length,)")
        return size

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """``Modality.load`` of the right modality; raises as ``probe`` does."""
        modality = self._find(media)
        array = _called(modality, "load", media, lambda: modality.load(media, at_most))
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
            what = f"{array.dtype} values" if isinstance(array, np.ndarray) else type(array).__name__
            raise _failed(modality, "load", media, f"returned {what}, not an array of uint8")
        return array

    def for_draw(self, draw: int) -> MediaLoader:
        """What opens the media of a sample that is drawn ``draw``-th in a stage."""
        return self

    def slices(self, media: Sequence[Media], plane: str | None = None) -> Slices | None:
        """``Modality.slices`` of the right modality; ``None`` where the media are of several kinds."""
        return self._find(media[0]).slices(media, plane) if len({item.kind for item in media}) == 1 else None

    @property
    def is_marked(self) -> bool:
        """Whether any modality has a version, is from elsewhere or has settings of its own."""
        return any(map(_is_marked, self._modalities.values()))

    def missing_packages(self, kinds: Collection[str]) -> str:
        """What has to be installed before media of these kinds can be opened; "" for nothing."""
        found = {kind: self._modalities[kind].missing_packages() for kind in kinds if kind in self._modalities}
        return "; ".join(f"media of kind '{kind}': {missing}" for kind, missing in sorted(found.items()) if missing)

    def identities(self, kinds: Collection[str]) -> dict[str, str]:
        """For those of ``kinds`` whose modality has a version, from elsewhere or settings of its own: who it is."""
        return {
            kind: self._modalities[kind].identity()
            for kind in sorted(kinds)
            if kind in self._modalities and _is_marked(self._modalities[kind])
        }


def _is_marked(modality: Modality) -> bool:
    return bool(modality.version != "1" or modality.plugin_version or modality.model_fields_set)


def _called(modality: Modality, method: str, media: Media, call: Callable[[], T]) -> T:
    try:
        return call()
    except (DataError, MemoryError):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _failed(modality, method, media, f"raised {text}") from error


def _failed(modality: Modality, method: str, media: Media, what: str) -> DataError:
    name = f"{type(modality).__module__}.{type(modality).__qualname__}.{method}"
    return DataError("modality_failed", f"{media.uri or media.kind}: {name} {what}")


class DatasetFilter(Component):
    """Looks at a whole data set at once: duplicates, overlap with the benchmarks of the run."""

    @abstractmethod
    def check(
        self,
        samples: Sequence[Sample],
        benchmarks: Mapping[str, Sequence[Sample]],
        media: MediaLoader,
        executor: Executor,
    ) -> FilterResult:
        """Which samples must not be trained on, and why.

        ``samples`` is read from disk as it is indexed: go through it once, keep what is thin. ``benchmarks`` holds
        the questions of every benchmark of the run by name (empty without an ``evaluation:`` section).
        """


class Executor(Component):
    """Maps a function over items, in processes or on a cluster."""

    @abstractmethod
    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``. ``function`` and items are picklable; an exception is raised as it was."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within this, what one ``map`` starts (processes, say) may wait for the next; at its end nothing is left."""
        yield

    def uses(self) -> str:
        """What it computes on, and why, in a line that a run says once; "" says nothing."""
        return ""


Role = Literal["system", "user", "assistant", "tool"]


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

    @field_validator("uri")
    @classmethod
    def _where_it_is_now(cls, uri: str | None) -> str | None:
        return str(found_now(uri)) if uri else uri


class Slices(Row):
    """A volume as its slices in their order through the body: left to right, back to front, or feet to head.

    Each of ``media`` is one slice. ``positions`` are millimetres along that way, or numbers where the file gives no
    place. ``spacing`` is in millimetres: between slices, between rows, between columns; ``None`` where it is not known.
    ``ordered_by`` says by what they are in order: ``position``, ``instance`` or ``frame``. ``left_out`` counts
    the images of the volume's files that are no slice of it, such as scouts.
    """

    media: tuple[Media, ...]
    plane: str
    positions: tuple[float, ...]
    spacing: tuple[float, float, float] | None = None
    ordered_by: str = "position"
    left_out: int = 0


class ToolCall(Row):
    """A call of one of the sample's tools, which an assistant's turn makes."""

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Region(Row):
    """What a mark in a turn's text stands for: a ``name`` for ``<ref-object>``, a ``box`` for ``<bbox>``.

    ``box`` is (left, top, right, bottom) as shares of the image's width and height, 0 to 1.
    """

    name: str | None = None
    box: tuple[float, float, float, float] | None = None


class Turn(Row):
    """One message. ``content`` holds texts and indices into the sample's ``media``, in reading order.

    An assistant's turn that is not ``supervised`` is shown to the model and not learned. ``tool_calls`` follow an
    assistant's text; a turn of the role ``tool`` is what a tool gave back. ``regions`` are what the marks in the texts
    stand for, in reading order; a model writes them in its family's own form, or refuses the sample.
    """

    role: Role
    content: tuple[str | int, ...]
    supervised: bool = True
    tool_calls: tuple[ToolCall, ...] = ()
    regions: tuple[Region, ...] = ()

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

    A training sample ends with an assistant turn; assistant turns are learned where ``supervised``. A benchmark sample
    ends with a user turn; ``references`` holds the accepted answers (for multiple choice the letter first,
    then the option's text) and ``options`` the option texts without letters.
    ``tools`` are offered to the model, each as chat templates take it: ``{"type": "function", "function": {...}}``.
    Usual ``tags``: modality, task_type, source, language, stage, split, study.
    """

    id: str
    turns: tuple[Turn, ...]
    tools: tuple[dict[str, JsonValue], ...] = ()
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


class FilterResult(Row):
    """A filter's verdict on a data set: the ids it would remove, each with its reasons, and facts for the record."""

    rejected: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    details: dict[str, JsonValue] = Field(default_factory=dict)


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
