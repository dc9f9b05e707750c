"""Metrics of answers that name a class: every class counts alike, however rare it is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from infimed_core import AnswerMetric, GradedAnswer, interval


class BalancedAccuracy(AnswerMetric):
    """The mean over right answers of the share of their questions that is answered rightly; unread is not right.

    A class is the first reference of a question (a letter, yes or no, a finding), in lower case. 0.5 is chance for two
    classes; a model that gives one answer whatever the question has 1 / number of classes.
    """

    counts_unread: ClassVar[bool] = True

    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        """The mean of the recalls; ``None`` without a question that has a reference."""
        right: dict[str, float] = defaultdict(float)
        asked: dict[str, int] = defaultdict(int)
        for row in rows:
            if row.sample.references:
                label = _label(row.sample.references[0])
                right[label] += row.score.value or 0.0
                asked[label] += 1
        return sum(right[label] / asked[label] for label in asked) / len(asked) if asked else None

    def interval(self, rows: Sequence[GradedAnswer], clusters: Sequence[str]) -> tuple[float, float] | None:
        """The squares of the recalls' distances to their own bounds, added up (Zou and Donner 2008, Statistics in
        Medicine 27, 1693-1702). Where classes share clusters, the distances grow as the clusters' sums say.
        """
        members: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            if row.sample.references:
                members[_label(row.sample.references[0])].append(place)
        if not members:
            return None
        below, above, middle = 0.0, 0.0, 0.0
        apart: dict[tuple[str, str], float] = defaultdict(float)
        joined: dict[str, float] = defaultdict(float)
        weighed, units = [], []
        for label, places in members.items():
            values = [rows[place].score.value or 0.0 for place in places]
            low, high = interval(values, clusters=[clusters[place] for place in places])
            recall = sum(values) / len(values)
            middle += recall / len(members)
            below += (recall - (low or 0.0)) ** 2
            above += ((1.0 if high is None else high) - recall) ** 2
            for place, value in zip(places, values, strict=True):
                apart[label, clusters[place]] += (value - recall) / len(places)
                joined[clusters[place]] += (value - recall) / len(places)
                weighed.append((value - recall) / len(places) / len(members))
                units.append(clusters[place])
        alone = sum(part * part for part in apart.values())
        factor = max(1.0, sum(part * part for part in joined.values()) / alone) if alone else 1.0
        reach = [math.sqrt(part * factor) / len(members) for part in (below, above)]
        if len(joined) < len(units):  # where clusters are few, not less than Student's t of their sums says
            low, high = interval([1.0 + len(units) * part for part in weighed], clusters=units)
            if low is not None and high is not None:
                reach = [max(reach[0], 1.0 - low), max(reach[1], high - 1.0)]
        return max(0.0, middle - reach[0]), min(1.0, middle + reach[1])


class F1(AnswerMetric):
    """F1 of one class against the rest: of ``positive``, for questions with two possible answers (yes or no).

    A wrong answer to a question of the other class counts as ``positive``; an unread answer as neither.
    """

    counts_unread: ClassVar[bool] = True

    positive: str = Field(default="yes", description="The reference that makes a question positive.")

    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        """2 TP / (2 TP + FP + FN); ``None`` where no question is positive."""
        wanted, hits, false_alarms = 0, 0.0, 0.0
        for row in rows:
            positive = bool(row.sample.references) and _label(row.sample.references[0]) == _label(self.positive)
            wanted += positive
            if row.score.value is not None:
                hits += row.score.value if positive else 0.0
                false_alarms += 0.0 if positive else 1.0 - row.score.value
        # TP + FN are all positive questions
        return 2 * hits / (hits + false_alarms + wanted) if wanted else None

    def smallest_part(self, rows: Sequence[GradedAnswer]) -> int:
        """Questions of the positive class."""
        return sum(bool(r.sample.references) and _label(r.sample.references[0]) == _label(self.positive) for r in rows)


def _label(text: str) -> str:
    return text.strip().lower()
