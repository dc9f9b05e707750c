"""How far rules and judges agree on points: Cohen's kappa over every point of every answer that both graded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from infimed_core import DataError, cohen_kappa


def agreements(run: Path) -> list[dict[str, Any]]:
    """For every answers file with point scores of two kinds or more: each pair's points in common, share and kappa.

    Raises:
        DataError: the run has no answers that two graders scored by points.
    """
    folder = run.parent if run.name == "run.json" else run
    rows = [row for file in sorted((folder / "answers").glob("*.jsonl")) for row in _of_file(file)]
    if not rows:
        told = "no answers graded by points twice; name judges in the run file's evaluation.judges"
        raise DataError("no_answers", f"{folder}: {told}")
    return rows


def _of_file(file: Path) -> Iterator[dict[str, Any]]:
    ticked: dict[str, dict[tuple[str, str], bool]] = {}
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            body = json.loads(line)
            for scoring, score in body["scores"].items():
                for name, value in (score.get("raw") or {}).items():
                    if name.startswith("point ") and value is not None:
                        ticked.setdefault(scoring, {})[body["sample"]["id"], name] = value > 0
    for one, other in combinations(ticked, 2):
        both = sorted(set(ticked[one]) & set(ticked[other]))
        first, second = ([ticked[scoring][place] for place in both] for scoring in (one, other))
        same = sum(a == b for a, b in zip(first, second, strict=True))
        yield {
            "answers": file.stem,
            "graders": [one, other],
            "points": len(both),
            "agree": same / len(both) if both else None,
            "kappa": cohen_kappa(first, second) if both else None,
        }
