"""HealthBench's arithmetic: points of met rubric items over the positive points, and the judge's reply as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any


def example_score(points: Sequence[float], met: Sequence[bool]) -> float | None:
    """Points of the items that are met over all positive points; may be negative. ``None`` without positive points."""
    possible = sum(point for point in points if point > 0)
    if possible <= 0:
        return None
    return sum(point for point, is_met in zip(points, met, strict=True) if is_met) / possible


def parse_reply(reply: str) -> Any:
    """The JSON in a judge's reply, with or without a fenced block; an empty dict where there is none."""
    text = re.sub(r"^```(?:json)?\s*|\s*```$", "", reply.strip())
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {}


def verdict(reply: str | None) -> bool | None:
    """Whether the judge says that the item is met; ``None`` for anything but a JSON object with a true or false."""
    body = parse_reply(reply or "")
    met = body.get("criteria_met") if isinstance(body, dict) else None
    return met if isinstance(met, bool) else None
