"""General sets are read from their own layouts and stand beside the medical ones in the matrix of forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infimed_core import Answer, Fault, Sample
from infimed_core.records import open_run
from infimed_core.testing import check_benchmark, run
from infimed_plugins.medevalkit.general import ArcChallenge, MMBench
from infimed_plugins.reporting.page.tables import forgetting

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_both_layouts_are_read_and_a_row_without_its_answer_is_a_fault() -> None:
    arc = ArcChallenge(path=str(FIXTURES / "general" / "arc-challenge"))
    rows = list(arc.samples())
    assert [row.references[0] for row in rows if isinstance(row, Sample)] == ["B", "A"], "numbers are letters too"
    assert [row.code for row in rows if isinstance(row, Fault)] == ["bad_answer"]
    pictures = MMBench(path=str(FIXTURES / "general" / "mmbench"))
    first, second = check_benchmark(pictures)
    assert first.options == ("red", "blue") and len(first.media) == 1 and second.references[0] == "B"
    assert "Look at all of it." in second.turns[-1].text and "nan" not in first.turns[-1].text
    for benchmark, sample in ((pictures, second), (arc, rows[0])):
        assert isinstance(sample, Sample) and benchmark.scorings == ("strict",)
        score = benchmark.grade(sample, Answer(sample_id=sample.id, text="The answer is B."), "strict")
        assert score.value == 1.0


def test_they_stand_beside_the_medical_sets_in_the_matrix(tmp_path: Path) -> None:
    sets = ("arc-challenge", "mmbench")
    general = [{"use": name, "with": {"path": str(FIXTURES / "general" / name)}} for name in sets]
    medical: dict[str, Any] = {"use": "medqa-usmle", "with": {"path": str(FIXTURES / "medevalkit/data/medqa-usmle")}}
    models = {name: {"use": "constant", "with": {"text": name}} for name in ("A", "B")}
    document = {
        "run": {"name": "kept"},
        "models": models,
        "evaluation": {"models": ["A", "B"], "benchmarks": [medical, *general], "breakdowns": False},
    }
    run(document, tmp_path)
    (matrix,) = forgetting(open_run(tmp_path / "runs/kept").record)
    assert [name for name, _ in matrix.rows] == ["medqa-usmle", "arc-challenge", "mmbench"]
    assert matrix.columns == ("A", "B") and matrix.rows[2][1][0].value == 0.5
