"""The split rule: which slices and which parts of a picture belong to train, validation, test or to no one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

TRAIN_BLOCK = 16
HELD_OUT_BLOCK = 4
GAP = 4
PERIOD = TRAIN_BLOCK + GAP + HELD_OUT_BLOCK + GAP

PLANES = ("sagittal", "coronal", "axial")
MIDLINE = 98
"""Index of x = 0 mm. The template is left-right symmetric, so that only one half of its sagittal slices is used."""
RANGES = {"sagittal": (MIDLINE, 168), "coronal": (34, 203), "axial": (11, 149)}
"""First and last (exclusive) slice index with enough brain to see, per plane."""


@dataclass(frozen=True)
class Place:
    """One slice position of the volumes: its split and the block of neighbouring slices it belongs to."""

    plane: str
    index: int
    split: Split
    block: str


def place(plane: str, index: int) -> Place | None:
    """Where a slice belongs; ``None`` in the gaps that keep held-out slices away from training slices.

    Every 28 slices: 16 for training, 4 of gap, 4 held out, 4 of gap. The same rule holds for the T1, grey- and
    white-matter volumes, so a position is in one split whichever volume shows it.
    """
    start, stop = RANGES[plane]
    if not start <= index < stop:
        return None
    period, offset = divmod(index - start, PERIOD)
    if offset < TRAIN_BLOCK:
        return Place(plane, index, "train", f"{plane}-{period}-train")
    if TRAIN_BLOCK + GAP <= offset < TRAIN_BLOCK + GAP + HELD_OUT_BLOCK:
        split: Split = "validation" if (PLANES.index(plane) + period) % 4 == 3 else "test"
        return Place(plane, index, split, f"{plane}-{period}-{split}")
    return None


def places() -> list[Place]:
    """Every slice position that is used, plane by plane."""
    found = (place(plane, index) for plane in PLANES for index in range(*RANGES[plane]))
    return [position for position in found if position is not None]


def study_splits(studies: dict[str, str]) -> dict[str, Split]:
    """Splits of DICOM studies (study id -> modality): whole studies, by their order within a modality.

    Of three studies and more every third, beginning with the second, is held out for testing; of six and more the
    fifth is for validation. A modality with fewer studies cannot spare one and stays in training.
    """
    splits: dict[str, Split] = {}
    for modality in sorted(set(studies.values())):
        members = sorted(study for study, of in studies.items() if of == modality)
        for rank, study in enumerate(members):
            splits[study] = "train"
            if len(members) >= 6 and rank == 4:
                splits[study] = "validation"
            elif len(members) >= 3 and rank % 3 == 1:
                splits[study] = "test"
    return splits


@dataclass(frozen=True)
class Window:
    """A square part of a large picture, in pixels of the original."""

    left: int
    top: int
    side: int
    split: Split


def windows(width: int, height: int, side: int, stride: int, gap: int) -> list[Window]:
    """Square windows of one large picture: training on its left, then validation, then testing, with gaps between.

    No pixel of a validation or test window is in a window of another split, nor within ``gap`` pixels of one.
    """
    test_left = width - side
    validation_left = test_left - gap - side
    train_right = validation_left - gap
    columns: list[tuple[int, Split]] = [(left, "train") for left in range(0, train_right - side + 1, stride)]
    columns += [(validation_left, "validation"), (test_left, "test")]
    return [
        Window(left, top, side, split)
        for left, split in columns
        for top in range(0, height - side + 1, stride if split == "train" else side // 4)
    ]
