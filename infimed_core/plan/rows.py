"""Rows made from a plan: samples decoded, encoded and joined end to end; the invariants of a row are kept here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infimed_core.api.data import Fault, MediaLoader, Sample
from infimed_core.api.models import IGNORED_LABEL, Encoded, Encoder, PackedBatch
from infimed_core.errors import DataError, InfimedError
from infimed_core.plan.stage_plan import NATIVE, StagePlan
from infimed_core.store.dataset import Dataset


def assemble(
    encoded: Sequence[Encoded], padded: bool = False, dropped: tuple[Fault, ...] = (), sources: tuple[str, ...] = ()
) -> PackedBatch:
    """Join samples into one row; with ``padded`` every segment is filled up to the longest.

    ``sources`` names the source of each sample, or is empty.

    No sample at all gives an empty row (L = 0), so that a row whose samples all failed keeps its place.

    Raises:
        InfimedError: a sample breaks an invariant (a target across its border, a loss on an image placeholder,
            placeholders that do not match its images); the message names it.
    """
    for sample in encoded:
        _check(sample)
    if len({len(sample.positions) for sample in encoded}) > 1:
        raise InfimedError(
            f"samples of one row have position rows of different number: {[s.sample_id for s in encoded]}"
        )
    longest = max((len(sample) for sample in encoded), default=0)
    num_padding = sum(longest - len(sample) for sample in encoded) if padded else 0
    parts = [_padded(sample, longest) for sample in encoded] if padded else list(encoded)
    cu_seqlens = np.zeros(len(parts) + 1, dtype=np.int32)
    np.cumsum([len(part) for part in parts], out=cu_seqlens[1:])
    none = np.zeros(0, dtype=np.int64)
    labels = np.concatenate([none, *(part.labels for part in parts)])
    names = dict.fromkeys(name for sample in encoded for name in sample.vision)
    return PackedBatch(
        sample_ids=tuple(sample.sample_id for sample in encoded),
        input_ids=np.concatenate([none, *(part.input_ids for part in parts)]), labels=labels, cu_seqlens=cu_seqlens,
        positions=np.concatenate([part.positions for part in parts], axis=1) if parts else np.zeros((1, 0), np.int64),
        token_types=np.concatenate([none, *(part.token_types for part in parts)]),
        visual_tokens=tuple(count for sample in encoded for count in sample.visual_tokens),
        vision={name: np.concatenate([s.vision[name] for s in encoded if name in s.vision]) for name in names},
        num_supervised=int((labels != IGNORED_LABEL).sum()),
        num_padding=num_padding, padded=padded, dropped=dropped, sources=sources,
    )  # fmt: skip


def _check(sample: Encoded) -> None:
    length, labels, types = len(sample), sample.labels, sample.token_types
    problem = ""
    if length == 0:
        problem = "it has no token"
    elif not (len(labels) == len(types) == sample.positions.shape[-1] == length):
        problem = "its arrays differ in length"
    elif labels[-1] != IGNORED_LABEL:
        problem = "its last position has a label, a target across the sample's border"
    elif (labels[:-1][types[1:] == 1] != IGNORED_LABEL).any():
        problem = "an image placeholder carries loss"
    elif (types & 1 != types).any() or int(types.sum()) != sum(sample.visual_tokens):
        problem = f"{int(types.sum())} placeholders stand for {sum(sample.visual_tokens)} visual tokens"
    elif ((labels[:-1] != IGNORED_LABEL) & (labels[:-1] != sample.input_ids[1:])).any():
        problem = "a label is not the token that follows"
    if problem:
        raise InfimedError(f"sample '{sample.sample_id}' cannot be packed: {problem}; this is a fault of the encoder")


def _padded(sample: Encoded, length: int) -> Encoded:
    """The sample with padding after it: a text token of its own repeated (surely no placeholder), no labels."""
    missing = length - len(sample)
    texts = np.flatnonzero(sample.token_types == 0)
    filler = int(sample.input_ids[texts[-1]]) if len(texts) else 0
    after = sample.positions[:, -1:] + np.arange(1, missing + 1)
    return Encoded(
        sample.sample_id,
        input_ids=np.append(sample.input_ids, np.full(missing, filler, dtype=np.int64)),
        labels=np.append(sample.labels, np.full(missing, IGNORED_LABEL, dtype=np.int64)),
        positions=np.concatenate([sample.positions, after.astype(np.int64)], axis=1),
        token_types=np.append(sample.token_types, np.zeros(missing, dtype=np.int64)),
        visual_tokens=sample.visual_tokens, vision=sample.vision,
    )  # fmt: skip


def encode_sample(sample: Sample, encoder: Encoder, loader: MediaLoader, cap: int | None) -> Encoded:
    """Encode with images decoded no larger than ``cap`` visual tokens need; their headers decide the length.

    Raises:
        DataError: an image cannot be opened, or the sample cannot be encoded.
    """
    items = [sample.media[i] for turn in sample.turns for i in turn.media_indices]
    if type(encoder).decode_size is Encoder.decode_size:
        return encoder.encode(sample, [loader.load(item) for item in items], cap)
    images, shapes = [], []
    for item in items:
        height, width = (int(side) for side in loader.probe(item))
        images.append(loader.load(item, encoder.decode_size(height, width, cap)))
        shapes.append((height, width))
    return encoder.encode(sample, images, cap, shapes)


class PlannedBatches:
    """The rows of a plan, each made when asked for: in any order, in any process, with the same result."""

    def __init__(self, dataset: Dataset, plan: StagePlan, encoder: Encoder, media_loader: MediaLoader) -> None:
        self._dataset, self._plan, self._encoder, self.media = dataset, plan, encoder, media_loader

    @property
    def plan(self) -> StagePlan:
        """The plan behind the rows."""
        return self._plan

    @property
    def plan_hash(self) -> str:
        """Digest of everything that decides which rows come when."""
        return self._plan.plan_hash

    @property
    def num_steps(self) -> int:
        """Optimizer steps in the stage."""
        return len(self._plan.steps) - 1

    def num_rows(self, step: int) -> int:
        """How many rows a step has."""
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step {step} of {self.num_steps}")
        return int(self._plan.steps[step + 1] - self._plan.steps[step])

    def samples(self, step: int) -> list[tuple[Sample, int | None]]:
        """The samples of a step, each with the most visual tokens of its images; ``None`` is no limit."""
        packs = range(int(self._plan.steps[step]), int(self._plan.steps[step + 1]))
        draws = [int(draw) for pack in packs for draw in self._plan.packs[pack]]
        caps = [None if cap == NATIVE else cap for cap in self._plan.caps[draws].tolist()]
        return [(self._dataset[int(self._plan.rows[draw])], cap) for draw, cap in zip(draws, caps, strict=True)]

    def rows(self, step: int) -> list[PackedBatch]:
        """All rows of a step."""
        return [self.row(step, index) for index in range(self.num_rows(step))]

    def row(self, step: int, index: int) -> PackedBatch:
        """One row of a step. A sample that cannot be decoded or encoded is left out and told in ``dropped``.

        Raises:
            InfimedError: a sample is not as long as it was planned.
        """
        if not 0 <= index < self.num_rows(step):
            raise IndexError(f"row {index} of step {step}, which has {self.num_rows(step)}")
        encoded: list[Encoded] = []
        sources: list[str] = []
        faults: list[Fault] = []
        for draw in self._plan.packs[int(self._plan.steps[step]) + index]:
            sample = self._dataset[int(self._plan.rows[draw])]
            made = self._make(int(draw), sample)
            if isinstance(made, Fault):
                faults.append(made)
            else:
                encoded.append(made)
                sources.append(sample.tags.get("source", ""))
        return assemble(encoded, self._plan.padded, tuple(faults), tuple(sources))

    def _make(self, draw: int, sample: Sample) -> Encoded | Fault:
        plan, cap = self._plan, int(self._plan.caps[draw])
        try:
            made = encode_sample(sample, self._encoder, self.media.for_draw(draw), None if cap == NATIVE else cap)
        except DataError as error:
            where = self._dataset.place(int(plan.rows[draw]))
            return Fault(sample_id=sample.id, code=error.code, detail=str(error), where=where)
        planned = (int(plan.tokens[draw]), int(plan.supervised[draw]))
        if (len(made), made.num_supervised) != planned:
            raise InfimedError(
                f"sample '{sample.id}' has {len(made)} tokens, {made.num_supervised} of them supervised; planned were "
                f"{planned[0]} and {planned[1]}: the data or the model changed after the index was made, or the "
                "encoder's arithmetic is wrong; start the run under a new name"
            )
        return made
