"""Two models on the same questions: one procedure gives difference, interval and p-value, and they do not disagree."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from infimed_core import Answer, Comparison, GradedAnswer, Metric, Sample, Score, Turn, compare_answers
from infimed_core.evaluate import mcnemar
from infimed_core.evaluate.paired_comparison import adjust, mean_difference
from infimed_core.evaluate.summary import measure
from infimed_plugins.metrics.classes import F1, BalancedAccuracy
from infimed_plugins.metrics.means import Accuracy, AccuracyWhereRead, Coverage
from infimed_plugins.reporting.compare.means import mean_of_differences

sys.path.insert(0, str(Path(__file__).parent))

import simulation

counts = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60)).filter(lambda found: sum(found) > 0)


def graded(values: Sequence[float | str | None], references: Sequence[str] | None = None) -> list[GradedAnswer]:
    """Answers with these scores; ``None`` could not be read, a text is an error."""
    rows = []
    for number, value in enumerate(values):
        wanted = (references[number],) if references else ()
        sample = Sample(id=str(number), turns=(Turn(role="user", content=("?",)),), references=wanted)
        if isinstance(value, str):
            score = Score(status="error", reasons=("no_answer",))
            rows.append(GradedAnswer(sample, Answer(sample_id=str(number), error=value), score))
            continue
        score = Score(value=value, status="unscored" if value is None else "ok")
        rows.append(GradedAnswer(sample, Answer(sample_id=str(number), text=""), score))
    return rows


def alone(rows: Sequence[Any]) -> list[str]:
    return [str(number) for number in range(len(rows))]


def constrained_score(difference: float, first: int, second: int, num: int) -> float:
    """Tango's statistic by its definition: the likelihood is maximised numerically under the given difference."""
    alike = num - first - second

    def loss(share: float) -> float:
        parts = ((first, share + difference), (second, share), (alike, 1 - 2 * share - difference))
        return -sum(count * np.log(max(p, 1e-300)) for count, p in parts if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    spread = num * (2 * share + difference - difference**2)
    return float((first - second - num * difference) / np.sqrt(spread))


@pytest.mark.parametrize(("first", "second", "num"), [(5, 2, 40), (12, 1, 30), (40, 55, 500), (3, 9, 12), (1, 1, 300)])
def test_the_paired_interval_holds_what_tangos_score_test_does_not_reject(first: int, second: int, num: int) -> None:
    low, high = mcnemar.paired_interval(first, second, num)
    for bound in (low, high):
        if abs(bound) < 1 and bound != 0.0:
            assert abs(constrained_score(bound, first, second, num)) == pytest.approx(mcnemar.Z, abs=1e-5)


def test_a_paired_interval_without_a_difference_is_wilsons() -> None:
    for num in (5, 50, 500):
        bound = stats.binomtest(0, num).proportion_ci(0.95, method="wilson").high
        assert mcnemar.paired_interval(0, 0, num) == pytest.approx((-bound, bound), abs=1e-12)


@given(counts)
@settings(max_examples=300)
def test_interval_and_p_value_of_right_and_wrong_answers_never_disagree(found: tuple[int, int, int]) -> None:
    first, second, _ = found
    num = sum(found)
    low, high = mcnemar.paired_interval(first, second, num)
    assert -1 <= low <= (first - second) / num <= high <= 1 and low < high
    assert (low > 0 or high < 0) == (mcnemar.exact_p_value(first, second) < 0.05)
    assert mcnemar.paired_interval(second, first, num) == pytest.approx((-high, -low), abs=1e-10)


def test_the_exact_test_never_rejects_what_the_score_test_keeps() -> None:
    for num in range(1, 3000):
        edge = int(stats.binom.ppf(0.025, num, 0.5))
        for smaller in (edge - 1, edge):
            if smaller >= 0 and 2 * stats.binom.cdf(smaller, num, 0.5) < 0.05:
                assert (num - 2 * smaller) / np.sqrt(num) > mcnemar.Z, "else the interval would hold zero all the same"


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.3, 1.0])), min_size=1, max_size=40
    ),
    st.integers(1, 5),
)
@settings(max_examples=300)
def test_interval_and_p_value_never_disagree(pairs: list[tuple[float, float]], size: int) -> None:
    ours, others = (np.array(side) for side in zip(*pairs, strict=True))
    found = mean_difference(ours, others, [str(place // size) for place in range(len(pairs))])
    assert found is not None
    assert -1 <= found.low <= found.difference + 1e-12 and found.difference - 1e-12 <= found.high <= 1
    assert found.low < found.high and 0 <= found.p_value <= 1
    assert (found.low > 0 or found.high < 0) == (found.p_value < 0.05)
    mirrored = mean_difference(others, ours, [str(place // size) for place in range(len(pairs))])
    assert mirrored is not None and mirrored.p_value == pytest.approx(found.p_value, abs=1e-12)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_graded_values_get_the_t_test_of_scipy() -> None:
    generator = np.random.default_rng(2)
    ours, others = generator.random(80), generator.random(80)
    found = mean_difference(ours, others, alone(ours))
    expected = stats.ttest_rel(ours, others)
    assert found is not None and found.test == "t" and found.degrees_of_freedom == 79
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)
    bounds = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), abs=1e-12)


def test_every_question_with_an_answer_is_a_pair() -> None:
    ours = graded([1.0, 1.0, None, 1.0, "server down", 0.0])
    theirs = graded([1.0, None, None, 0.0, 1.0, "server down"])
    found = compare_answers(ours, theirs, Accuracy(), alone(ours))
    assert found is not None and (found.num_pairs, found.num_unpaired) == (4, 2)
    assert (found.value_model, found.value_against, found.difference) == (0.75, 0.25, 0.5), "unread is not right"
    where_read = compare_answers(ours, theirs, AccuracyWhereRead(), alone(ours))
    assert where_read is not None and where_read.num_pairs == 2 and where_read.difference == 0.5
    coverage = compare_answers(ours, theirs, Coverage(), alone(ours))
    assert coverage is not None and (coverage.value_model, coverage.value_against) == (0.75, 0.5)
    with pytest.raises(ValueError, match="are no pairs"):
        compare_answers(ours, theirs[1:], Accuracy(), alone(ours))


def test_a_grader_that_fails_counts_against_no_server() -> None:
    failed = Score(status="error", reasons=("grading_failed",))
    row = graded([None])[0]
    assert GradedAnswer(row.sample, row.answer, failed).has_result
    assert not GradedAnswer(row.sample, row.answer, Score(status="error", reasons=("no_verdict",))).has_result


def test_the_metric_that_is_shown_is_the_one_that_is_tested() -> None:
    references = ["yes"] * 60 + ["no"] * 20
    always_yes = graded([1.0] * 60 + [0.0] * 20, references)
    always_no = graded([0.0] * 60 + [1.0] * 20, references)
    metric = BalancedAccuracy()
    found = compare_answers(always_no, always_yes, metric, alone(references))
    assert found is not None and (found.value_model, found.value_against, found.difference) == (0.5, 0.5, 0.0)
    assert found.p_value == 1.0 and found.low < 0.0 < found.high
    plain = compare_answers(always_no, always_yes, Accuracy(), alone(references))
    assert plain is not None and plain.difference == -0.5 and plain.p_value is not None and plain.p_value < 1e-4


def test_a_metric_that_is_no_mean_is_tested_on_resamples_of_its_own_rows() -> None:
    generator = np.random.default_rng(4)
    references = ["yes" if draw < 0.3 else "no" for draw in generator.random(300)]
    ours = graded([float(draw < 0.8) for draw in generator.random(300)], references)
    theirs = graded([float(draw < 0.6) if draw > 0.02 else None for draw in generator.random(300)], references)
    for metric in (F1(positive="yes"), BalancedAccuracy()):
        found = compare_answers(ours, theirs, metric, alone(references))
        assert found is not None and found.test == "bootstrap" and found.p_value is not None
        assert found.difference == pytest.approx((found.value_model or 0) - (found.value_against or 0))
        assert 0 < found.low < found.difference < found.high and found.p_value < 0.05
    assert found == compare_answers(ours, theirs, metric, alone(references)), "nothing else decides"


def test_balanced_accuracy_and_f1_equal_those_of_counting() -> None:
    wanted = ["yes", "Yes", "no", "no", "no", "yes"]
    rows = graded([1.0, 0.0, 1.0, 0.0, None, None], wanted)
    assert BalancedAccuracy().compute_answers(rows) == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert F1(positive="yes").compute_answers(rows) == pytest.approx(2 * 1 / (2 * 1 + 1 + 2))
    assert F1(positive="maybe").compute_answers(rows) is None and BalancedAccuracy().compute_answers([]) is None


def test_f1_has_the_interval_of_a_bootstrap_over_its_own_answers() -> None:
    # 20 right and 10 wrong of 30 with "yes", 20 right and 10 wrong of 30 with "no": F1 is 40 / (40 + 10 + 10)
    wanted, values = ["yes"] * 30 + ["no"] * 30, ([1.0] * 20 + [0.0] * 10) * 2
    found = measure(F1(positive="yes"), graded(values, wanted), alone(range(60)), 0, [True] * 60)
    assert found.value == pytest.approx(40 / 60) and found.num_counted == 60
    generator, positive, right = np.random.default_rng(11), np.array(wanted) == "yes", np.array(values) == 1.0
    draws = []
    for _ in range(4000):
        rows = generator.integers(0, 60, 60)
        hits = (right & positive)[rows].sum()
        draws.append(2 * hits / (2 * hits + (~right)[rows].sum()))
    assert [found.low, found.high] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.03)


class Errors(Metric):
    """A third party's metric of scores alone, of which less is better."""

    higher_is_better = False

    def compute(self, scores: Sequence[Score]) -> float | None:
        return float(np.mean([1.0 - (score.value or 0.0) for score in scores]))


def test_a_metric_of_scores_alone_sees_the_read_ones_and_says_which_way_is_better() -> None:
    found = compare_answers(graded([1.0] * 9 + [None]), graded([0.0] * 5 + [1.0] * 5), Errors(), alone(range(10)))
    assert found is not None and found.num_pairs == 9 and not found.higher_is_better
    assert found.difference == pytest.approx(-5 / 9)


@pytest.mark.parametrize(("num", "share"), [(60, 0.3), (150, 0.08), (400, 0.2), (1000, 0.05)])
def test_the_detectable_difference_is_found_four_times_of_five_by_the_exact_test(num: int, share: float) -> None:
    smallest = mcnemar.minimum_detectable(num, share)
    assert smallest is not None
    differing = max(share, smallest)
    generator = np.random.default_rng(num)
    shares = [(differing + smallest) / 2, (differing - smallest) / 2, 1 - differing]
    draws = generator.multinomial(num, shares, size=4000)
    rejected = np.mean([mcnemar.exact_p_value(int(first), int(second)) < 0.05 for first, second, _ in draws])
    assert rejected == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(("num", "share", "difference"), [(40, 0.3, 0.1), (300, 0.05, 0.05), (600, 0.4, 0.06)])
def test_the_exact_power_is_the_sum_over_all_numbers_of_differing_questions(
    num: int, share: float, difference: float
) -> None:
    expected = 0.0
    for differing in range(num + 1):
        to_first = np.arange(differing + 1)
        rejected = 2 * stats.binom.cdf(np.minimum(to_first, differing - to_first), differing, 0.5) < 0.05
        chance = stats.binom.pmf(to_first, differing, (1 + difference / share) / 2)
        expected += stats.binom.pmf(differing, num, share) * float(chance @ rejected)
    assert mcnemar.exact_power(num, share, difference) == pytest.approx(expected, abs=1e-10)


def test_five_questions_cannot_tell_any_two_models_apart() -> None:
    assert mcnemar.minimum_detectable(5, 0.4) is None
    assert mcnemar.minimum_detectable(6, 0.0) == pytest.approx(0.8 ** (1 / 6), abs=1e-6), "all six must differ alike"


def one(difference: float, error: float | None, p_value: float | None = 0.01) -> Comparison:
    return Comparison(
        benchmark="x", scoring="strict", metric="accuracy", model="a", against="b", difference=difference, low=-0.2,
        high=0.2, p_value=p_value, num_pairs=9, standard_error=error, degrees_of_freedom=8.0,
    )  # fmt: skip


def test_a_mean_of_benchmarks_is_welchs() -> None:
    found = mean_of_differences([one(0.1, 0.02), one(0.3, 0.04)])
    error = np.sqrt(0.02**2 + 0.04**2) / 2
    freedom = (0.02**2 + 0.04**2) ** 2 / ((0.02**4 + 0.04**4) / 8)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.2 / error, freedom), abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, freedom) * error, abs=1e-12)
    with pytest.raises(ValueError, match="standard error"):
        mean_of_differences([one(0.1, None)])


