"""One value from several dimensions: their weighted geometric mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

LEAST = 0.001
"""A dimension at 0 counts as this in the geometric mean, so that the worse of two bad samples is still told."""


def composite(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Weighted geometric mean of the parts that are not ``None``; ``None`` where none is left."""
    weighted = [(weights.get(name, 0.0), part) for name, part in parts.items() if part is not None]
    total = sum(weight for weight, _ in weighted)
    if total <= 0:
        return None
    logs = sum(weight * math.log(max(part, LEAST)) for weight, part in weighted) / total
    return round(min(1.0, math.exp(logs)), 6)
