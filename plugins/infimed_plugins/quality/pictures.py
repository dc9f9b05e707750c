"""A picture opened once per call: its measurements, or the reason why there are none."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

from infimed_core import DataError, Media, MediaLoader, canonical_json
from infimed_plugins.quality.calibration import Calibration, distances
from infimed_plugins.quality.measurements import MEASUREMENTS, measure
from infimed_plugins.quality.profile import Profile
from infimed_plugins.quality.reasons import OF_FAULT, Reason


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


def open_picture(media: Media, loader: MediaLoader, profile: Profile) -> Picture:
    """Decode and measure; never raises for a picture's sake."""
    try:
        pixels = loader.load(media)
    except DataError as error:
        return Picture(fault=OF_FAULT.get(error.code, Reason.IMAGE_UNREADABLE), detail=str(error))
    except Exception as error:  # a modality from elsewhere may raise anything, and the row must still be told
        return Picture(fault=Reason.IMAGE_UNREADABLE, detail=f"{type(error).__name__}: {error}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        return Picture(fault=Reason.IMAGE_UNREADABLE, detail=f"no picture: shape {pixels.shape}")
    side = (int(pixels.shape[0]), int(pixels.shape[1]))
    if min(side) < 8:
        return Picture(side=side)  # too small to be measured; it is judged by its size alone
    return Picture(values=measure(pixels, profile.image.max_measured_side), side=side)


def image_quality(
    picture: Picture, modality: str, profile: Profile, calibration: Calibration
) -> tuple[float, list[Reason], dict[str, float]]:
    """Quality in [0, 1] of an opened picture, its reasons and raw distances.

    The worst measurement decides, not the mean: a mean hides one fatal defect.
    """
    thresholds = profile.image
    small = min(picture.side) < thresholds.min_side
    if not picture.values:
        return 0.0, [Reason.IMAGE_TOO_SMALL], {}
    if picture.values["range"] <= thresholds.constant_range:
        return 0.0, [Reason.IMAGE_CONSTANT], {}
    reference, pooled, own = calibration.find(modality, max(picture.side))
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
    if small:
        quality = min(quality, 0.25)
        reasons.append(Reason.IMAGE_TOO_SMALL)
    raw = {f"distance_{name}": round(value, 4) for name, value in found.items()}
    return quality, list(dict.fromkeys(reasons)), {**raw, "calibrated": float(own)}
