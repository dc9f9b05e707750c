"""How far a scorer agrees with people, and people with one another."""

from __future__ import annotations

import csv
import io
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Score, read_named

NUM_RESAMPLES = 2000
OTHER_COLUMNS = ("id", "rater", "note")


def read_labels(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Labels by dimension, sample id and rater, from a CSV with the columns ``id``, ``rater`` and one a dimension.

    Without the column ``rater`` every label is of one rater. An empty cell is no label.

    Raises:
        DataError: not readable, no such columns, or a cell that is no number; names file, line and column.
    """
    table: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    try:
        with io.StringIO(read_named(path).decode("utf-8-sig"), newline="") as stream:
            rows = csv.DictReader(stream)
            names = [name for name in rows.fieldnames or () if name and name not in OTHER_COLUMNS]
            if "id" not in (rows.fieldnames or ()) or not names:
                raise DataError("bad_labels", f"{path}:1: needs the column id and one column a dimension (or value)")
            for row in rows:
                for name in names:
                    text = (row.get(name) or "").strip()
                    if not text:
                        continue
                    try:
                        label = float(text)
                    except ValueError:
                        where = f"{path}:{rows.line_num}: {name}"
                        raise DataError(
                            "bad_labels", f"{where}: '{text}' is no number; use levels, as 0, 1, 2"
                        ) from None
                    table[name][row["id"]][(row.get("rater") or "").strip() or "rater"] = label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("bad_labels", f"{path}: cannot be read ({error})") from None
    return {name: dict(samples) for name, samples in table.items()}


def quadratic_kappa(first: Sequence[int], second: Sequence[int], num_levels: int) -> float | None:
    """Cohen's kappa with quadratic weights between two lists of levels 0 to ``num_levels - 1``; ``None``: undefined."""
    if not first or num_levels < 2:
        return None
    counts = np.zeros((num_levels, num_levels))
    np.add.at(counts, (np.asarray(first), np.asarray(second)), 1)
    levels = np.arange(num_levels)
    weights = (levels[:, None] - levels[None, :]) ** 2
    by_chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    expected = float((weights * by_chance).sum())
    return None if expected == 0 else 1.0 - float((weights * counts).sum()) / expected


def krippendorff_alpha(units: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha for interval data (2011, "Computing Krippendorff's alpha-reliability").

    ``units`` holds the labels of each sample, by any number of raters; samples with fewer than two do not count.
    ``None`` where nothing can be paired or all labels are equal.
    """
    paired = [np.asarray(unit, dtype=np.float64) for unit in units if len(unit) >= 2]
    if not paired:
        return None
    everything = np.concatenate(paired)
    num = len(everything)
    observed = sum(_squares(unit) / (len(unit) - 1) for unit in paired) / num
    expected = _squares(everything) / (num * (num - 1))
    return None if expected == 0 else 1.0 - observed / expected


def _squares(values: NDArray[np.float64]) -> float:
    """Sum of squared differences over all ordered pairs."""
    return float(2 * len(values) * np.square(values).sum() - 2 * values.sum() ** 2)


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation; ``None`` where one is constant or there are fewer than three pairs."""
    from scipy.stats import spearmanr

    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def _spearman_interval(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float] | None:
    """95% percentile bootstrap over samples, seeded."""
    chance = np.random.default_rng(0)
    draws = [chance.integers(0, len(first), len(first)) for _ in range(NUM_RESAMPLES if len(first) >= 3 else 0)]
    known = [found for draw in draws if (found := spearman(first[draw], second[draw])) is not None]
    if not known:
        return None
    return float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))


def agreement(scores: Mapping[str, Score], labels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """By dimension of the labels (``value`` is the whole score): how scores and people agree, and people with people.

    A score in [0, 1] is put on the levels that the labels use by cutting its range into equal parts; a sample's label
    is the median of its raters', the lower level where that lies between two. What is labelled and not scored is told.
    """
    table: dict[str, Any] = {}
    for dimension, by_sample in labels.items():
        levels = sorted({label for raters in by_sample.values() for label in raters.values()})
        found, human, missing, unscored = [], [], 0, 0
        for identity, raters in by_sample.items():
            score = scores.get(identity)
            value = None if score is None else score.value if dimension == "value" else score.parts.get(dimension)
            missing += score is None
            unscored += score is not None and value is None
            if value is not None:
                found.append(value)
                human.append(sorted(raters.values()))
        predicted = [min(int(value * len(levels)), len(levels) - 1) for value in found]
        median = [levels.index(sorted(own)[(len(own) - 1) // 2]) for own in human]
        means = np.array([np.mean(own) for own in human], dtype=np.float64)
        values = np.array(found, dtype=np.float64)
        raters_names = sorted({name for raters in by_sample.values() for name in raters})
        table[dimension] = {
            "num_samples": len(found),
            "num_not_scored": unscored,
            "num_not_among_the_samples": missing,
            "num_raters": len(raters_names),
            "levels": levels,
            "quadratic_kappa": _rounded(quadratic_kappa(predicted, median, len(levels))),
            "spearman": _rounded(spearman(values, means)),
            "spearman_interval": [_rounded(end) for end in _spearman_interval(values, means) or (None, None)],
            "krippendorff_alpha_of_raters": _rounded(
                krippendorff_alpha([list(r.values()) for r in by_sample.values()])
            ),
            "quadratic_kappa_between_raters": _rounded(_between(by_sample, raters_names, levels)),
        }
    return table


def _between(
    by_sample: Mapping[str, Mapping[str, float]], raters: Sequence[str], levels: Sequence[float]
) -> float | None:
    """Mean over pairs of raters, on the samples that both labelled: what a scorer can be held against."""
    found = []
    for one, other in itertools.combinations(raters, 2):
        both = [labels for labels in by_sample.values() if one in labels and other in labels]
        first, second = ([levels.index(labels[name]) for labels in both] for name in (one, other))
        if (kappa := quadratic_kappa(first, second, len(levels))) is not None:
            found.append(kappa)
    return float(np.mean(found)) if found else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
