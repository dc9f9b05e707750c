"""What each stage gained and lost is counted on pairs; forms at or below their constant are said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from infimed_core import MediaLoader, MetricValue
from infimed_core.records import ResultRow, open_run
from infimed_plugins.reporting.page.answers import read_tables
from infimed_plugins.reporting.page.doubts import weak_forms
from infimed_plugins.reporting.page.movements import Movement, movement, movements
from infimed_plugins.reporting.page.page import render
from infimed_plugins.reporting.page.tables import forgetting
from infimed_plugins.reporting.page.thumbnails import Thumbnails

sys.path.insert(0, str(Path(__file__).parent))

from report_fixture import write_run


def test_a_movement_by_hand() -> None:
    ours, others = {1: 1.0, 2: 0.0, 3: 1.0, 4: 1.0}, {1: 0.0, 2: 1.0, 3: 1.0, 5: 1.0}
    found = movement([1, 2, 3, 4, 5], ours, others, "before")
    assert found == Movement("before", gained=1, lost=1, num=3, difference=0.0) and not found.is_certain
    assert movement([4], ours, others, "before") is None
    assert Movement("x", 6, 0, 10, 0.6).kind == "up" and Movement("x", 5, 0, 10, 0.5).kind == "", "0.031 and 0.0625"
    assert Movement("x", 0, 6, 10, -0.6).kind == "down"


def test_every_cell_says_on_how_many_questions_it_stands(tmp_path: Path) -> None:
    opened = open_run(write_run(tmp_path / "run", questions=60, images=0))
    tables = read_tables(opened, Thumbnails(opened.directory, MediaLoader({}), 0))
    for matrix in forgetting(opened.record):
        rows = movements(opened.record, tables, matrix)
        assert len(rows) == len(matrix.rows)
        for row, (name, values) in zip(rows, matrix.rows, strict=True):
            assert row.steps[0] is None and len(row.steps) == len(values)
            for step in row.steps[1:]:
                assert step is not None and step.num > 0, name
                assert step.gained + step.lost <= step.num
    benchmark, model = opened.answered()[0][0], matrix.columns[1]
    before, after = ({row.sample.id: row for row in opened.answers(benchmark, name)} for name in matrix.columns[:2])
    first = movements(opened.record, tables, forgetting(opened.record)[0])[0].steps[1]
    value = {name: (rows[name].scores["strict"].value or 0.0) for rows in (after,) for name in rows}
    gained = sum(value[name] > (before[name].scores["strict"].value or 0.0) for name in before)
    assert first is not None and (first.gained, first.num) == (gained, len(before)), model
    assert "of 60" in render(opened, max_thumbnails=0)


def test_forms_at_or_below_the_most_common_answer_are_told_in_one_sentence(tmp_path: Path) -> None:
    record = open_run(write_run(tmp_path / "run", questions=4, images=0)).record

    def row(model: str, form: str, value: float, num: int = 50) -> ResultRow:
        own: dict[str, Any] = {"benchmark": "demo-vqa", "version": "1", "model": model, "scoring": "strict"}
        group = {"form": form} if form else {}
        return ResultRow(
            **own, group=group, metrics={"accuracy": MetricValue(value=value, num_scored=num, num_counted=num)}
        )

    rows = [
        row("base", "", 0.1), row("base", "yes/no", 0.0), row("medical", "", 0.7),
        row("medical", "option letter", 0.357),
        row("medical", "yes/no", 0.493), row("medical", "open", 0.9), row("medical", "rare", 0.0, 5),
        row("most-common-answer", "", 0.5), row("most-common-answer", "option letter", 0.357),
        row("most-common-answer", "yes/no", 0.507), row("most-common-answer", "open", 0.3),
        row("most-common-answer", "rare", 1.0, 5),
    ]  # fmt: skip
    (line,) = weak_forms(record.model_copy(update={"results": tuple(rows), "comparisons": ()}))
    assert line == (
        "medical on demo-vqa does no better than the most common answer on these forms of question: option letter "
        "0.357 against 0.357, n 50; yes/no 0.493 against 0.507, n 50."
    )
