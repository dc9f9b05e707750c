"""Metrics of graded answers, with intervals, over all questions and by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from infimed_core.api.evaluation import Benchmark, GradedAnswer, Metric, TextMetric
from infimed_core.api.reporting import MetricValue, ResultRow
from infimed_core.contracts import check_metric
from infimed_core.errors import PluginError
from infimed_core.evaluate import statistics
from infimed_core.evaluate.graded import Graded

FEWEST_RESAMPLED, SMALLEST_PART = 20, 10
"""Clusters, and questions of a metric's smallest part, below which resamples say too little to show an interval."""


def measure_texts(benchmark: Benchmark, rows: Sequence[Graded], metrics: Sequence[TextMetric]) -> list[Graded]:
    """The rows with what every metric of texts measured, among the parts of each scoring that has a value.

    All answers of the benchmark are measured at once; an answer that counts nowhere is not measured, but its reference
    belongs to the corpus that a metric such as CIDEr weights its words by.
    """
    measured = [dict[str, float | None]() for _ in rows]
    texts = [benchmark.compared_texts(row.sample, row.answer) for row in rows]
    for metric in metrics:
        places = [index for index, pairs in enumerate(texts) if metric.section in pairs]
        counted = [any(score.value is not None for score in rows[index].scores.values()) for index in places]
        given = [texts[i][metric.section][1] if counts else None for i, counts in zip(places, counted, strict=True)]
        found = metric.measure([texts[index][metric.section][0] for index in places], given)
        if len(found) != len(places):
            raise PluginError(f"{type(metric).__name__}.measure gave {len(found)} values for {len(places)} answers")
        for index, value in zip(places, found, strict=True):
            measured[index][metric.part] = value
    return [
        Graded(
            row.sample,
            row.answer,
            {
                name: score.model_copy(update={"parts": score.parts | parts}) if score.value is not None else score
                for name, score in row.scores.items()
            },
        )
        for row, parts in zip(rows, measured, strict=True)
    ]


def cluster_ids(benchmark: Benchmark, rows: Sequence[Graded]) -> list[str]:
    """For every row the unit that intervals resample: ``cluster_by`` tag, or the sample itself."""
    tag = benchmark.cluster_by
    return [row.sample.tags.get(tag) or row.sample.id if tag else row.sample.id for row in rows]


def summarise(
    name: str,
    benchmark: Benchmark,
    model: str,
    rows: Sequence[Graded],
    metrics: Mapping[str, Metric],
    seed: int,
    breakdowns: bool = True,
) -> list[ResultRow]:
    """Every metric under every scoring: over all rows, and with ``breakdowns`` by tags and by modality x task type."""
    clusters = cluster_ids(benchmark, rows)
    parts: dict[tuple[tuple[str, str], ...], list[int]] = {(): list(range(len(rows)))}
    groupings: list[tuple[str, ...]] = [(tag,) for tag in dict.fromkeys(benchmark.group_by)]
    if ("modality", "task_type") not in groupings:
        groupings.append(("modality", "task_type"))
    for tags in groupings if breakdowns else ():
        for index, row in enumerate(rows):
            group = tuple((tag, row.sample.tags.get(tag, "unlabelled")) for tag in tags)
            parts.setdefault(group, []).append(index)
    could = {metric_name: could_take_part(metric, benchmark, rows) for metric_name, metric in metrics.items()}
    results = []
    for scoring in rows[0].scores if rows else benchmark.scorings:
        for group, members in sorted(parts.items()):
            units = [clusters[index] for index in members]
            graded = [rows[index].under(scoring) for index in members]
            values = {
                metric_name: measure(metric, graded, units, seed, [could[metric_name][index] for index in members])
                for metric_name, metric in metrics.items()
            }
            results.append(
                ResultRow(
                    benchmark=name,
                    version=benchmark.version,
                    model=model,
                    scoring=scoring,
                    group=dict(group),
                    metrics=values,
                )
            )
    return results


def could_take_part(metric: Metric, benchmark: Benchmark, rows: Sequence[Graded]) -> list[bool]:
    """For every row whether its question is one that the metric measures, scored or not."""
    if isinstance(metric, TextMetric):
        return [metric.section in benchmark.compared_texts(row.sample, row.answer) for row in rows]
    return [not metric.of_open_answers or benchmark.is_open(row.sample) for row in rows]


def counted(metric: Metric, rows: Sequence[GradedAnswer]) -> list[int]:
    """The places of the rows that ``metric`` may see: with a result, and read unless the metric counts unread ones."""
    return [
        place
        for place, row in enumerate(rows)
        if row.has_result and (metric.counts_unread or row.score.value is not None)
    ]


def measure(
    metric: Metric, rows: Sequence[GradedAnswer], clusters: Sequence[str], seed: int, could: Sequence[bool]
) -> MetricValue:
    """A metric over ``rows`` with its interval; what is in one cluster is resampled together.

    A question without a result takes no part, an unread answer only where the metric counts those. Of a measure of open
    answers only the open ones are counted; ``could`` says which rows may take part.
    """
    kept = counted(metric, rows)
    members, units = [rows[index] for index in kept], [clusters[index] for index in kept]
    values = metric.answer_values(members) if members else None
    taking = np.flatnonzero(np.isfinite(values)) if values is not None else np.arange(len(members))
    counts = {
        "num_scored": sum(members[index].score.value is not None for index in taking),
        "num_unscored": sum(row.score.value is None and own for row, own in zip(rows, could, strict=True)),
        "num_counted": len(taking),
    }
    value = metric.compute_answers(members) if members else None
    check_metric(metric, value, values, len(members))
    if value is None:
        return MetricValue(value=None, **counts)
    if values is not None:
        low, high = statistics.interval(values[taking], clusters=[units[index] for index in taking])
    elif (own := metric.interval(members, units)) is not None:
        low, high = own
    else:
        low, high = _resampled_interval(metric, value, members, units, seed)
    return MetricValue(value=value, low=low, high=high, **counts)


def _resampled_interval(
    metric: Metric, value: float, members: Sequence[GradedAnswer], units: Sequence[str], seed: int
) -> tuple[float | None, float | None]:
    """The interval of a metric that is no mean; withheld where resamples of so few questions would mislead.

    Where nothing was seen to vary (all right), a value in [0, 1] gets Wilson's interval over the clusters.
    """
    number = len(set(units))
    if number < FEWEST_RESAMPLED or metric.smallest_part(members) < SMALLEST_PART:
        return None, None
    compute = metric.compute_answers
    low, high = statistics.interval(
        np.arange(len(members)), clusters=units, seed=seed, num_resamples=399,
        statistic=lambda rows: np.nan if (one := compute([members[int(n)] for n in rows])) is None else one,
    )  # fmt: skip
    if low is not None and high is not None and high - low <= statistics.NO_SPREAD:
        return statistics.wilson(value, number) if 0.0 <= value <= 1.0 else (None, None)
    return low, high
