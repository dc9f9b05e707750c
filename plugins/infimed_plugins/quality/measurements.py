"""What is measured of a picture: numbers that one defect each moves far and anatomy moves little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.quality.reasons import Reason


@dataclass(frozen=True)
class Measurement:
    """How a number is judged. ``bad`` is the side on which a defect lies; ``floor`` the least spread ever assumed."""

    bad: int
    floor: float
    reason: Reason


DARK = 12.0
"""Grey levels up to which a pixel counts as ground."""
UNSEEN = 8.0
"""Grey levels of the third difference that no eye sees as an edge; keeps faint blocks of smooth pictures quiet."""

MEASUREMENTS: dict[str, Measurement] = {
    "blur": Measurement(+1, 0.02, Reason.IMAGE_BLURRED),
    "detail": Measurement(-1, 0.08, Reason.IMAGE_BLURRED),
    "fine_detail": Measurement(-1, 0.10, Reason.IMAGE_RESAMPLED),
    "noise": Measurement(+1, 0.15, Reason.IMAGE_NOISY),
    "blockiness": Measurement(+1, 0.05, Reason.IMAGE_BLOCKY),
    "ringing": Measurement(+1, 0.10, Reason.IMAGE_BLOCKY),
    "dynamic_range": Measurement(-1, 0.10, Reason.IMAGE_LOW_CONTRAST),
    "brightest": Measurement(-1, 0.10, Reason.IMAGE_LOW_CONTRAST),
    "brightness": Measurement(+1, 0.10, Reason.IMAGE_OVEREXPOSED),
    "clipped": Measurement(+1, 0.02, Reason.IMAGE_OVEREXPOSED),
}
"""Every measurement that the calibration file holds quantiles of, with the reason it gives."""


def measure(pixels: NDArray[np.uint8], max_side: int) -> dict[str, float]:
    """Measure uint8 [h, w, 3]; the centre of it where a side is over ``max_side`` pixels. Both sides at least 8."""
    import cv2

    cv2.setNumThreads(1)
    height, width = pixels.shape[:2]
    top, left = max(0, (height - max_side) // 2), max(0, (width - max_side) // 2)
    centre = np.ascontiguousarray(pixels[top : top + max_side, left : left + max_side])
    grey = cv2.cvtColor(centre, cv2.COLOR_RGB2GRAY)
    values = grey.astype(np.float32)
    low, high, clipped = _exposure(grey)
    spread = max(float(values.std()), 1.0)
    noise = _noise(values)
    return {
        "blur": _blur(values, cv2),
        "detail": _detail(values, spread, cv2),
        "fine_detail": _fine_detail(values, spread, cv2),
        "noise": float(np.log(noise + 1.5)),
        "blockiness": max(_blockiness(values), _blockiness(values.T)),
        "ringing": _ringing(values),
        "dynamic_range": float(np.log(high - low + 1.0)),
        "brightest": float(np.log(high + 1.0)),
        "brightness": _brightness(values),
        "clipped": clipped,
        "saturation": _saturation(centre),
        "range": high - low,
    }


def _exposure(grey: NDArray[np.uint8]) -> tuple[float, float, float]:
    """1st and 99th percentile in grey levels, and the share of pixels at the top."""
    counts = np.bincount(grey.ravel(), minlength=256)
    share = np.cumsum(counts) / grey.size
    return (
        float(np.searchsorted(share, 0.01)),
        float(np.searchsorted(share, 0.99)),
        float(counts[250:].sum() / grey.size),
    )


def _brightness(values: NDArray[np.float32]) -> float:
    """Log mean of what is not black; 0 where nearly everything is."""
    lit = values[values > DARK]
    return float(np.log(float(lit.mean()) + 1.0)) if lit.size > 0.01 * values.size else 0.0


def _blur(values: NDArray[np.float32], cv2: Any) -> float:
    """How little a second blur changes the steps between neighbours: Crete et al., "The blur effect" (2007)."""
    worst = 0.0
    for axis, size in ((0, (1, 9)), (1, (9, 1))):
        steps = np.abs(np.diff(values, axis=axis))
        blurred = np.abs(np.diff(cv2.blur(values, size), axis=axis))
        total = float(steps.sum())
        lost = float(np.maximum(steps - blurred, 0.0).sum())
        worst = max(worst, (total - lost) / total if total > 0 else 1.0)
    return worst


def _detail(values: NDArray[np.float32], spread: float, cv2: Any) -> float:
    """Log energy of the Laplacian of Gaussian over the contrast."""
    smooth = cv2.GaussianBlur(values, (0, 0), 1.0)
    return float(np.log(float(cv2.Laplacian(smooth, cv2.CV_32F).std()) / spread + 1e-3))


def _fine_detail(values: NDArray[np.float32], spread: float, cv2: Any) -> float:
    """Log energy of what half the resolution cannot hold, over the contrast."""
    height, width = values.shape
    half = cv2.resize(values, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    back = cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC)
    return float(np.log(float(np.abs(values - back).mean()) / spread + 1e-3))


def _noise(values: NDArray[np.float32]) -> float:
    """Standard deviation of noise in grey levels: the median of the diagonal Haar coefficients that are not 0."""
    height, width = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    even, odd = values[0:height:2], values[1:height:2]
    diagonal = np.abs(even[:, 0:width:2] - even[:, 1:width:2] - odd[:, 0:width:2] + odd[:, 1:width:2]) / 2
    present = diagonal[diagonal > 0]
    if present.size < 16:
        return 0.0
    # Over all pixels too: a few odd values on a black ground are no noise.
    return float(np.median(present) / 0.6745) * float(min(1.0, present.size / (0.25 * diagonal.size)))


def _blockiness(values: NDArray[np.float32]) -> float:
    """How much more columns change at one phase of eight than at the median phase, as a log ratio."""
    bend = np.abs(values[:, 3:] - 3 * values[:, 2:-1] + 3 * values[:, 1:-2] - values[:, :-3]).mean(axis=0)
    length = bend.size // 8 * 8
    if length < 24:
        return 0.0
    phases = bend[:length].reshape(-1, 8).mean(axis=0)
    return float(np.log((phases.max() + UNSEEN) / (float(np.median(phases)) + UNSEEN)))


def _ringing(values: NDArray[np.float32]) -> float:
    """Share of exactly flat 2 x 2 steps outside flat ground: strong quantisation leaves flat blocks inside tissue."""
    horizontal = np.abs(np.diff(values, axis=1))
    height, width = horizontal.shape[0] // 8 * 8, horizontal.shape[1] // 8 * 8
    if height < 16 or width < 16:
        return 0.0
    blocks = horizontal[:height, :width].reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    blocks = blocks.reshape(-1, 64)
    lively = blocks[blocks.max(axis=1) > 1]
    if len(lively) < 4:
        return 0.0
    return float((lively == 0).mean())


def _saturation(pixels: NDArray[np.uint8]) -> float:
    """Mean spread between the channels as a share of the brightest, over pixels neither black nor cut at white."""
    step = max(1, max(pixels.shape[:2]) // 128)
    small = pixels[::step, ::step].astype(np.float32)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    lit = (most > DARK) & (most < 254)
    return float(((most - least)[lit] / most[lit]).mean()) if lit.mean() > 0.01 else -1.0
