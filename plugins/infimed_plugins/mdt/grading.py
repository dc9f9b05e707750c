"""Grading by points: which points an answer covers, which forbidden ones it states, and the value that follows."""

from __future__ import annotations

from collections.abc import Sequence

from infimed_core import Score
from infimed_plugins.mdt.assertion import mentions
from infimed_plugins.mdt.cases import Point


def is_met(point: Point, text: str) -> bool:
    """Whether ``text`` says what the point says.

    A wording that stands in several places counts as stated where one of them states it; a point ``against`` is met
    where one denies it and none states it.
    """
    found = {mention.status for mention in mentions(text, point.wordings)}
    if point.stance == "against":
        return "denied" in found and "stated" not in found
    return "stated" in found or (point.stance == "named" and "uncertain" in found)


def grade_points(points: Sequence[Point], text: str | None, violation_factor: float) -> Score:
    """Grade an answer; an empty one is unscored."""
    if text is None or not text.strip():
        return Score(status="unscored", reasons=("empty_answer",))
    return score_of(points, [is_met(point, text) for point in points], violation_factor)


def score_of(points: Sequence[Point], met: Sequence[bool], violation_factor: float) -> Score:
    """The score that follows from which points are met.

    ``coverage`` is the met share of the weights of required and optional points, and the value is
    ``coverage * violation_factor ** (forbidden points met)``. ``violations`` is the share of the forbidden points
    met; ``None`` where a question forbids nothing.
    """
    wanted = [(point, got) for point, got in zip(points, met, strict=True) if point.importance != "forbidden"]
    forbidden = [got for point, got in zip(points, met, strict=True) if point.importance == "forbidden"]
    coverage = sum(point.counts for point, got in wanted if got) / sum(point.counts for point, _ in wanted)
    required = [got for point, got in wanted if point.importance == "required"]
    lines = [
        f"{'+' if got else '-'} {point.importance}: {point.text}"
        if point.importance != "forbidden"
        else f"{'!' if got else '.'} forbidden: {point.text}"
        for point, got in zip(points, met, strict=True)
    ]
    return Score(
        value=min(1.0, coverage * violation_factor ** sum(forbidden)),
        parts={
            "coverage": min(1.0, coverage),
            "required": sum(required) / len(required),
            "violations": sum(forbidden) / len(forbidden) if forbidden else None,
        },
        reasons=("forbidden_point",) if any(forbidden) else (),
        raw={
            "points_met": float(sum(got for _, got in wanted)),
            "points": float(len(wanted)),
            "forbidden_met": float(sum(forbidden)),
            "forbidden": float(len(forbidden)),
            **{f"point {number}": float(got) for number, got in enumerate(met, start=1)},
        },
        note="\n".join(lines),
    )
