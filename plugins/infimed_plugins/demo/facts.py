"""What is true of a picture, computed from the volume, the masks, the DICOM header or the pixels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.demo import blocks, sources


@dataclass(frozen=True)
class Fact:
    """An answer, the answers it could have been, and other wordings that are as right."""

    answer: str
    choices: tuple[str, ...]
    also: tuple[str, ...] = ()


POSITIONS = {
    "sagittal": ("near the midline", "far from the midline"),
    "coronal": ("back half", "front half"),
    "axial": ("lower half", "upper half"),
}
POSITION_MARGIN = 1 / 12
"""No position is asked this close to the border between the halves, as a share of the brain's extent."""
MODALITIES = {
    "MR": "MRI", "CT": "CT", "US": "ultrasound", "CR": "X-ray", "NM": "bone scan",
    "fundus": "fundus photograph", "histology": "histology",
}  # fmt: skip
ALSO_MODALITY = {
    "MR": ("MR", "magnetic resonance imaging", "magnetic resonance"), "CT": ("computed tomography",),
    "US": ("US", "sonography"), "CR": ("radiograph", "xray", "x ray"), "NM": ("nuclear medicine", "scintigraphy"),
    "fundus": ("fundus", "fundus photography"), "histology": ("histopathology", "microscopy"),
}  # fmt: skip
BODY_PARTS = {
    "BRAIN": "head", "HEAD": "head", "ABDOMEN": "abdomen", "PANCREAS": "abdomen", "CHEST": "chest", "EXTREMITY": "leg",
    "SHOULDER": "shoulder", "WHOLE BODY": "whole body", "ECHOCARDIOGRAM": "heart", "EYE": "eye", "COLON": "colon",
}  # fmt: skip
ALSO_BODY_PART = {
    "head": ("brain", "skull"),
    "eye": ("retina",),
    "leg": ("extremity", "lower leg"),
    "colon": ("bowel",),
}
WHITE_MATTER = ("poor", "rich")
WHITE_MATTER_BORDER = 0.40
WHITE_MATTER_MARGIN = 0.03
COVERAGE = ("small", "medium", "large")
COVERAGE_BORDERS = (0.25, 0.40)
COVERAGE_MARGIN = 0.01
SIDES = ("top", "bottom", "left", "right")


def plane(name: str) -> Fact:
    """The imaging plane."""
    return Fact(name, blocks.PLANES, also=("transverse",) if name == "axial" else ())


@functools.lru_cache(maxsize=3)
def extent(name: str) -> tuple[int, int]:
    """First and last index along the axis of a plane at which the masks hold brain tissue."""
    axis = blocks.PLANES.index(name)
    tissue = sources.volume("gm").astype(np.uint16) + sources.volume("wm") > 127
    inside = np.flatnonzero(tissue.any(axis=tuple(i for i in range(3) if i != axis)))
    return int(inside[0]), int(inside[-1])


def position(name: str, index: int) -> Fact | None:
    """Which half of the brain a slice lies in; for sagittal slices, which half of the way from the midline."""
    first, last = extent(name)
    if name == "sagittal":
        first, index = 0, abs(index - blocks.MIDLINE)
        last = last - blocks.MIDLINE
    middle = (first + last) / 2
    if abs(index - middle) < POSITION_MARGIN * (last - first):
        return None
    answer = POSITIONS[name][int(index > middle)]
    words = tuple(word for pair in POSITIONS.values() for word in pair)
    return Fact(answer, words, also=(answer.removesuffix(" half"),) if answer.endswith(" half") else ())


