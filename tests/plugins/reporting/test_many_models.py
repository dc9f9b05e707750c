"""Eight models on three sets: a leaderboard with ties, a matrix of pairs that fits every screen, unread answers."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from infimed_core import MetricValue, adjust, compare_answers, interval
from infimed_core.api.reporting import Comparison, ResultRow, RunRecord, StepRecord
from infimed_core.plugins import load_plugins
from infimed_core.records import open_run
from infimed_core.testing import make_sample
from infimed_plugins.reporting.compare.comparison import Difference, RunComparison, Value, _unshared
from infimed_plugins.reporting.compare.page import matrices, page
from infimed_plugins.reporting.compare.text import as_markdown
from infimed_plugins.reporting.page.doubts import Unread, no_better, no_model, unread, unread_lines, unread_of
from infimed_plugins.reporting.page.leaderboard import leaderboard
from infimed_plugins.reporting.page.names import does_not_look, own_name
from infimed_plugins.reporting.page.page import write_report
from infimed_plugins.reporting.page.tables import benchmark_tables
from infimed_plugins.reporting.summary import summary_text

sys.path.insert(0, str(Path(__file__).parent))

from browser import CHROMIUM, WHY_NOT, open_browser

SETS = ("pubmedqa", "medqa-usmle", "omnimedvqa-modality")
TRUTH = {
    "qwen3-vl-8b-instruct": 0.80, "medgemma-27b-it": 0.79, "lingshu-32b": 0.70, "huatuogpt-vision-34b": 0.69,
    "internvl3-14b": 0.60, "llava-med-v1-5-mistral-7b": 0.45, "healthgpt-14b": 0.44, "always-a": 0.25,
}  # fmt: skip
NUM = 1000


def answers(share: float, seed: int) -> Any:
    from infimed_core import Answer, GradedAnswer, Score

    luck = np.random.default_rng(seed).random(NUM)
    sample = make_sample()
    graded = [Score(value=float(one < share)) for one in luck]
    return [GradedAnswer(sample, Answer(sample_id="a", text=""), score) for score in graded]


@pytest.fixture(scope="module")
def record() -> RunRecord:
    """A run whose values and comparisons come from drawn answers of known accuracy, by the core's own arithmetic."""
    accuracy: Any = load_plugins().make("metric", "accuracy")
    results, comparisons = [], []
    for place, name in enumerate(SETS):
        rows = {model: answers(share, seed=place) for model, share in TRUTH.items()}
        # the same luck for all: the pair 0.80 and 0.79 differs on one question in a hundred
        for number, model in enumerate(TRUTH):
            values = [row.score.value for row in rows[model]]
            low, high = interval(values)
            value = MetricValue(value=float(np.mean(values)), low=low, high=high, num_scored=NUM, num_counted=NUM)
            results.append(
                ResultRow(benchmark=name, version="1", model=model, scoring="strict", metrics={"accuracy": value})
            )
            for other in list(TRUTH)[:number]:
                found = compare_answers(
                    rows[model], rows[other], accuracy, [str(n) for n in range(NUM)],
                    benchmark=name, scoring="strict", metric_name="accuracy", model=model, against=other,
                )  # fmt: skip
                assert found is not None
                comparisons.append(found)
    return RunRecord(
        name="eight", status="done", started="2026-01-01", config={}, results=tuple(results),
        comparisons=tuple(adjust(comparisons)),
    )  # fmt: skip


def differences(record: RunRecord) -> tuple[Difference, ...]:
    return tuple(Difference(of=one.benchmark, **one.model_dump()) for one in record.comparisons)


def comparison(record: RunRecord) -> RunComparison:
    values = [
        Value(benchmark=r.benchmark, scoring="strict", metric="accuracy", model=r.model, value=r.metrics["accuracy"])
        for r in record.results
    ]
    return RunComparison(
        models=tuple(TRUTH), values=tuple(values), benchmarks=differences(record), cells=(), means=(),
        unread=("lingshu-32b on pubmedqa: 236 of 500 answers could be read (47.2%); 200 cut off",),
    )  # fmt: skip


