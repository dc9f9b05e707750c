"""What the report says of stored scores: distributions, reasons, correlations, and the samples at both ends."""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject
from infimed_core.store.columns import to_numbers
from infimed_core.store.dataset import Dataset
from infimed_core.store.scores import ScoreTable

HISTOGRAM_BINS = 20
NUM_SHOWN = 12
NUM_CORRELATED = 100_000
"""Most samples that the correlation between dimensions is computed over, evenly spaced."""


def describe_scores(dimensions: Sequence[str], dataset: Dataset, table: ScoreTable) -> JsonObject:
    """Distributions, reasons, correlations and the samples at both ends, for the report.

    One pass over the columns that it needs, part by part: this runs in one process while those that score wait.
    """
    names = ("composite", *dimensions)
    columns = ("value", *(f"part.{name}" for name in dimensions))
    histograms = np.zeros((len(names), HISTOGRAM_BINS), dtype=np.int64)
    sums: list[list[float]] = [[] for _ in names]
    reasons: Counter[str] = Counter()
    status: Counter[str] = Counter()
    lowest: list[tuple[float, str, int]] = []
    highest: list[tuple[float, str, int]] = []
    unscored: list[tuple[str, int]] = []
    for start, part in table.thin(["id", "status", "reasons", *columns]):
        ids = part.column("id").to_pylist()
        status.update(part.column("status").to_pylist())
        reasons.update(chain.from_iterable(part.column("reasons").to_pylist()))
        numbers = [to_numbers(part.column(column)) for column in columns]
        for place, values in enumerate(numbers):
            known = values[np.isfinite(values)]
            bins = np.clip((known * HISTOGRAM_BINS).astype(np.int64), 0, HISTOGRAM_BINS - 1)
            histograms[place] += np.bincount(bins, minlength=HISTOGRAM_BINS)
            sums[place].append(math.fsum(known))
        found = np.flatnonzero(np.isfinite(numbers[0])).tolist()
        rows = [(float(numbers[0][row]), ids[row], start + row) for row in found]
        lowest = heapq.nsmallest(NUM_SHOWN, [*lowest, *rows])
        highest = heapq.nlargest(NUM_SHOWN, [*highest, *rows])
        missing = np.flatnonzero(~np.isfinite(numbers[0])).tolist()
        unscored = heapq.nsmallest(4, [*unscored, *((ids[row], start + row) for row in missing)])

    def show(rows: Iterable[int]) -> list[dict[str, object]]:
        return [
            {"sample": json.loads(dataset.line(row)), "score": table[row][1].model_dump(mode="json")} for row in rows
        ]

    totals = histograms.sum(axis=1).tolist()
    return {
        "dimensions": {
            name: {
                "histogram": histograms[place].tolist(),
                "num_null": len(table) - totals[place],
                "mean": math.fsum(sums[place]) / totals[place] if totals[place] else None,
            }
            for place, name in enumerate(names)
        },
        "reasons": dict(reasons.most_common()),
        "status": dict(status),
        "correlations": correlations(dimensions, table),
        "worst": show([*(row for _, row in unscored), *(row for _, _, row in lowest)]),
        "best": show(row for _, _, row in highest),
    }


def correlations(dimensions: Sequence[str], table: ScoreTable) -> JsonObject:
    """Spearman's rank correlation between dimensions, over samples that have both; ``None`` where one is constant."""
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
