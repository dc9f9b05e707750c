"""A question with its answer and its scores, in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infimed_core.api.component import Row
from infimed_core.api.data import Sample, Score
from infimed_core.api.evaluation import GradedAnswer
from infimed_core.api.models import Answer
from infimed_core.store.places import opened, run_above, written
from infimed_core.texts import whole


@dataclass(frozen=True)
class Graded:
    """One question with its answer and its score under each scoring of the benchmark."""

    sample: Sample
    answer: Answer
    scores: dict[str, Score]

    def under(self, scoring: str) -> GradedAnswer:
        """The row with its score under one scoring, as metrics take it."""
        return GradedAnswer(self.sample, self.answer, self.scores[scoring])

    def as_json(self, run: Path | None = None) -> str:
        """One line of an answers file of ``run``."""
        body = {
            "sample": written(self.sample, run).model_dump(mode="json"),
            "answer": self.answer.model_dump(mode="json"),
            "scores": {name: score.model_dump(mode="json") for name, score in self.scores.items()},
        }
        return whole(json.dumps(body, ensure_ascii=False))


class _Line(Row):
    sample: Sample
    answer: Answer
    scores: dict[str, Score]


def parse_graded(line: str | bytes, run: Path | None = None) -> Graded:
    """A line of an answers file of ``run``.

    Raises:
        ValueError: it is none.
    """
    row = _Line.model_validate_json(line)
    return Graded(opened(row.sample, run), row.answer, row.scores)


def read_graded(path: Path) -> Iterator[Graded]:
    """The lines of an answers file."""
    run = run_above(path)
    with path.open("rb") as stream:
        for line in stream:
            yield parse_graded(line, run)


def answers_path(directory: Path, benchmark: str, model: str) -> Path:
    """The file of a model's graded answers on a benchmark, in a run's directory; no two pairs of names share one."""
    return directory / "answers" / f"{_apart(benchmark)}--{_apart(model)}.jsonl"


def _apart(name: str) -> str:
    """The name without the sign that joins two: `q` with `x--one` is not `q--x` with `one`."""
    name = name.replace("--", "-~")  # no name of a run file has a tilde
    return name[:-1] + "~" if name.endswith("-") else name
