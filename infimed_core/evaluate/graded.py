"""A question with its answer and its scores, in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infimed_core.api.data import Sample, Score
from infimed_core.api.evaluation import GradedAnswer
from infimed_core.api.models import Answer


@dataclass(frozen=True)
class Graded:
    """One question with its answer and its score under each scoring of the benchmark."""

    sample: Sample
    answer: Answer
    scores: dict[str, Score]

    def under(self, scoring: str) -> GradedAnswer:
        """The row with its score under one scoring, as metrics take it."""
        return GradedAnswer(self.sample, self.answer, self.scores[scoring])

    def as_json(self) -> str:
        """One line of an answers file."""
        body = {
            "sample": self.sample.model_dump(mode="json"),
            "answer": self.answer.model_dump(mode="json"),
            "scores": {name: score.model_dump(mode="json") for name, score in self.scores.items()},
        }
        return json.dumps(body, ensure_ascii=False)


def read_graded(path: Path) -> Iterator[Graded]:
    """The lines of an answers file."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            body = json.loads(line)
            scores = {name: Score.model_validate(score) for name, score in body["scores"].items()}
            yield Graded(Sample.model_validate(body["sample"]), Answer.model_validate(body["answer"]), scores)
