"""The benchmark ``grounding``: where in the image is it? Answers are boxes or points."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import (
    Answer,
    Benchmark,
    ComponentRef,
    DataError,
    Fault,
    Generation,
    MediaLoader,
    Reader,
    Sample,
    Score,
    load_plugins,
)
from infimed_plugins.metrics.grounding.measures import boxes_of, holds, paired
from infimed_plugins.metrics.grounding.reading import Convention, Place, Shape, read_places, written

HIT = 0.5
"""The overlap from which a box is found."""
HOW = {
    "thousandths": "thousandths of the image's width and height",
    "shares": "shares of the image's width and height, 0 to 1",
    "pixels": "pixels",
}


class Grounding(Benchmark):
    """Samples whose accepted answer holds boxes (``regions`` of the last assistant turn), from any reader.

    A question is right where every wanted box is found with an overlap of 0.5 (an F1 where there are several), or with
    ``shape: point`` where the point lies in a wanted box. An answer without a place is unread. Parts of the score:
    ``iou``, the mean overlap of the best pairing, and ``pointing``, whether the first place's middle lies in a wanted
    box.
    """

    nested: ClassVar[Mapping[str, str]] = {"reader": "reader"}
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "mean-iou", "pointing-accuracy", "mean-average-precision")
    cluster_by: ClassVar[str] = "cluster"

    reader: ComponentRef = Field(description="The reader of the samples and its settings.")
    shape: Shape = Field(default="box", description="What an answer is.")
    convention: Convention = Field(
        default="thousandths",
        description="What the numbers of an answer count; marks with a scale of their own go by it.",
    )
    instruct: bool = Field(default=True, description="Add under the question in which form the answer is wanted.")
    tags: tuple[str, ...] = Field(default=(), description="Tags by which results are shown in parts.")

    @property
    def group_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """The tags that were asked for."""
        return self.tags

    @cached_property
    def _reader(self) -> Reader:
        made: Any = load_plugins().make("reader", self.reader.use, self.reader.settings)
        return made  # type: ignore[no-any-return]

    @cached_property
    def _loader(self) -> MediaLoader:
        return load_plugins().media_loader()

    def generation(self) -> Generation:
        """Greedy."""
        return Generation(max_new_tokens=256)

    def fingerprint(self) -> str:
        """Changes with the settings and with what the reader reads."""
        text = f"{self.identity()}|{self.version}|{self._reader.fingerprint()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question; a row without boxes or image is a fault."""
        for shard in self._reader.shards():
            for row in self._reader.read(shard):
                if isinstance(row, Fault):
                    yield row
                    continue
                try:
                    yield self._question(row)
                except DataError as error:
                    yield Fault(sample_id=row.id, code=error.code, detail=str(error), where=shard)

    def _question(self, sample: Sample) -> Sample:
        last = sample.turns[-1] if sample.turns else None
        boxes = [region.box for region in last.regions if region.box is not None] if last is not None else []
        if last is None or last.role != "assistant" or len(sample.turns) < 2 or not boxes:
            raise DataError("no_box", f"'{sample.id}' has no box in its last assistant turn")
        if not sample.media:
            raise DataError("no_image", f"'{sample.id}' has no image")
        height, width = self._loader.probe(sample.media[0])[:2]
        *before, asked = sample.turns[:-1]
        if self.instruct:
            form = "[left, top, right, bottom]" if self.shape == "box" else "[x, y]"
            each = "each box" if self.shape == "box" and len(boxes) > 1 else f"one {self.shape}"
            text = f"\nAnswer with {each} alone, as {form} in {HOW[self.convention]}."
            asked = asked.model_copy(update={"content": (*asked.content, text)})
        category = next((region.name for region in last.regions if region.name), "object")
        shown = ", ".join(written(box, self.convention, (height, width)) for box in boxes)
        cluster = (
            sample.media[0].uri or sample.media[0].sha256 or hashlib.sha256(sample.media[0].data or b"").hexdigest()
        )
        return sample.model_copy(
            update={
                "turns": (*before, asked),
                "references": (shown,),
                "tags": {"cluster": cluster, **sample.tags},
                "meta": {
                    **sample.meta,
                    "boxes": [list(box) for box in boxes],
                    "size": [height, width],
                    "category": category,
                },
            }
        )

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """By overlap; see the class."""
        found, wanted = places_in(self, sample, answer), boxes_of(sample)
        if not found:
            return Score(status="unscored", reasons=("no_place",), note="the answer names no place in the image")
        pointing = float(holds(wanted, found[0].centre))
        shown = [[round(value, 4) for value in place.shares] for place in found]
        if self.shape == "point":
            value = sum(holds(wanted, place.centre) for place in found) / len(found)
            return Score(value=value, parts={"pointing": pointing}, note=f"places: {shown}")
        matched = paired([place.shares for place in found], wanted)
        hits = sum(overlap >= HIT for overlap in matched)
        overlap = sum(matched) / max(len(found), len(wanted))
        return Score(
            value=2 * hits / (len(found) + len(wanted)),
            parts={"iou": overlap, "pointing": pointing},
            note=f"places: {shown}; IoU {overlap:.3f}",
        )

    def is_open(self, sample: Sample) -> bool:
        """No: a place is right or wrong."""
        return False

    def compared_texts(self, sample: Sample, answer: Answer) -> dict[str, tuple[str, str]]:
        """Nothing: numbers are no text."""
        return {}


def places_in(benchmark: Grounding, sample: Sample, answer: Answer) -> list[Place]:
    """The places that an answer names."""
    size: Any = sample.meta["size"]
    return read_places(answer.text or "", benchmark.shape, benchmark.convention, (int(size[0]), int(size[1])))