def test_the_leaderboard_is_sorted_and_equal_models_share_a_rank(record: RunRecord) -> None:
    board = leaderboard(record)
    assert board is not None and board.mean_of == "accuracy"
    assert [entry.model for entry in board.entries] == sorted(TRUTH, key=lambda name: -TRUTH[name])
    means = {entry.model: entry.mean for entry in board.entries}
    for model, mean in means.items():
        own = [row.metrics["accuracy"] for row in record.results if row.model == model]
        assert mean.value == pytest.approx(np.mean([one.value for one in own]), abs=1e-12)
        assert mean.low is not None and mean.low < mean.value < (mean.high or 0)
        reach = [(one.value or 0) - (one.low or 0) for one in own]
        assert mean.value - mean.low == pytest.approx(np.sqrt(np.square(reach).sum()) / 3, abs=1e-12)
    assert board.entries[-1].rank == "8"


def test_models_that_are_not_shown_to_differ_share_ranks() -> None:
    def row(model: str, value: float) -> ResultRow:
        metrics = {
            "accuracy": MetricValue(value=value, low=value - 0.1, high=value + 0.1, num_scored=50, num_counted=50)
        }
        return ResultRow(benchmark="b", version="1", model=model, scoring="strict", metrics=metrics)

    def pair(model: str, against: str, p: float, difference: float) -> Comparison:
        return Comparison(
            benchmark="b", scoring="strict", metric="accuracy", model=model, against=against, difference=difference,
            low=difference - 0.1, high=difference + 0.1, p_value=p, num_pairs=50,
        )  # fmt: skip

    comparisons = (pair("b", "a", 0.6, -0.02), pair("c", "a", 0.001, -0.4), pair("c", "b", 0.03, -0.38))
    record = RunRecord(
        name="x", status="done", started="", config={}, comparisons=comparisons,
        results=(row("c", 0.4), row("a", 0.8), row("b", 0.78), row("most-common-answer", 0.5)),
        steps=(
            StepRecord(name="e", kind="model", status="failed", subject={"model": "d"}, details={"failure": "gone"}),
        ),
    )  # fmt: skip
    board = leaderboard(record)
    assert board is not None and board.has_ties
    ranks = {entry.model: (entry.rank, entry.note) for entry in board.entries}
    # Holm: 3 * 0.001 and 2 * 0.03 = 0.06: c is worse than a by more than chance, and than b it is not shown to be
    assert ranks == {"a": ("1–2", ""), "b": ("1–3", ""), "c": ("2–3", ""), "d": ("", "not asked: gone")}
    assert [entry.model for entry in board.baselines] == ["most-common-answer"]


@pytest.mark.parametrize("first", ["shuffled", "plain-likelihood"])
def test_questions_asked_again_are_no_part_of_the_mean(first: str) -> None:
    shares = {"plain": 0.6, "other": 0.8, "plain-likelihood": 0.1, "shuffled": 0.2}
    scorings = {"plain-likelihood": "likelihood"}

    def row(benchmark: str, model: str, more: float) -> ResultRow:
        value = MetricValue(value=shares[benchmark] + more, low=0.0, high=1.0, num_scored=50, num_counted=50)
        scoring = scorings.get(benchmark, "strict")
        return ResultRow(benchmark=benchmark, version="1", model=model, scoring=scoring, metrics={"accuracy": value})

    inner = {"benchmark": {"use": "medqa-usmle"}}
    uses = [
        {"use": "option-shuffled", "name": "shuffled", "with": inner}, {"use": "medqa-usmle", "name": "plain"},
        {"use": "likelihood", "name": "plain-likelihood", "with": inner}, {"use": "pubmedqa", "name": "other"},
    ]  # fmt: skip
    order = [first, *(name for name in sorted(shares, reverse=True) if name != first)]
    rows = tuple(row(name, model, more) for name in order for model, more in (("a", 0.0), ("b", 0.1)))
    board = leaderboard(
        RunRecord(name="x", status="done", started="", config={"evaluation": {"benchmarks": uses}}, results=rows)
    )
    assert board is not None and board.mean_over == ("plain", "other") and len(board.columns) == 4
    assert {entry.model: entry.mean.value for entry in board.entries} == pytest.approx({"a": 0.7, "b": 0.8})
    assert [entry.mean.num_scored for entry in board.entries] == [100, 100]


