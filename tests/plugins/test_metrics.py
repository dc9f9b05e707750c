"""Metrics are means over what was scored."""

from __future__ import annotations

import numpy as np
import pytest

from infimed_core import Metric, Score, load_plugins
from infimed_plugins.metrics import infimed_metrics, means

SCORES = [
    Score(value=1.0, parts={"em": 1.0, "bleu1": 0.5}),
    Score(value=0.0, parts={"em": 0.0, "bleu1": 0.25}),
    Score(value=1.0, parts={}),
]


def test_accuracy_is_the_mean_value() -> None:
    metric = means.Accuracy()
    assert metric.compute(SCORES) == pytest.approx(2 / 3)
    assert np.array_equal(metric.values(SCORES), [1.0, 0.0, 1.0])
    assert metric.compute([]) is None


def test_accuracy_counts_an_unread_answer_as_not_right_and_says_so_beside_it() -> None:
    scores = [*SCORES, Score(status="unscored")]
    assert means.Accuracy().compute(scores) == 0.5 and means.Coverage().compute(scores) == 0.75
    assert means.AccuracyWhereRead().compute(SCORES) == pytest.approx(2 / 3)
    assert means.Accuracy.shown_with == ("metrics/coverage", "metrics/accuracy_where_read")
    assert means.Accuracy.counts_unread and means.Coverage.counts_unread and not means.AccuracyWhereRead.counts_unread


def test_a_metric_of_the_table_has_an_identity_of_its_own() -> None:
    offered = {name: getattr(means, name) for name in means.PARTS}
    assert [infimed_metrics()[name] for name in means.PARTS] == [f"{means.__name__}:{name}" for name in means.PARTS]
    names = [offered[name]().identity() for name in means.PARTS]
    assert len(set(names)) == len(names) == 15 and all(metric.__doc__ for metric in offered.values())
    assert getattr(means, "bleu-1")().identity() == offered["bleu-1"]().identity()


def test_a_part_is_averaged_over_the_scores_that_have_it() -> None:
    assert getattr(means, "exact-match")().compute(SCORES) == 0.5
    assert getattr(means, "bleu-1")().compute(SCORES) == 0.375
    assert means.PartMean(part="bleu1").compute(SCORES) == 0.375
    assert getattr(means, "rouge-l")().compute(SCORES) is None


def test_values_are_given_exactly_where_the_metric_is_their_mean() -> None:
    values = getattr(means, "bleu-1")().values(SCORES[:2])
    assert values is not None and values.mean() == getattr(means, "bleu-1")().compute(SCORES[:2])
    values = getattr(means, "bleu-1")().values(SCORES)
    assert np.isnan(values).tolist() == [False, False, True], "the last has no such part"
    assert np.nanmean(values) == getattr(means, "bleu-1")().compute(SCORES)


def test_every_offered_name_is_a_metric() -> None:
    offered = infimed_metrics()
    assert {"accuracy", "exact-match", "bleu-1", "bleu-4", "rouge-l", "token-f1"} <= offered.keys()
    assert set(load_plugins().names("metric")) >= offered.keys()
    assert all(issubclass(load_plugins().find("metric", name), Metric) for name in offered)
