"""Whether an answer points at the part of the image where the data say that the finding is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from infimed_core import Reward, Rollout, Sample, Score

Box = tuple[float, float, float, float]
_BOX = re.compile(r"[\[(]\s*((?:\d+(?:\.\d+)?\s*,\s*){3}\d+(?:\.\d+)?)\s*[\])]")


class RegionCitation(Reward):
    """The mean overlap (intersection over union) of the boxes of the reference answer with the best one of the answer.

    Every box beyond as many as the reference has lowers it: drawing boxes everywhere gains nothing. A sample without
    boxes is unscored. Boxes of an answer are read as ``[left, top, right, bottom]`` in ``scale``-ths of the image.
    """

    scale: float = Field(default=1000.0, gt=0.0, description="What the right and the lower border of an image are.")

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """From 0 to 1."""
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        wanted = boxes_of(rollout.sample)
        if not wanted:
            return Score(value=None, status="unscored", reasons=("no_region",))
        given = boxes_in(rollout.text, self.scale)
        if not given:
            return Score(value=0.0, reasons=("no_box",))
        best = [max(overlap(box, other) for other in given) for box in wanted]
        return Score(value=min(1.0, sum(best) / max(len(wanted), len(given))))


def boxes_of(sample: Sample) -> list[Box]:
    """Boxes of the last answer, else those of the question, as shares of the image."""
    for turn in reversed(sample.turns):
        if found := [region.box for region in turn.regions if region.box is not None]:
            return found
    return []


def boxes_in(text: str, scale: float) -> list[Box]:
    """Boxes written in a text, as shares of the image; what is no box (left of its right side ...) is left out."""
    found: list[Box] = []
    for match in _BOX.findall(text):
        left, top, right, bottom = (float(number) / scale for number in match.split(","))
        if 0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0 and (left, top, right, bottom) not in found:
            found.append((left, top, right, bottom))
    return found


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    both = width * height
    return both / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - both)
