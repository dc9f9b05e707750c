"""The statistics agree with scipy, hold their nominal level and do not depend on order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from infimed_core.evaluate import statistics
from infimed_core.evaluate.mcnemar import exact_p_value

right_or_wrong = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilson_equals_scipy(num_right: int, num_more: int) -> None:
    num = num_right + num_more
    expected = stats.binomtest(num_right, num).proportion_ci(0.95, method="wilson")
    assert statistics.wilson(num_right / num, num) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_equals_the_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    only_first = sum(a and not b for a, b in pairs)
    differing = sum(a != b for a, b in pairs)
    expected = stats.binomtest(only_first, differing, 0.5).pvalue if differing else 1.0
    assert exact_p_value(only_first, differing - only_first) == pytest.approx(expected, abs=1e-12)
    assert exact_p_value(differing - only_first, only_first) == pytest.approx(expected, abs=1e-12)


def test_interval_of_a_mean_agrees_with_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).random(200)
    ours = statistics.interval(values)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_a_callable_statistic_gives_the_interval_of_the_built_in_mean() -> None:
    values = np.random.default_rng(5).random(150)
    clusters = [index // 3 for index in range(150)]
    built_in = statistics.interval(values, clusters)
    called = statistics.interval(values, clusters, 0, 4000, statistic=lambda x: float(x.mean()))
    assert built_in == pytest.approx(called, abs=0.01)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=2, max_size=40))
def test_the_error_over_clusters_is_that_of_statsmodels(rows: list[tuple[float, int]]) -> None:
    import statsmodels.api as sm

    values, clusters = (np.array(side) for side in zip(*rows, strict=True))
    number = len(set(clusters.tolist()))
    found = statistics.clustered_mean(values, clusters.tolist())
    assert found.mean == pytest.approx(values.mean(), abs=1e-12) and found.num_clusters == number
    if number == 1:
        assert found.error == 0.0
        return
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    assert found.error == pytest.approx(fit.bse[0], abs=1e-12)
    if number == len(rows):
        assert found.error == pytest.approx(stats.sem(values), abs=1e-12)
    assert 1.0 <= found.freedom <= number - 1 or number == 2


def test_as_many_degrees_of_freedom_as_clusters_that_make_the_error() -> None:
    even = statistics.clustered_mean([1.0, -1.0] * 20)
    assert even.freedom == 39, "all count alike: G - 1"
    one = statistics.clustered_mean([1.0] + [0.0] * 39)
    assert one.freedom == pytest.approx(2.1, abs=0.1), "one of forty makes nearly all of it"
    p = stats.ttest_1samp([1.0, -1.0] * 19 + [1.0, 1.0], 0.0)
    found = statistics.clustered_mean([1.0, -1.0] * 19 + [1.0, 1.0])
    assert found.p_value() == pytest.approx(p.pvalue, abs=1e-12) and found.freedom == 39
    bounds = p.confidence_interval(0.95)
    assert found.mean + found.half_width() == pytest.approx(bounds.high, abs=1e-12)


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
    assert statistics.interval(values, seed=4) == statistics.interval(values, seed=5), "a mean has a closed form"

    def median(seed: int) -> tuple[float | None, float | None]:
        return statistics.interval(values, seed=seed, num_resamples=200, statistic=lambda x: float(np.median(x)))

    assert median(4) == median(4) and median(4) != median(5)


@given(st.lists(st.floats(-1, 1), min_size=100, max_size=200), st.floats(-0.5, 0.5))
@settings(max_examples=50)
def test_the_middle_of_draws_leaves_out_zero_exactly_where_their_p_value_is_below(
    draws: list[float], shift: float
) -> None:
    found = np.array(draws) + shift
    low, high = statistics.percentiles(found)
    assert (low > 0.0 or high < 0.0) == (statistics.p_of_draws(found) < 0.05)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_follows_its_definition(p_values: list[float]) -> None:
    adjusted = statistics.holm(p_values)
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    running = 0.0
    for rank, index in enumerate(ranked):
        running = max(running, (len(p_values) - rank) * p_values[index])
        assert adjusted[index] == pytest.approx(min(1.0, running))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=40)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert statistics.holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]), abs=1e-12)


@pytest.mark.parametrize("num", [3, 12, 50, 500, 5000])
def test_the_minimum_detectable_difference_is_that_of_statsmodels(num: int) -> None:
    from statsmodels.stats.power import TTestPower

    found = statistics.clustered_mean(np.tile([0.2, -0.2], num)[: num + num % 2])
    smallest = statistics.minimum_detectable_difference(found)
    spread = found.error * np.sqrt(found.num_values)
    expected = TTestPower().solve_power(nobs=found.num_values, alpha=0.05, power=0.8) * spread
    assert smallest == pytest.approx(expected, rel=2e-4), "ours leaves out that the wrong side is found"


def test_the_minimum_detectable_difference_is_found_with_its_power() -> None:
    generator = np.random.default_rng(7)
    noise = generator.normal(0, 0.3, size=(400, 200))
    smallest = statistics.minimum_detectable_difference(statistics.clustered_mean(noise[0]))
    assert smallest is not None
    assert smallest == pytest.approx(2.816 * noise[0].std(ddof=1) / np.sqrt(200), rel=2e-3)
    found = sum(stats.ttest_1samp(row + 2.816 * 0.3 / np.sqrt(200), 0).pvalue < 0.05 for row in noise)
    assert found / 400 == pytest.approx(0.8, abs=0.06)
    for alike in ([0.1], [0.0] * 40):
        nothing = statistics.minimum_detectable_difference(statistics.clustered_mean(alike))
        assert nothing is None, "no spread was seen: nothing is known of it"


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