def tissue(grey: NDArray[np.uint8], white: NDArray[np.uint8]) -> Fact | None:
    """Which tissue fills more of the middle third of the picture, by the sum of its probabilities.

    ``grey`` and ``white`` are the slice of the two maps as shown. ``None`` within 10 percent of a tie.
    """
    middle = tuple(slice(side // 3, side - side // 3) for side in grey.shape)
    amounts = int(grey[middle].sum(dtype=np.int64)), int(white[middle].sum(dtype=np.int64))
    if max(amounts) < 1.1 * min(amounts) or max(amounts) == 0:
        return None
    names = ("grey matter", "white matter")
    answer = names[int(amounts[1] > amounts[0])]
    american = answer.replace("grey", "gray")
    return Fact(answer, names, also=(american, answer.split()[0], american.split()[0]))


def white_matter(grey: NDArray[np.uint8], white: NDArray[np.uint8]) -> Fact | None:
    """White matter's share of the brain tissue in the slice, in two levels; ``None`` within 3 points of the border."""
    total = int(grey.sum(dtype=np.int64)) + int(white.sum(dtype=np.int64))
    share = int(white.sum(dtype=np.int64)) / total if total else 0.0
    if abs(share - WHITE_MATTER_BORDER) < WHITE_MATTER_MARGIN:
        return None
    return Fact(WHITE_MATTER[int(share > WHITE_MATTER_BORDER)], WHITE_MATTER)


def modality(code: str) -> Fact:
    """The modality, from a DICOM modality code or the package's own statement of what a picture is."""
    return Fact(MODALITIES[code], tuple(MODALITIES.values()), also=ALSO_MODALITY[code])


def body_part(term: str) -> Fact | None:
    """The body part, from a DICOM term; ``None`` for a term without an entry."""
    answer = BODY_PARTS.get(term.upper())
    if answer is None:
        return None
    return Fact(answer, tuple(dict.fromkeys(BODY_PARTS.values())), also=ALSO_BODY_PART.get(answer, ()))


def from_header(header: Any) -> dict[str, Fact]:
    """Modality, body part and plane of a DICOM data set, as far as its header states them."""
    known: dict[str, Fact] = {}
    if str(header.get("Modality", "")) in MODALITIES:
        known["modality"] = modality(str(header.Modality))
    for keyword in ("BodyPartExamined", "StudyDescription"):
        part = body_part(str(header.get(keyword, "")).strip())
        if part:
            known["body_part"] = part
            break
    cosines = header.get("ImageOrientationPatient")
    if cosines is not None and len(cosines) == 6:
        normal = np.abs(np.cross(np.array(cosines[:3], float), np.array(cosines[3:], float)))
        if normal.max() > 0.95:
            known["plane"] = plane(blocks.PLANES[int(normal.argmax())])
    return known


def appearance(pixels: NDArray[np.uint8]) -> dict[str, Fact]:
    """What the pixels alone decide: how much is filled, which side is brightest, whether there is colour."""
    known: dict[str, Fact] = {}
    grey = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    share = float((grey > 30).mean())
    if min(abs(share - border) for border in COVERAGE_BORDERS) >= COVERAGE_MARGIN:
        known["coverage"] = Fact(COVERAGE[sum(share > border for border in COVERAGE_BORDERS)], COVERAGE)
    middle_y, middle_x = grey.shape[0] // 2, grey.shape[1] // 2
    light = grey.astype(np.float64)
    vertical = light[:middle_y].sum() - light[middle_y:].sum()
    horizontal = light[:, :middle_x].sum() - light[:, middle_x:].sum()
    strongest = vertical if abs(vertical) >= abs(horizontal) else horizontal
    # A side is named only where it is clearly the brightest: by 10% of all light, and clearer than the other axis.
    weakest = min(abs(vertical), abs(horizontal))
    if abs(strongest) >= 0.10 * light.sum() and abs(strongest) >= 1.3 * weakest and light.sum() > 0:
        pair = SIDES[:2] if strongest is vertical else SIDES[2:]
        known["brightest_side"] = Fact(pair[int(strongest < 0)], SIDES)
    coloured = pixels.ndim == 3 and float((np.ptp(pixels.astype(np.int16), axis=2) > 24).mean()) > 0.02
    known["colour"] = Fact(
        "colour" if coloured else "grey", ("colour", "grey"), also=("color",) if coloured else ("gray",)
    )
    return known
