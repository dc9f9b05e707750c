"""What is measured of a picture: numbers that one defect each moves far and anatomy moves little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.quality.chest import likeness
from infimed_plugins.quality.reasons import Reason


@dataclass(frozen=True)
class Measurement:
    """How a number is judged. ``bad`` is the side on which a defect lies; ``floor`` the least spread ever assumed."""

    bad: int
    floor: float
    reason: Reason


DARK = 12.0
"""Grey levels up to which a pixel counts as ground."""
WHITE = 250
"""Grey level from which on a pixel counts as cut at white."""
MEASURED_LINES = 256
"""Blur and blockiness are means over rows and columns: this many of each say as much as all of them."""
CRISP = 64
"""Grey levels between neighbours over which a step is drawn rather than imaged."""
DEEP = 3
"""Grey level up to which a pixel counts as cut at black."""
FLAT_LINE = 8
"""Grey levels within which a whole row or column at the border counts as margin."""
PALE = 224
"""Grey level from which on a corner counts as white: air is black in every grey modality but an inverted one."""
MIN_LIT = 256
"""Lit pixels of tissue under which their steps say nothing."""
UNSEEN = 8.0
"""Grey levels of the third difference that no eye sees as an edge; keeps faint blocks of smooth pictures quiet."""

MEASUREMENTS: dict[str, Measurement] = {
    "blur": Measurement(+1, 0.02, Reason.IMAGE_BLURRED),
    "detail": Measurement(-1, 0.08, Reason.IMAGE_BLURRED),
    "fine_detail": Measurement(-1, 0.10, Reason.IMAGE_RESAMPLED),
    "noise": Measurement(+1, 0.15, Reason.IMAGE_NOISY),
    "blockiness": Measurement(+1, 0.05, Reason.IMAGE_BLOCKY),
    "ringing": Measurement(+1, 0.10, Reason.IMAGE_BLOCKY),
    "dynamic_range": Measurement(-1, 0.35, Reason.IMAGE_LOW_CONTRAST),
    "brightest": Measurement(-1, 0.35, Reason.IMAGE_LOW_CONTRAST),
    "brightness": Measurement(+1, 0.10, Reason.IMAGE_OVEREXPOSED),
    "clipped": Measurement(+1, 0.05, Reason.IMAGE_OVEREXPOSED),
    "saturated": Measurement(+1, 0.12, Reason.IMAGE_CLIPPED),
    "margin": Measurement(+1, 0.30, Reason.IMAGE_MARGIN),
}
"""Every measurement that the calibration file holds quantiles of, with the reason it gives."""


def measure(pixels: NDArray[np.uint8], max_side: int) -> dict[str, float]:
    """Measure the whole of uint8 [h, w, 3], reduced to ``max_side`` where a side is longer. Both sides at least 8."""
    import cv2

    cv2.setNumThreads(1)
    shown = reduced(pixels, max_side)
    grey = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)
    content = without_margin(grey)
    values = grey.astype(np.float32)
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    low, high = _percentiles(counts)
    brightest = _brightest(counts)
    spread = max(_deviation(values, cv2), 1.0)
    stride = max(1, min(grey.shape) // MEASURED_LINES)
    rows, columns = values[::stride], np.ascontiguousarray(values.T[::stride])
    inner = content.astype(np.float32)
    step = max(1, min(content.shape) // MEASURED_LINES)
    noise = _noise(values)
    return {
        "blur": max(_blur(rows, cv2), _blur(columns, cv2)),
        "detail": _detail(values, spread, cv2),
        "fine_detail": _fine_detail(values, spread, cv2),
        "noise": float(np.log(noise + 1.5)),
        # without the margin, whose edge is no block
        "blockiness": max(_blockiness(inner[::step]), _blockiness(np.ascontiguousarray(inner.T[::step]))),
        "ringing": _ringing(grey, cv2),
        "dynamic_range": float(np.log(max(brightest - low, 0.0) + 1.0)),
        "brightest": float(np.log(brightest + 1.0)),
        "brightness": _brightness(counts),
        "clipped": _clipped(grey, cv2) if counts[WHITE:].any() else 0.0,
        "saturated": float(counts[WHITE:].sum() / grey.size)
        + (_crushed(grey, cv2) if counts[: DEEP + 1].any() else 0.0),
        "margin": 1.0 - content.size / grey.size,
        "white_margin": _white_margin(grey),
        "corners": _corners(content),
        "saturation": _saturation(shown),
        "range": high - low,
        **likeness(content),
    }


def reduced(pixels: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """The whole picture with no side longer than ``max_side``; every pixel has its share in the result."""
    import cv2

    scale = max_side / max(pixels.shape[:2])
    if scale >= 1.0:
        return np.ascontiguousarray(pixels)
    size = (max(8, round(pixels.shape[1] * scale)), max(8, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def without_margin(grey: NDArray[Any]) -> NDArray[Any]:
    """The picture without rows and columns of one level at its borders; the whole of it where nothing would be left."""
    rows, columns = _content(grey), _content(grey.T)
    if rows is None or columns is None:
        return grey
    return grey[rows, columns]


def _white_margin(grey: NDArray[Any]) -> float:
    """Share of the picture in rows and columns at its borders that are white from end to end."""
    left = 1.0
    for lines in (grey, grey.T):
        drawn = np.flatnonzero(lines.min(axis=1) < PALE)
        left *= (int(drawn[-1]) + 1 - int(drawn[0])) / len(lines) if len(drawn) else 0.0
    return 1.0 - left


def _content(lines: NDArray[Any]) -> slice | None:
    varied = np.flatnonzero(lines.max(axis=1).astype(np.int16) - lines.min(axis=1) > FLAT_LINE)
    return slice(int(varied[0]), int(varied[-1]) + 1) if len(varied) else None


def _crushed(grey: NDArray[Any], cv2: Any) -> float:
    """Share of pixels at black within the picture; black that reaches the border is ground."""
    black = np.pad((grey <= DEEP).view(np.uint8), 1, constant_values=1)
    cv2.floodFill(black, None, (0, 0), 0)
    return float(cv2.countNonZero(black) / grey.size)


def _corners(content: NDArray[Any]) -> float:
    """Share of white in the four corners of a picture without its margin."""
    high, wide = max(1, content.shape[0] // 16), max(1, content.shape[1] // 16)
    corners = (content[:high, :wide], content[:high, -wide:], content[-high:, :wide], content[-high:, -wide:])
    return float(np.mean([(corner >= PALE).mean() for corner in corners]))


def _deviation(values: NDArray[np.float32], cv2: Any) -> float:
    return float(cv2.meanStdDev(values)[1][0, 0])


def _percentiles(counts: NDArray[np.int64]) -> tuple[float, float]:
    """1st and 99th percentile in grey levels of a histogram of 256 levels."""
    share = np.cumsum(counts) / counts.sum()
    return float(np.searchsorted(share, 0.01)), float(np.searchsorted(share, 0.99))


def _brightest(counts: NDArray[np.int64]) -> float:
    """99th percentile of what is not ground, in grey levels; of everything where nearly all is ground.

    Of everything it would say how much of the picture the anatomy fills, and a slice with little of it would be dark.
    """
    lit = counts.copy()
    lit[: int(DARK) + 1] = 0
    return _percentiles(lit if lit.sum() > 0.001 * counts.sum() else counts)[1]


def _brightness(counts: NDArray[np.int64]) -> float:
    """Log mean of what is not black; 0 where nearly everything is."""
    lit = counts[int(DARK) + 1 :]
    levels = np.arange(int(DARK) + 1, 256)
    return float(np.log(float((lit * levels).sum() / lit.sum()) + 1.0)) if lit.sum() > 0.01 * counts.sum() else 0.0


def _clipped(grey: NDArray[Any], cv2: Any) -> float:
    """Share of pixels at white, without white areas that reach the border: those are ground or unexposed margin."""
    white = np.pad((grey >= WHITE).view(np.uint8), 1, constant_values=1)
    cv2.floodFill(white, None, (0, 0), 0)
    return float(cv2.countNonZero(white) / grey.size)


def _blur(lines: NDArray[np.float32], cv2: Any) -> float:
    """How little a second blur along lines changes steps in them: Crete et al., "The blur effect" (2007)."""
    blurred = cv2.blur(lines, (9, 1))
    steps = cv2.absdiff(lines[:, 1:], lines[:, :-1])
    total = float(cv2.sumElems(steps)[0])
    lost = cv2.subtract(steps, cv2.absdiff(blurred[:, 1:], blurred[:, :-1]))
    return (total - float(cv2.sumElems(cv2.max(lost, 0.0))[0])) / total if total > 0 else 1.0


def _detail(values: NDArray[np.float32], spread: float, cv2: Any) -> float:
    """Log energy of the Laplacian of Gaussian over the contrast."""
    smooth = cv2.GaussianBlur(values, (0, 0), 1.0)
    return float(np.log(_deviation(cv2.Laplacian(smooth, cv2.CV_32F), cv2) / spread + 1e-3))


def _fine_detail(values: NDArray[np.float32], spread: float, cv2: Any) -> float:
    """Log energy of what half the resolution cannot hold, over the contrast."""
    height, width = values.shape
    half = cv2.resize(values, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    back = cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC)
    return float(np.log(cv2.norm(values, back, cv2.NORM_L1) / values.size / spread + 1e-3))


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


def _ringing(grey: NDArray[Any], cv2: Any) -> float:
    """Share of exactly flat steps among lit pixels of tissue: strong quantisation leaves flat pieces inside it.

    Tissue are the blocks of 8 x 8 with some change and no crisp edge, as lines and letters have that a machine wrote.
    """
    height, width = grey.shape[0] // 8 * 8, (grey.shape[1] - 1) // 8 * 8
    if height < 16 or width < 16:
        return 0.0
    right = grey[:height, 1 : width + 1]
    blocks = cv2.absdiff(right, grey[:height, :width]).reshape(height // 8, 8, width // 8, 8)
    most = blocks.max(axis=1).max(axis=-1)
    tissue = (most > 1) & (most <= CRISP)
    lit = (right > DARK).reshape(blocks.shape)
    num_lit = lit.sum(axis=1, dtype=np.uint8)[tissue].sum()
    if num_lit < MIN_LIT:
        return 0.0
    return float((lit & (blocks == 0)).sum(axis=1, dtype=np.uint8)[tissue].sum() / num_lit)


def _saturation(pixels: NDArray[np.uint8]) -> float:
    """Mean spread between the channels as a share of the brightest, over pixels neither black nor cut at white."""
    step = max(1, max(pixels.shape[:2]) // 128)
    small = pixels[::step, ::step].astype(np.float32)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    lit = (most > DARK) & (most < 254)
    return float(((most - least)[lit] / most[lit]).mean()) if lit.mean() > 0.01 else -1.0