def test_what_is_looked_at_besides_does_not_change_the_correction() -> None:
    asked = [one(0.1, 0.02, 0.01), one(0.1, 0.02, 0.04)]
    assert [found.p_adjusted for found in adjust(asked)] == pytest.approx([0.02, 0.04])


@pytest.mark.slow
@pytest.mark.parametrize("layout", simulation.LAYOUTS)
def test_intervals_cover_the_truth(layout: tuple[int, int, float]) -> None:
    values = {share: simulation.coverage_of_values(layout, share, 1000) for share in (0.02, 0.5, 0.98)}
    differences = {shares: simulation.coverage_of_differences(layout, shares, 600) for shares in simulation.PAIRS}
    assert min(values.values()) >= 0.92, values
    assert min(differences.values()) >= 0.92, differences


@pytest.mark.slow
@pytest.mark.parametrize(("num_clusters", "size", "alike"), list(itertools.product((25, 50), (2, 10), (0.05, 0.3))))
def test_equal_models_in_clusters_are_told_equal(num_clusters: int, size: int, alike: float) -> None:
    generator = np.random.default_rng(num_clusters + size)
    units = [str(number // size) for number in range(num_clusters * size)]
    for share in (0.1, 0.5, 0.9):
        found = [
            mean_difference(*simulation.pairs(generator, num_clusters, size, (share, share), alike), units)
            for _ in range(600)
        ]
        assert np.mean([one is not None and one.p_value < 0.05 for one in found]) <= 0.075
