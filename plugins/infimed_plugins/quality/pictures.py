"""A picture opened once per call: its measurements, or the reason why there are none."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from infimed_core import DataError, Media, MediaLoader, canonical_json
from infimed_plugins.quality.calibration import Calibration, distances
from infimed_plugins.quality.chest import chest_fault
from infimed_plugins.quality.measurements import MEASUREMENTS, measure
from infimed_plugins.quality.modalities import lexicon
from infimed_plugins.quality.profile import Profile
from infimed_plugins.quality.reasons import OF_FAULT, Reason

WRONG_WAY_ROUND = 0.1
"""Quality of a film that is inverted or upside down: it teaches the wrong thing until it is put right."""
WHITE_CORNERS = 0.6
"""Share of white in the corners from which on a slice is inverted."""
WHITE_MARGIN = 0.2
"""Share of a picture in white bands at its borders from which on a part of what was imaged is taken to be missing."""
LEAST_RANGE = 80.0
"""Grey levels from ground to highlights under which a grey picture is shown in a wrong window."""


@dataclass(frozen=True)
class Picture:
    """What the dimensions need of one picture. ``fault`` is set exactly when it could not be opened."""

    values: dict[str, float] = field(default_factory=dict)
    side: tuple[int, int] = (0, 0)
    fault: Reason | None = None
    detail: str = ""


def media_key(media: Media) -> str:
    """Equal for media with the same content and options; pictures are opened once for each key."""
    content = hashlib.sha256(media.data).hexdigest() if media.data is not None else media.uri
    return canonical_json([media.kind, content, media.options])


def open_picture(media: Media, loader: MediaLoader, profile: Profile, side: int = 0) -> Picture:
    """Decode and measure, reduced to ``side`` where one is given; never raises for a picture's sake."""
    try:
        pixels = loader.load(media)
    except DataError as error:
        return Picture(fault=OF_FAULT.get(error.code, Reason.IMAGE_UNREADABLE), detail=str(error))
    except Exception as error:  # a modality from elsewhere may raise anything, and the row must still be told
        return Picture(fault=Reason.IMAGE_UNREADABLE, detail=f"{type(error).__name__}: {error}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        return Picture(fault=Reason.IMAGE_UNREADABLE, detail=f"no picture: shape {pixels.shape}")
    size = (int(pixels.shape[0]), int(pixels.shape[1]))
    if min(size) < 8:
        return Picture(side=size)  # too small to be measured; it is judged by its size alone
    return Picture(values=measure(pixels, side or profile.image.max_measured_side), side=size)


def image_quality(
    picture: Picture, modality: str, profile: Profile, calibration: Calibration, chest: bool | None = None
) -> tuple[float, list[Reason], dict[str, float]]:
    """Quality in [0, 1] of an opened picture, its reasons and raw distances.

    The worst measurement decides, not the mean: a mean hides one fatal defect. ``chest`` says whether the picture is
    told to be of a chest; ``None`` that another region is told. It matters for radiographs alone.
    """
    thresholds = profile.image
    small = min(picture.side) < thresholds.min_side
    if not picture.values:
        return 0.0, [Reason.IMAGE_TOO_SMALL], {}
    if picture.values["range"] <= thresholds.constant_range:
        return 0.0, [Reason.IMAGE_CONSTANT], {}
    reference, pooled, own = calibration.find(modality, min(max(picture.side), thresholds.max_measured_side))
    found = distances(picture.values, reference, pooled)
    quality = 1.0
    reasons = []
    for name, distance in found.items():
        exponent = -thresholds.steepness * (distance + thresholds.margin)
        part = 1.0 / (1.0 + math.exp(min(exponent, 60.0)))
        part /= 1.0 / (1.0 + math.exp(-thresholds.steepness * thresholds.margin))  # exactly 1 at the clean median
        quality = min(quality, part)
        if part < profile.flag_below:
            reasons.append(MEASUREMENTS[name].reason)
    for fault, most in _plain_faults(picture, modality, chest):
        quality = min(quality, most)
        reasons.append(fault)
    if small:
        quality = min(quality, 0.25)
        reasons.append(Reason.IMAGE_TOO_SMALL)
    raw = {f"distance_{name}": round(value, 4) for name, value in found.items()}
    return quality, list(dict.fromkeys(reasons)), {**raw, "calibrated": float(own)}


def _plain_faults(picture: Picture, modality: str, chest: bool | None) -> Iterator[tuple[Reason, float]]:
    """What needs no clean pictures to compare with, each with the most that the quality can be."""
    values, words = picture.values, lexicon()
    if modality == "CR" and chest is not None and (fault := chest_fault(values, told=chest)) is not None:
        yield fault, WRONG_WAY_ROUND
    if modality in words["black_corners"]:
        if values["corners"] >= WHITE_CORNERS:
            yield Reason.IMAGE_INVERTED, WRONG_WAY_ROUND
        if values["white_margin"] >= WHITE_MARGIN:  # the ground of these is black: few clean pictures do not widen that
            yield Reason.IMAGE_MARGIN, 0.25
    if modality in words["grey"] and math.expm1(values["dynamic_range"]) < LEAST_RANGE:
        yield Reason.IMAGE_LOW_CONTRAST, 0.25