def test_a_value_of_fewer_questions_says_so_beside_the_model() -> None:
    def row(model: str, number: int) -> ResultRow:
        metrics = {"accuracy": MetricValue(value=0.8, low=0.7, high=0.9, num_scored=number, num_counted=number)}
        return ResultRow(benchmark="b", version="1", model=model, scoring="strict", metrics=metrics)

    results = (row("whole", 140), row("half", 60), row("nearly", 139))
    board = leaderboard(RunRecord(name="x", status="done", started="", config={}, results=results))
    assert board is not None
    notes = {entry.model: entry.note for entry in board.entries}
    assert notes == {"whole": "", "half": "only 60 of 140 questions", "nearly": ""}


def test_every_pair_stands_in_the_matrix_twice_with_opposite_signs(record: RunRecord) -> None:
    found = matrices(differences(record))
    assert [matrix.name for matrix in found] == list(SETS)
    for matrix in found:
        assert matrix.models == tuple(sorted(TRUTH, key=lambda name: -TRUTH[name]))
        for i, cells in enumerate(matrix.rows):
            for j, cell in enumerate(cells):
                mirrored = matrix.rows[j][i]
                assert (cell is None) == (i == j)
                if cell is not None and mirrored is not None:
                    assert float(cell.text) == -float(mirrored.text)
                    assert {cell.kind, mirrored.kind} in ({"same"}, {"better", "worse"})
    assert matrices(differences(record)[:1]) == []


def test_a_model_that_shares_no_question_with_many_is_told_once() -> None:
    pairs = [("x", "dead", "a"), ("x", "b", "dead"), ("x", "dead", "c"), ("y", "dead", "a"), ("y", "dead", "b")]
    pairs += [("y", "c", "dead"), ("z", "a", "b")]
    assert _unshared(pairs) == [
        "x, y: no question that dead and others have a result for",
        "z: no question that both a and b have a result for",
    ]


def test_models_without_their_images_stand_in_no_matrix_and_nothing_is_minus_nothing(record: RunRecord) -> None:
    rows = differences(record)
    blind = [row.model_copy(update={"against": row.model + "-image-blind"}) for row in rows]
    nothing = rows[0].model_copy(update={"difference": -0.0})
    found = matrices([nothing, *rows[1:], *blind])
    assert [matrix.models for matrix in found] == [matrix.models for matrix in matrices(rows)]
    shown = [cell.text for matrix in found for cells in matrix.rows for cell in cells if cell]
    assert shown.count("0.0") >= 2 and not {"-0.0", "+0.0"} & set(shown)


def test_unread_answers_are_told_with_reasons_and_bounds() -> None:
    value = MetricValue(value=0.446, num_scored=236, num_unscored=267, num_counted=500)
    details = {"errors": 3, "unread": {"truncated": 200, "refusal": 64}}
    found = unread_of(details, "pubmedqa", "thinker", "accuracy", value)
    assert found is not None
    # 223 right of 503 asked; 264 unread and 3 unanswered might all be right
    assert found.bounds == pytest.approx((223 / 503, (223 + 267) / 503))
    assert found.line == (
        "thinker on pubmedqa: 236 of 503 answers could be read (46.9%); 200 cut off at the length limit, 64 refused, "
        "3 without an answer (each answer names its error). Its accuracy is 0.443 if all of these are wrong and "
        "0.974 if all are right."
    )
    whole = MetricValue(value=0.5, num_scored=495, num_unscored=5, num_counted=500)
    assert unread_of({}, "b", "m", "accuracy", whole) is None


