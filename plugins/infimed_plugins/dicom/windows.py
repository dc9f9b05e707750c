"""Intensity windows: from numbers with a unit (Hounsfield ...) to a displayable grey, as DICOM PS3.3 C.11.2 has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    a linear window of width 1 is a threshold.
    """
    values = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width <= 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def full_range(values: NDArray[Any], counted: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Grey in [0, 1] from the least to the greatest value of those ``counted``; all 0 where they are equal."""
    values = np.asarray(values, dtype=np.float64)
    inside = values if counted is None or not counted.any() else values[counted]
    low, high = float(inside.min()), float(inside.max())
    if high == low:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0.0, 1.0)
