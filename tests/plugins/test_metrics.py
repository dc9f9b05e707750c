"""Metrics are means over what was scored."""

from __future__ import annotations

import numpy as np
import pytest

from infimed_core import Metric, Score
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


def test_a_part_is_averaged_over_the_scores_that_have_it() -> None:
    assert means.ExactMatch().compute(SCORES) == 0.5
    assert means.Bleu1().compute(SCORES) == 0.375
    assert means.PartMean(part="bleu1").compute(SCORES) == 0.375
    assert means.RougeL().compute(SCORES) is None


def test_values_are_given_exactly_where_the_metric_is_their_mean() -> None:
    values = means.Bleu1().values(SCORES[:2])
    assert values is not None and values.mean() == means.Bleu1().compute(SCORES[:2])
    values = means.Bleu1().values(SCORES)
    assert np.isnan(values).tolist() == [False, False, True], "the last has no such part"
    assert np.nanmean(values) == means.Bleu1().compute(SCORES)


def test_every_offered_name_is_a_metric() -> None:
    offered = infimed_metrics()
    assert {"accuracy", "exact-match", "bleu-1", "bleu-4", "rouge-l", "token-f1"} <= offered.keys()
    assert all(issubclass(component, Metric) for component in offered.values())