def test_a_model_that_does_not_beat_a_constant_is_named_at_the_head() -> None:
    one = Comparison(
        benchmark="b", scoring="strict", metric="accuracy", model="base", against="most-common-answer",
        difference=0.01, low=-0.02, high=0.04, p_value=0.4, num_pairs=500,
    )  # fmt: skip
    row = ResultRow(
        benchmark="b", version="1", model="base", scoring="strict",
        metrics={"accuracy": MetricValue(value=0.5, num_scored=400, num_unscored=100, num_counted=500)},
    )  # fmt: skip
    config = {"model": {"use": "openai-compatible", "with": {"model": "Qwen/Qwen3-VL-8B"}}}
    record = RunRecord(name="x", status="done", started="", config=config, results=(row,), comparisons=(one,))
    assert list(no_better(record)) == [
        "Qwen3-VL-8B is not shown to be better than the most common answer on b (+0.010 [-0.020, +0.040], n 500)."
    ]
    below = one.model_copy(update={"difference": -0.2, "low": -0.3, "high": -0.1})
    assert list(no_better(record.model_copy(update={"comparisons": (below,)}))) == [
        "Qwen3-VL-8B is worse than the most common answer on b (-0.200 [-0.300, -0.100], n 500)."
    ]
    assert [line.model for line in unread(record)] == ["Qwen3-VL-8B"]
    assert own_name(record, "base-image-blind") == "Qwen3-VL-8B-image-blind"
    floor = record.model_copy(update={"config": {"model": {"use": "constant", "with": {"text": "A"}}}})
    assert list(no_better(floor)) == [] and unread(floor) == []
    assert list(no_model(floor)) == [
        "No model of this run looks at the questions (base): its figures say nothing of a model."
    ]
    others = {"models": {"base-2": {"use": "vlm/random"}, "base": {"use": "my-plugin/constant"}}}
    assert does_not_look(record.model_copy(update={"config": others}), "base-2")
    assert not does_not_look(record.model_copy(update={"config": others}), "base")
    assert list(no_model(record)) == []
    trained = record.model_copy(update={"config": {**config, "training": {"use": "staged"}}})
    assert own_name(trained, "base") == "base"


def test_what_is_true_of_many_models_is_said_once() -> None:
    def pair(model: str, benchmark: str, low: float) -> Comparison:
        return Comparison(
            benchmark=benchmark, scoring="strict", metric="accuracy", model=model, against=model + "-image-blind",
            difference=0.01, low=low, high=0.04, p_value=0.4, num_pairs=50,
        )  # fmt: skip

    def row(model: str, benchmark: str) -> ResultRow:
        value = MetricValue(value=0.5, num_scored=50, num_counted=50)
        return ResultRow(benchmark=benchmark, version="1", model=model, scoring="strict", metrics={"accuracy": value})

    pairs = [pair("a", "x", -0.1), pair("a", "y", -0.1), pair("b", "x", -0.1), pair("b", "y", 0.001)]
    record = RunRecord(
        name="x", status="done", started="", config={}, comparisons=tuple(pairs),
        results=tuple(row(model, benchmark) for model in "abc" for benchmark in "xy"),
    )  # fmt: skip
    assert [line.partition(" is ")[0] for line in no_better(record)] == ["a", "b"], "two models: a sentence each"
    more = record.model_copy(update={"comparisons": (*pairs, pair("c", "x", 0.0))})
    assert list(no_better(more)) == [
        "These are not shown to be better than themselves without the images (figures in the tables): "
        "a on x, y; b on x; c on x."
    ]


def test_unread_answers_stand_together_by_model_and_a_silent_one_is_one_line() -> None:
    def one(model: str, benchmark: str, num_read: int, num_errors: int) -> Unread:
        return Unread(benchmark, model, 20, num_read, num_errors, (), None)

    found = [one("dead", "x", 0, 20), one("m", "x", 5, 0), one("dead", "y", 0, 20), one("m", "y", 10, 0)]
    assert dict(unread_lines(found)) == {
        "dead": "dead: none of its questions got an answer (20 of x, 20 of y).",
        "m": "m on x: 5 of 20 answers could be read (25.0%).\nm on y: 10 of 20 answers could be read (50.0%).",
    }
    assert dict(unread_lines(found[:1])) == {"dead": found[0].line}


