"""A run whose rules of grading changed is graded again."""

import re
from pathlib import Path

import pytest

from infimed_plugins.medevalkit import benchmark, questions, rules
from infimed_plugins.medevalkit.benchmarks import table

PACKAGE = Path(rules.__file__).parent
NO_RULES = {"cards", "rules"}
"""What the graders import besides: what a benchmark says of itself has its own place in the fingerprint."""


def test_other_rules_are_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test.json").write_text("[]")
    own = questions.Questions.model_validate(
        {"reader": {"use": "llava", "with": {"path": str(tmp_path / "test.json")}}}
    )
    kit = table()["slake"].model_validate({"path": str(tmp_path)})
    before = own.fingerprint(), kit.fingerprint()
    assert before == (own.fingerprint(), kit.fingerprint())
    for module in (questions, benchmark):
        monkeypatch.setattr(module, "digest_of_rules", lambda: "other rules")
    assert own.fingerprint() != before[0] and kit.fingerprint() != before[1]


def test_everything_that_a_grader_imports_is_among_the_rules() -> None:
    files = rules.files_of_rules()
    named = {str(file.relative_to(PACKAGE)) for file in files}
    assert all(file.is_file() for file in files) and "answers/synonyms.txt" in named
    imported = {
        part
        for file in files
        if file.suffix == ".py"
        for part in re.findall(r"^from infimed_plugins\.medevalkit\.(\w+)", file.read_text(), flags=re.M)
    }
    assert imported - NO_RULES - {"answers"} <= {Path(name).stem for name in named}
