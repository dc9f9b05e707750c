"""What the page says of a run's scores and selection, computed from what the steps stored."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import InfimedError, Sample
from infimed_core.records import Run, SampleRow, ScoreTable, StepRecord

HISTOGRAM_BINS = 20
NUM_SHOWN = 12
NUM_UNSCORED_SHOWN = 4
NUM_CORRELATED = 100_000
"""Most samples that the correlation between dimensions is computed over, evenly spaced."""
LOW = 0.5
"""A dimension under this counts as a reason of its own for a sample's rejection."""

_computed: dict[Path, dict[str, Any]] = {}
"""Facts by the artifact that they are of: a page that is served is made again and again."""


def with_curation(run: Run) -> Run:
    """The run, with what the page shows of scores and selection in the details of those steps."""
    return replace(
        run, record=run.record.model_copy(update={"steps": tuple(_described(run, step) for step in run.record.steps)})
    )


def _described(run: Run, step: StepRecord) -> StepRecord:
    directory = run.artifact(step) if step.kind in ("score", "select") else None
    if directory is None:
        return step
    if directory not in _computed:
        try:
            if step.kind == "score":
                _computed[directory] = describe_scores(run.dataset, run.scores(step.subject["scorer"]))
            else:
                _computed[directory] = describe_selection(run.samples())
        except InfimedError:  # the samples were moved away: the page shows what the record says
            return step
    return step.model_copy(update={"details": {**step.details, **_computed[directory]}})


def describe_scores(dataset: Sequence[Sample], table: ScoreTable) -> dict[str, Any]:
    """Distributions, reasons, correlations, and the samples at both ends; one dimension in memory at a time."""
    values = table.values()
    scored = np.flatnonzero(np.isfinite(values))
    order = scored[np.argsort(values[scored], kind="stable")]
    unscored = np.flatnonzero(~np.isfinite(values))[:NUM_UNSCORED_SHOWN]

    def show(rows: Iterable[int]) -> list[dict[str, Any]]:
        return [
            {"sample": dataset[row].model_dump(mode="json"), "score": table[row][1].model_dump(mode="json")}
            for row in rows
        ]

    columns = {name: table.columns([name])[:, 0] for name in table.dimensions}
    return {
        "dimensions": {name: _distribution(column) for name, column in {"composite": values, **columns}.items()},
        "reasons": dict(table.counts()[1].most_common()),
        "correlations": correlations(table),
        "worst": show([*unscored.tolist(), *order[:NUM_SHOWN].tolist()]),
        "best": show(order[::-1][:NUM_SHOWN].tolist()),
    }


def _distribution(values: NDArray[np.float64]) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    bins = np.clip((known * HISTOGRAM_BINS).astype(np.int64), 0, HISTOGRAM_BINS - 1)
    return {
        "histogram": np.bincount(bins, minlength=HISTOGRAM_BINS).tolist(),
        "num_null": len(values) - len(known),
        "mean": math.fsum(known) / len(known) if len(known) else None,
    }


def describe_selection(rows: Iterable[SampleRow]) -> dict[str, Any]:
    """Why samples were rejected, by which dimension they could have been found, and how many each modality kept.

    ``kills`` says of each dimension how many rejects it was low in (under 0.5), and how many of these were low in no
    other: what only this dimension finds. Samples that a filter left out never reached the selector.
    """
    reasons, alone, low, low_alone = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    dimensions: dict[str, None] = {}
    modalities: dict[str, dict[str, int]] = defaultdict(lambda: {"in": 0, "kept": 0})
    for row in rows:
        if row.filtered:
            continue
        cell = modalities[row.sample.tags.get("modality", "unlabelled")]
        cell["in"] += 1
        cell["kept"] += row.kept
        parts = _parts(row)
        dimensions |= dict.fromkeys(parts)
        if row.kept:
            continue
        reasons.update(set(row.rejected))
        if len(row.rejected) == 1:
            alone[row.rejected[0]] += 1
        low_in = [name for name, part in parts.items() if part is not None and part < LOW]
        low.update(low_in)
        if len(low_in) == 1:
            low_alone[low_in[0]] += 1
    return {
        "rejected_by": dict(reasons.most_common()),
        "rejected_by_alone": dict(alone.most_common()),
        "kills": {name: {"num": low[name], "alone": low_alone[name]} for name in dimensions},
        "by_tag": {"modality": dict(sorted(modalities.items()))},
    }


def _parts(row: SampleRow) -> dict[str, float | None]:
    """The dimensions of every scorer, those of the second and later ones as ``scorer.dimension``."""
    parts: dict[str, float | None] = {}
    for number, (scorer, score) in enumerate(row.scores.items()):
        parts |= {f"{scorer}.{name}" if number else name: part for name, part in score.parts.items()}
    return parts


def correlations(table: ScoreTable) -> dict[str, Any]:
    """Spearman's rank correlation between dimensions, over samples that have both; ``None`` where one is constant."""
    dimensions = table.dimensions
    step = max(1, math.ceil(len(table) / NUM_CORRELATED))
    columns = table.columns(dimensions, step)
    matrix: list[list[float | None]] = [[None] * len(dimensions) for _ in dimensions]
    for first in range(len(dimensions)):
        for second in range(first + 1):
            both = _spearman(columns[:, first], columns[:, second])
            matrix[first][second] = matrix[second][first] = both
    return {"dimensions": list(dimensions), "matrix": matrix, "num_samples": len(columns)}


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    from scipy.stats import spearmanr

    both = np.isfinite(first) & np.isfinite(second)
    if int(both.sum()) < 3 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return None
    return round(float(spearmanr(first[both], second[both]).statistic), 4)
