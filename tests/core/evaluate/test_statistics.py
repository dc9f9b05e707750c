"""The statistics agree with scipy, hold their nominal level and do not depend on order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from infimed_core.evaluate import statistics

right_or_wrong = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilson_equals_scipy(num_right: int, num_more: int) -> None:
    num = num_right + num_more
    expected = stats.binomtest(num_right, num).proportion_ci(0.95, method="wilson")
    assert statistics.wilson(num_right / num, num) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_equals_the_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    first, second = zip(*pairs, strict=True)
    only_first = sum(a and not b for a, b in pairs)
    differing = sum(a != b for a, b in pairs)
    expected = stats.binomtest(only_first, differing, 0.5).pvalue if differing else 1.0
    assert statistics.mcnemar(first, second) == pytest.approx(expected, abs=1e-12)
    assert statistics.mcnemar(second, first) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_refuses_values_between() -> None:
    with pytest.raises(ValueError, match="nothing between"):
        statistics.mcnemar([0.5], [1.0])


def test_interval_of_a_mean_agrees_with_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).random(200)
    ours = statistics.interval(values, seed=1, num_resamples=4000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_few_kinds_and_many_kinds_draw_from_one_law() -> None:
    values = np.repeat([0.0, 1.0], [60, 140])
    jitter = values + np.linspace(0, 1e-9, 200)
    fast = statistics.interval(values, seed=0, num_resamples=8000)
    slow = statistics.interval(np.clip(jitter, 0, 1 + 1e-9), seed=0, num_resamples=8000)
    assert fast == pytest.approx(slow, abs=0.01)


def test_a_callable_statistic_gives_the_interval_of_the_built_in_mean() -> None:
    values = np.random.default_rng(5).random(150)
    clusters = [index // 3 for index in range(150)]
    built_in = statistics.interval(values, clusters, seed=0, num_resamples=4000)
    called = statistics.interval(values, clusters, 0, 4000, statistic=lambda x: float(x.mean()))
    assert built_in == pytest.approx(called, abs=0.01)


def test_clustering_widens_the_interval_of_copies() -> None:
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 100).astype(float), 10)
    clusters = [index // 10 for index in range(1000)]
    low, high = statistics.interval(values)
    wide_low, wide_high = statistics.interval(values, clusters)
    assert low is not None and high is not None and wide_low is not None and wide_high is not None
    assert (wide_high - wide_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        low, high = statistics.interval((generator.random(120) < 0.7).astype(float), seed=trial, num_resamples=500)
        assert low is not None and high is not None
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 300 <= 0.985


@given(right_or_wrong)
@settings(max_examples=50)
def test_an_interval_holds_its_mean_and_stays_in_range(values: list[float]) -> None:
    low, high = statistics.interval(values, num_resamples=200)
    assert low is not None and high is not None
    assert 0.0 <= low <= np.mean(values) + 1e-12 and np.mean(values) - 1e-12 <= high <= 1.0
    assert low < high, "no interval of a finite sample is a point"


def test_no_value_has_no_interval_and_a_bad_one_is_refused() -> None:
    assert statistics.interval([]) == (None, None)
    with pytest.raises(ValueError, match="not finite"):
        statistics.interval([float("nan")])
    with pytest.raises(ValueError, match="cluster ids"):
        statistics.interval([1.0], ["a", "b"])


def test_the_seed_decides_and_nothing_else() -> None:
    values = np.random.default_rng(0).random(500)
    assert statistics.interval(values, seed=4) == statistics.interval(values, seed=4)
    assert statistics.interval(values, seed=4) != statistics.interval(values, seed=5)


@given(st.lists(st.floats(0, 1), min_size=30, max_size=60), st.integers(0, 5))
@settings(max_examples=30)
def test_a_paired_difference_is_antisymmetric(values: list[float], seed: int) -> None:
    other = values[1:] + values[:1]
    difference, low, high = statistics.paired_difference(values, other, seed=seed, num_resamples=100)
    mirrored, mirrored_low, mirrored_high = statistics.paired_difference(other, values, seed=seed, num_resamples=100)
    assert mirrored == pytest.approx(-difference, abs=1e-12)
    assert low <= high and mirrored_low <= mirrored_high
    assert statistics.paired_difference(values, values)[0] == 0.0


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        statistics.paired_difference([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="no pairs"):
        statistics.paired_difference([], [])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_follows_its_definition(p_values: list[float]) -> None:
    adjusted = statistics.holm(p_values)
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    running = 0.0
    for rank, index in enumerate(ranked):
        running = max(running, (len(p_values) - rank) * p_values[index])
        assert adjusted[index] == pytest.approx(min(1.0, running))


def test_the_minimum_detectable_difference_is_found_with_its_power() -> None:
    generator = np.random.default_rng(7)
    noise = generator.normal(0, 0.3, size=(400, 200))
    smallest = statistics.minimum_detectable_difference(noise[0])
    assert smallest is not None
    assert smallest == pytest.approx(2.8016 * noise[0].std(ddof=1) / np.sqrt(200), rel=1e-4)
    found = sum(stats.ttest_1samp(row + 2.8016 * 0.3 / np.sqrt(200), 0).pvalue < 0.05 for row in noise)
    assert found / 400 == pytest.approx(0.8, abs=0.06)
    assert statistics.minimum_detectable_difference([0.1]) is None
    assert statistics.minimum_detectable_difference([0.0] * 40) is None, "no spread was seen: nothing is known of it"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=40))
def test_kappa_follows_its_definition(pairs: list[tuple[str, str]]) -> None:
    first, second = zip(*pairs, strict=True)
    kappa = statistics.cohen_kappa(first, second)
    agreed = np.mean([a == b for a, b in pairs])
    chance = sum(np.mean([a == label for a in first]) * np.mean([b == label for b in second]) for label in "abc")
    if len(set(first) | set(second)) == 1:
        assert kappa is None
    else:
        assert kappa == pytest.approx((agreed - chance) / (1 - chance))


def test_the_paired_bootstrap_rejects_a_true_null_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    p_values = []
    for seed in range(300):
        first = generator.normal(size=60)
        p_values.append(
            statistics.paired_p_value(first, first + generator.normal(size=60), seed=seed, num_resamples=500)
        )
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_the_paired_bootstrap_resamples_clusters() -> None:
    a, b = np.tile([1.0, 1.0, 1.0, 0.0], 10), np.zeros(40)
    alone = statistics.paired_p_value(a, b)
    together = statistics.paired_p_value(a, b, clusters=[i // 20 for i in range(40)])
    assert alone == pytest.approx(1 / 10_001) and together == pytest.approx(1 / 10_001)  # both halves agree
    a = np.array([1.0] * 20 + [0.0] * 20)
    assert (
        statistics.paired_p_value(a, b, clusters=[i // 20 for i in range(40)]) > 0.2 > statistics.paired_p_value(a, b)
    )
    assert statistics.paired_p_value(a, a) == 1.0
    with pytest.raises(ValueError, match="differ in number"):
        statistics.paired_p_value([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="no pairs"):
        statistics.paired_p_value([], [])