def test_a_difference_is_a_line_that_does_not_break(tmp_path: Path, record: RunRecord) -> None:
    (tmp_path / "run.json").write_text(record.model_dump_json())
    against = record.comparisons[0].model_copy(
        update={"model": "llava-med-v1-5-mistral-7b", "against": "llava-med-v1-5-mistral-7b-image-blind",
                "difference": 0.373, "low": 0.297, "high": 0.45, "num_pairs": 1390}
    )  # fmt: skip
    (tmp_path / "run.json").write_text(record.model_copy(update={"comparisons": (against,)}).model_dump_json())
    for width in (80, 110):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(summary_text(open_run(tmp_path)))
        lines = [line.split() for line in console.export_text().splitlines() if "less without" in line]
        assert lines == [["less", "without", "images", "+0.373", "[+0.297,", "+0.450]", "1,390"]]


def test_each_form_of_a_mixed_benchmark_stands_before_the_whole(tmp_path: Path) -> None:
    def row(value: float, num: int, **group: str) -> ResultRow:
        own = MetricValue(value=value, num_scored=num, num_counted=num)
        return ResultRow(
            benchmark="own", version="1", model="m", scoring="strict", group=group, metrics={"accuracy": own}
        )

    rows = (row(0.5, 40), row(0.9, 20, form="choice"), row(0.1, 20, form="open"), row(0.5, 40, form="x", modality="CT"))
    record = RunRecord(name="x", status="done", started="", config={}, results=rows)
    (table,) = benchmark_tables(record)
    assert [(form, values[0][1].value) for form, values in table.forms] == [("choice", 0.9), ("open", 0.1)]
    alone = record.model_copy(update={"results": rows[:2]})
    assert benchmark_tables(alone)[0].forms == (), "one form alone is the whole"
    (tmp_path / "run.json").write_text(record.model_dump_json())
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(summary_text(open_run(tmp_path)))
    text = console.export_text()
    assert text.index("m, choice") < text.index("m, open") < text.index("0.500")


def test_what_was_not_read_comes_before_every_table(record: RunRecord) -> None:
    text = as_markdown(comparison(record))
    assert text.index("236 of 500 answers could be read") < text.index("## Models")


WIDE = "document.documentElement.scrollWidth <= window.innerWidth"
FITS = (
    "[...document.querySelectorAll('table.pairs, table.values, table.results, .difference')]"
    ".map(shown => shown.getBoundingClientRect().right).every(right => right <= window.innerWidth)"
)


TALLEST = (
    "Math.max(...[...document.querySelectorAll('.results tbody tr')].map(row => row.getBoundingClientRect().height))"
)


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_the_pages_fit_a_wide_screen_and_a_phone(record: RunRecord, tmp_path: Path) -> None:
    compared = tmp_path / "compare.html"
    compared.write_text(page(comparison(record)))
    run = tmp_path / "runs"
    run.mkdir()
    (run / "run.json").write_text(record.model_dump_json())
    report = write_report(run)
    with open_browser(tmp_path / "browser", seconds=200) as opened:
        for width in (1400, 360):
            opened.resize(width, 900)
            opened.problems.clear()
            opened.command("Page.navigate", url=compared.as_uri())  # it has no script that says when it is ready
            opened.wait("document.readyState === 'complete' && document.querySelectorAll('table.pairs').length === 3")
            assert opened.evaluate(WIDE), f"the comparison is wider than {width} pixels"
            assert opened.evaluate(FITS), f"a table is wider than {width} pixels"
            opened.open(report)
            assert opened.evaluate(WIDE), f"the report is wider than {width} pixels"
            assert opened.evaluate(FITS), f"a result's differences are beyond {width} pixels"
            tallest = opened.evaluate(TALLEST)
            assert 0 < tallest < 200, f"a row of results is {tallest} pixels tall at {width}"
            assert opened.evaluate("document.querySelectorAll('.results details').length") == 3 * 7, "pairs are folded"
            first = opened.evaluate("document.querySelector('.board tbody th').textContent.trim()")
            assert first == "qwen3-vl-8b-instruct" and not opened.problems
