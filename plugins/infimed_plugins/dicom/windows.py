"""Intensity windows: from numbers with a unit (Hounsfield ...) to a displayable grey, as DICOM PS3.3 C.11.2 has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError

PRESETS: dict[str, tuple[float, float]] = {
    "abdomen": (40, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (60, 160),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft-tissue": (40, 400),
    "stroke": (40, 40),
    "subdural": (75, 215),
}
"""(center, width) in Hounsfield units, as in common radiological use."""


def apply_window(values: NDArray[Any], center: float, width: float, function: str = "LINEAR") -> NDArray[np.float64]:
    """Grey in [0, 1] of the same shape. ``function`` is DICOM's VOI LUT Function.

    Source: DICOM PS3.3 C.11.2.1.2 (linear) and C.11.2.1.3 (sigmoid, linear exact). ``width`` is above 0;
    a linear window of width 1 is a threshold. A linear window under 1, which the standard does not allow, is found
    with values that have fractions and is taken as linear exact. Raises ``DataError`` ``unsupported``.
    """
    values = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise DataError("unsupported", f"a VOI LUT function {function}")
    if function == "LINEAR_EXACT" or width < 1:
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def full_range(values: NDArray[Any], counted: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Grey in [0, 1] from the least to the greatest value of those ``counted``; all 0 where they are equal."""
    values = np.asarray(values, dtype=np.float64)
    inside = values if counted is None or not counted.any() else values[counted]
    low, high = float(inside.min()), float(inside.max())
    if high == low:
        return np.zeros(values.shape)
    return np.clip((values / 2 - low / 2) / (high / 2 - low / 2), 0.0, 1.0)  # halves: the span may overflow


def named_window(window: Any) -> tuple[float, float]:
    """(center, width) of a preset's name or of a pair of numbers; ``DataError`` ``bad_option`` where it is neither."""
    if isinstance(window, str):
        if window not in PRESETS:
            known = ", ".join(PRESETS)
            raise DataError("bad_option", f"no window named '{window}' (there are: file, full, {known})")
        return PRESETS[window]
    try:
        center, width = (float(value) for value in window)
    except (TypeError, ValueError, OverflowError):
        raise DataError("bad_option", f"window must be [center, width], not {window!r}") from None
    if not (width > 0 and np.isfinite([center, width]).all()):
        raise DataError("bad_option", f"a window's center and width must be finite, its width above 0: {window!r}")
    return center, width
