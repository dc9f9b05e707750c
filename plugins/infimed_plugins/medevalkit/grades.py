"""What a grader returns for one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]
"""A row as MedEvalKit writes it to results.json."""


def explained(read: str, statement: str) -> str:
    """What was read, and the part of the answer that it was read from where that says more."""
    more = " ".join(statement.split())
    return read if not more or more.casefold() == read.casefold() else f"{read} <- {more}"


@dataclass(frozen=True)
class Grade:
    """A value in [0, 1] or ``None`` with the reason; ``kind`` is choice, open or closed; ``read`` what was read."""

    value: float | None
    reason: str = ""
    kind: str = "choice"
    read: str = ""
    parts: dict[str, float | None] = field(default_factory=dict)
    statement: str = ""
    """The part of the answer that decided."""
