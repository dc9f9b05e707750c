"""Whether a frontal chest film stands upright and is not inverted, by its likeness to the mean of many films."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.quality.reasons import Reason

SIDE = 24
AS_IS, INVERTED, UPSIDE_DOWN, SIDEWAYS = "like_chest", "like_inverted", "like_upside_down", "like_sideways"
LEAST_LIKE, LEAST_GAIN = 0.45, 0.3
"""Correlation that a changed picture must reach, and by how much it must exceed that of the picture itself."""
UNTOLD_LIKE, UNTOLD_GAIN = 0.6, 0.8
"""The same where neither tag nor text says that this is a chest."""


@cache
def mean_film() -> NDArray[np.float32]:
    """Mean ranks of the pixels of 109 frontal chest films, [24, 24], of mean 0 and standard deviation 1."""
    lines = Path(__file__).with_name("chest.txt").read_text(encoding="utf-8").splitlines()
    values = np.array([[float(part) for part in line.split()] for line in lines if not line.startswith("#")])
    return ((values - values.mean()) / values.std()).astype(np.float32)


def thumbnail(grey: NDArray[Any]) -> NDArray[np.float32]:
    """Ranks of the pixels of a picture reduced to 24 x 24, of mean 0 and standard deviation 1: windows play no part."""
    import cv2

    small = cv2.resize(np.ascontiguousarray(grey), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()
    ranks = np.empty(small.size, dtype=np.float32)
    ranks[np.argsort(small, kind="stable")] = np.arange(small.size, dtype=np.float32)
    return ((ranks - ranks.mean()) / ranks.std()).reshape(SIDE, SIDE)


def likeness(grey: NDArray[Any]) -> dict[str, float]:
    """Correlation with the mean film as it is, inverted, upside down, and turned to a side (the better of both)."""
    film, shown = mean_film(), thumbnail(grey)
    as_is = float((film * shown).mean())
    turned = float((film * shown[::-1]).mean())
    sideways = max(float((film * np.rot90(shown, times)).mean()) for times in (1, 3))
    return {AS_IS: as_is, INVERTED: -as_is, UPSIDE_DOWN: turned, SIDEWAYS: sideways}


def chest_fault(values: Mapping[str, float], told: bool) -> Reason | None:
    """``image_inverted`` or ``image_turned`` where the picture is far more like a chest film after that change."""
    like, gain = (LEAST_LIKE, LEAST_GAIN) if told else (UNTOLD_LIKE, UNTOLD_GAIN)
    name = max((INVERTED, UPSIDE_DOWN, SIDEWAYS), key=lambda other: values.get(other, -math.inf))
    if values.get(name, -1.0) < like or values[name] - values[AS_IS] < gain:
        return None
    return Reason.IMAGE_INVERTED if name == INVERTED else Reason.IMAGE_TURNED
