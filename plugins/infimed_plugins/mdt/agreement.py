"""How far rules and judges agree on points: Cohen's kappa over every point of every answer that both graded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from infimed_core import DataError, cohen_kappa
from infimed_core.records import Graded, open_run


def agreements(path: Path) -> list[dict[str, Any]]:
    """For every model and benchmark with point scores of two kinds or more: each pair's points, share and kappa.

    Raises:
        InfimedError: there is no run, or it has no answers that two graders scored by points.
    """
    run = open_run(path)
    rows = [
        {"answers": f"{benchmark}--{model}", **row}
        for benchmark, model in run.answered()
        for row in _of_answers(run.answers(benchmark, model))
    ]
    if not rows:
        remedy = "no answers graded by points twice; name judges in the run file's evaluation.judges"
        raise DataError("no_answers", f"{run.directory}: {remedy}")
    return rows


def _of_answers(answers: Iterable[Graded]) -> Iterator[dict[str, Any]]:
    ticked: dict[str, dict[tuple[str, str], bool]] = {}
    for answer in answers:
        for scoring, score in answer.scores.items():
            for name, value in score.raw.items():
                if name.startswith("point ") and value is not None:
                    ticked.setdefault(scoring, {})[answer.sample.id, name] = value > 0
    for grader, other in combinations(ticked, 2):
        both = sorted(set(ticked[grader]) & set(ticked[other]))
        first, second = ([ticked[scoring][point] for point in both] for scoring in (grader, other))
        same = sum(a == b for a, b in zip(first, second, strict=True))
        yield {
            "graders": [grader, other],
            "points": len(both),
            "agree": same / len(both) if both else None,
            "kappa": cohen_kappa(first, second) if both else None,
        }
