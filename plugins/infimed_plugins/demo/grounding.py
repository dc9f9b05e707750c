"""The reader ``demo-grounding``: brain slices with the box around one tissue, computed from its probability map."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Fault, Reader, Region, Sample, Turn
from infimed_plugins.demo import blocks, pictures, sources

SURE = 128
"""The probability (of 255) from which a pixel belongs to a tissue."""
SMALLEST = 0.02
"""The share of the picture below which a box says little."""
TISSUES = {"brain": ("gm", "wm"), "white matter": ("wm",)}


class DemoGrounding(Reader):
    """Every T1 slice of a split, asked for the box around the brain and around its white matter."""

    version: ClassVar[str] = "1"

    split: Literal["train", "test"] = Field(default="test", description="Slices of the training part, or held out.")
    max_images: int | None = Field(default=None, ge=1, description="Only so many slices, spread over the brain.")

    def shards(self) -> list[str]:
        """One."""
        return ["demo-grounding"]

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """A sample for each slice and tissue that has a box."""
        places = [place for place in blocks.places() if place.split == self.split]
        if self.max_images is not None and len(places) > self.max_images:
            chosen = np.linspace(0, len(places) - 1, self.max_images).round().astype(int)
            places = [places[number] for number in chosen]
        for place in places:
            yield from self._of(place.plane, place.index)

    @staticmethod
    def _of(plane: str, index: int) -> Iterator[Sample]:
        media = pictures.encode(pictures.mni_slice("t1", plane, index))
        for tissue, maps in TISSUES.items():
            mask = np.max([pictures.mni_slice(name, plane, index) for name in maps], axis=0) >= SURE
            box = box_around(mask)
            if box is None:
                continue
            name = f"grounding-{plane}-{index}-{tissue.replace(' ', '-')}"
            ask = Turn(role="user", content=(0, f"Where is the {tissue} in this {plane} slice?"))
            say = Turn(role="assistant", content=("<bbox>",), regions=(Region(name=tissue, box=box),))
            tags = {"modality": "MR", "task_type": "localisation", "kind": tissue, "plane": plane}
            yield Sample(id=name, turns=(ask, say), media=(media,), tags=tags)

    def fingerprint(self) -> str:
        """Changes with the settings and with the packages that the pictures come from."""
        return hashlib.sha256(f"{self.identity()}|{self.version}|{sources.versions()}".encode()).hexdigest()


def box_around(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """(left, top, right, bottom) of what is set, in shares of the picture; ``None`` where it is hardly anything.

    Raises:
        DataError: the mask has no two dimensions.
    """
    if mask.ndim != 2:
        raise DataError("bad_mask", f"a mask has height and width, not {mask.ndim} dimensions")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    height, width = mask.shape
    box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    large = (box[2] - box[0]) * (box[3] - box[1]) >= SMALLEST
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3])) if large else None
