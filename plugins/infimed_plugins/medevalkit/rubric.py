"""HealthBench's arithmetic: points of met rubric items over the positive points, and the judge's reply as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from infimed_core import Metric, Score


class RubricScore(Metric):
    """HealthBench's number: the mean of the examples' scores, negative ones included, then clipped to [0, 1]."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        """``None`` where no example has a score by its rubric."""
        found = [value for score in scores if (value := score.parts.get("rubric")) is not None]
        return min(1.0, max(0.0, sum(found) / len(found))) if found else None


def example_score(points: Sequence[float], met: Sequence[bool]) -> float | None:
    """Points of the items that are met over all positive points; may be negative. ``None`` without positive points."""
    possible = sum(point for point in points if point > 0)
    if possible <= 0:
        return None
    return sum(point for point, is_met in zip(points, met, strict=True) if is_met) / possible


def parse_reply(reply: str) -> Any:
    """The JSON in a judge's reply: alone, in a fence, after its thoughts or amid prose; {} where there is none."""
    text = re.sub(r"<think(?:ing)?>.*?</think(?:ing)?>", "", reply, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    for part in (text, text[text.find("{") : text.rfind("}") + 1]):
        try:
            return json.loads(part)
        except (ValueError, RecursionError):
            continue
    return {}


def verdict(reply: str | None) -> bool | None:
    """Whether the judge says that the item is met; ``None`` for anything but a JSON object with a true or false."""
    body = parse_reply(reply or "")
    met = body.get("criteria_met") if isinstance(body, dict) else None
    return met if isinstance(met, bool) else None
