"""Damage as it happens to films and slices, by kind and degree: what the rules of pictures notice, and what they keep.

Each kind says from which degree on a reader would refuse the picture; below it the picture must be kept. Kinds that
no rule without a model can tell are listed as out of reach and have no target.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Results, table
from numpy.typing import NDArray

from infimed_plugins.quality.calibration import Calibration
from infimed_plugins.quality.measurements import measure, reduced
from infimed_plugins.quality.pictures import Picture, image_quality
from infimed_plugins.quality.profile import load_profile

Pixels = NDArray[np.uint8]
SIDE = 512


@dataclass(frozen=True)
class Kind:
    """A damage with its degrees, mildest first; ``refused`` is the place of the first that a reader would refuse."""

    change: Callable[[Pixels, float], Pixels]
    degrees: tuple[float, ...]
    refused: int
    reach: tuple[str, ...] | None = None
    """Modalities in which rules can tell it; ``None`` means all, ``()`` none."""
    apart: tuple[str, ...] = ()
    """Modalities whose clean pictures look like this themselves."""


def _brighter(pixels: Pixels, factor: float) -> Pixels:
    return np.clip(pixels.astype(np.float32) * factor, 0, 255).astype(np.uint8)


def _window(pixels: Pixels, gain: float) -> Pixels:
    lit = pixels[pixels > 12]
    middle = float(np.median(lit)) if lit.size else 128.0
    return np.clip((pixels.astype(np.float32) - middle) * gain + (128 if gain > 1 else middle), 0, 255).astype(np.uint8)


def _border(pixels: Pixels, share: float) -> Pixels:
    height, width = pixels.shape[:2]
    rows, columns = int(height * share), int(width * share)
    return np.pad(pixels, ((rows, rows), (columns, columns), (0, 0)))


def _rotated(pixels: Pixels, degrees: float) -> Pixels:
    import cv2

    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels, int(degrees) // 90))
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(pixels, matrix, (width, height)), dtype=np.uint8)


def _small(pixels: Pixels, side: float) -> Pixels:
    return reduced(pixels, int(side))


def _cropped(pixels: Pixels, share: float) -> Pixels:
    height, width = int(pixels.shape[0] * share), int(pixels.shape[1] * share)
    return np.ascontiguousarray(pixels[-height:, -width:])


def _blurred(pixels: Pixels, share: float) -> Pixels:
    import cv2

    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), max(pixels.shape[:2]) * share / 1000), dtype=np.uint8)


def _noisy(pixels: Pixels, sigma: float) -> Pixels:
    added = np.random.default_rng(0).normal(0.0, sigma, (*pixels.shape[:2], 1))
    return np.clip(pixels + added, 0, 255).astype(np.uint8)


def _jpeg(pixels: Pixels, quality: float) -> Pixels:
    import cv2

    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def _photograph(pixels: Pixels, number: float) -> Pixels:
    from skimage import data

    grey = (data.camera(), data.coins(), data.brick())[int(number)]
    return np.repeat(np.asarray(grey, dtype=np.uint8)[..., None], 3, axis=2)


GREY = ("CR", "CT", "MR")
KINDS: dict[str, Kind] = {
    "brighter, times": Kind(_brighter, (1.1, 1.25, 2.0, 2.6, 4.0), 2, ("CR",)),
    "darker, times": Kind(_brighter, (0.8, 0.3, 0.15), 1, ("CR",)),
    "narrow window, gain": Kind(_window, (1.1, 3.0, 5.0), 1, ("CR",)),
    "flat window, gain": Kind(_window, (0.8, 0.3, 0.15), 1, ("CR", "CT", "MR")),
    "inverted": Kind(lambda pixels, _: 255 - pixels, (1.0,), 0, GREY),
    "upside down": Kind(lambda pixels, _: np.ascontiguousarray(pixels[::-1]), (1.0,), 0, ("CR",)),
    "turned by degrees": Kind(_rotated, (2.0, 5.0, 90.0, 270.0), 2, ("CR",)),
    "turned by 10 to 45 degrees": Kind(_rotated, (10.0, 45.0), 1, ()),
    "border on each side, share": Kind(_border, (0.05, 0.25, 0.4), 1, ("CR",)),
    "reduced to a side": Kind(_small, (256.0, 60.0, 40.0), 1),
    "blur, thousandths of a side": Kind(_blurred, (0.5, 8.0, 12.0), 2, ("CR", "MR")),
    "noise, grey levels": Kind(_noisy, (1.0, 18.0, 30.0), 2, ("CR", "CT", "MR")),
    "JPEG quality": Kind(_jpeg, (92.0, 10.0, 5.0), 1, ("CR",)),
    "cropped to a corner, share": Kind(_cropped, (0.95, 0.4), 1, ()),
    "photograph of something else": Kind(_photograph, (0.0, 1.0, 2.0), 0, ()),
}


def damage(results: Results, pictures: dict[str, Sequence[Pixels]], calibrations: dict[str, Calibration]) -> None:
    """Share of pictures noticed (image_quality below 0.5) by kind, degree and modality, beside the clean ones."""
    profile = load_profile("default")
    found: dict[str, Any] = defaultdict(dict)
    lines = []
    for modality, shown in pictures.items():
        calibration = calibrations.get(modality, calibrations[""])

        def noticed(
            change: Callable[[Pixels], Pixels], modality: str = modality, calibration: Calibration = calibration
        ) -> float:
            low = 0
            for pixels in pictures[modality]:
                changed = change(pixels)
                picture = Picture(measure(changed, profile.image.max_measured_side), changed.shape[:2])
                chest = modality == "CR"
                low += image_quality(picture, modality, profile, calibration, chest if chest else None)[0] < 0.5
            return low / len(pictures[modality])

        clean = noticed(lambda pixels: pixels)
        found[modality]["clean"] = {"pictures": len(shown), "flagged": clean}
        results.target(f"damage: false flags on {len(shown)} clean {modality} pictures", clean, "<= 0.05")
        for name, kind in KINDS.items():
            rates = {f"{degree:g}": noticed(lambda p, d=degree, k=kind: k.change(p, d)) for degree in kind.degrees}
            in_reach = kind.reach is None or modality in kind.reach
            found[modality][name] = {
                "noticed": rates,
                "refused_from": f"{kind.degrees[kind.refused]:g}",
                "in_reach": in_reach,
            }
            lines.append([modality, name, *(f"{degree}: {rate:.2f}" for degree, rate in rates.items())])
            if in_reach:
                first = rates[f"{kind.degrees[kind.refused]:g}"]
                results.target(f"damage: {modality} {name} {kind.degrees[kind.refused]:g}, noticed", first, ">= 0.9")
                if kind.refused:
                    results.target(
                        f"damage: {modality} {name} {kind.degrees[0]:g}, flagged",
                        rates[f"{kind.degrees[0]:g}"],
                        "<= 0.05",
                    )
    table(
        ["modality", "damage", *(f"degree {n}: noticed" for n in range(1, 6))],
        [[*line, *[""] * (7 - len(line))] for line in lines],
    )
    results.details["damage"] = dict(found)
    results.details["damage_out_of_reach"] = [name for name, kind in KINDS.items() if kind.reach == ()]
