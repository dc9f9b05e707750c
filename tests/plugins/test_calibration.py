"""Calibration error, risk and coverage by hand; the curve on the page is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infimed_core import Answer, GradedAnswer, Sample, Score
from infimed_core.testing import check_component
from infimed_plugins.metrics.calibration import AccuracyWhenReferring, CalibrationError, ReferArea, risks
from infimed_plugins.predictions.commands import _altered, _prices
from infimed_plugins.reporting.page.answers import AnswerTables
from infimed_plugins.reporting.page.confidence import accuracies, referring

PAIRS = [(0.95, 1.0), (0.95, 1.0), (0.85, 0.0), (0.55, 1.0), (0.55, 0.0)]


def rows(pairs: list[tuple[float, float | None]]) -> list[GradedAnswer]:
    return [
        GradedAnswer(
            Sample(id=str(number), turns=()),
            Answer(sample_id=str(number), text="x", confidence=sure),
            Score(value=value) if value is not None else Score(status="unscored"),
        )
        for number, (sure, value) in enumerate(pairs)
    ]


def test_calibration_error_by_hand() -> None:
    graded = rows(list(PAIRS))
    # bins: [.5, .6) two answers, .55 against .5; [.8, .9) one, .85 against 0; [.9, 1] two, .95 against 1
    wanted = (2 * 0.05 + 1 * 0.85 + 2 * 0.05) / 5
    assert CalibrationError().compute_answers(graded) == pytest.approx(wanted)
    assert CalibrationError(bins=2).compute_answers(graded) == pytest.approx(abs(sum(a - b for a, b in PAIRS)) / 5)
    assert CalibrationError().compute_answers(rows([])) is None
    bare = [GradedAnswer(row.sample, Answer(sample_id="0", text="x"), row.score) for row in graded]
    assert CalibrationError().compute_answers(bare) is None, "no confidence, no value"


def test_risk_and_coverage_by_hand_with_ties_in_any_order() -> None:
    graded = rows(list(PAIRS))
    wanted = [0.0, 0.0, 1 / 3, 1.5 / 4, 2 / 5]
    sure, right = np.array([pair[0] for pair in PAIRS]), np.array([pair[1] for pair in PAIRS])
    assert risks(sure, right) == pytest.approx(wanted) and risks(sure[::-1], right[::-1]) == pytest.approx(wanted)
    assert ReferArea().compute_answers(graded) == pytest.approx(sum(wanted) / 5)
    assert AccuracyWhenReferring(share=0.4).compute_answers(graded) == 1.0
    assert AccuracyWhenReferring(share=0.8).compute_answers(graded) == pytest.approx(1 - 1.5 / 4)
    assert AccuracyWhenReferring(share=1.0).compute_answers(graded) == pytest.approx(3 / 5)
    unread = rows([(0.9, None), (0.1, 1.0)])
    assert AccuracyWhenReferring(share=0.5).compute_answers(unread) == 0.0, "an unread answer is not right"
    assert accuracies(PAIRS) == pytest.approx([1 - risk for risk in wanted])


def test_the_page_has_a_curve_where_answers_have_a_confidence() -> None:
    tables = AnswerTables(benchmarks=["own", "other"], models=["a", "most-common-answer"])
    tables.confidences["own", "a"] = PAIRS * 5
    (found,) = referring(tables)
    assert found.benchmark == "own" and "<svg" in found.drawing
    assert found.rows[0][:2] == ("a", 25) and found.rows[0][2][-1] == pytest.approx(0.6)


def test_metrics_are_components_and_their_settings_are_checked() -> None:
    for metric in (CalibrationError(), ReferArea(), AccuracyWhenReferring()):
        check_component(metric)
    with pytest.raises(ValueError, match="share"):
        AccuracyWhenReferring(share=0.0)


def test_the_command_asks_again_only_in_ways_that_suit_the_questions(tmp_path: Path) -> None:
    fixtures = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"
    text = {"use": "medqa-usmle", "with": {"path": str(fixtures / "medqa-usmle")}}
    assert [one["use"] for one in _altered(text)] == ["paraphrased", "option-shuffled"]
    pictures = {"use": "pmc-vqa", "with": {"path": str(fixtures / "pmc-vqa")}}
    names = [one["name"] for one in _altered(pictures)]
    assert names == [f"pmc-vqa-{way}" for way in ("wrong-image", "degraded-image", "paraphrased", "option-shuffled")]
    assert _prices(["gpt=1.25/10"]) == {"gpt": {"prompt": 1.25, "answer": 10.0}}
