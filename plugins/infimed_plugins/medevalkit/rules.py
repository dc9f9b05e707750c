"""The rules of grading as a digest: where one of them changed, a run grades the answers that it has again."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_MODULES = (
    "grades", "grading", "judging", "kit_grading", "kit_text", "measures", "mmmu", "overlap", "reports", "rubric",
)  # fmt: skip


def files_of_rules() -> list[Path]:
    """Every file whose change can change a grade."""
    here = Path(__file__).parent
    answers = sorted(file for file in (here / "answers").iterdir() if file.suffix in (".py", ".txt"))
    return [here / f"{name}.py" for name in _MODULES] + answers


@cache
def digest_of_rules() -> str:
    """sha256 (hexadecimal) over the source of every rule that reads or grades an answer.

    A number that is raised by hand is forgotten one day, and then old grades stand beside new ones.
    """
    found = hashlib.sha256()
    for file in files_of_rules():
        found.update(f"{file.name}|{file.stat().st_size}|".encode() + file.read_bytes())
    return found.hexdigest()
