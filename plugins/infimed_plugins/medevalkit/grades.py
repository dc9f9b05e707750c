"""What a grader returns for one record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]
"""A row as MedEvalKit writes it to results.json."""


def explained(read: str, statement: str, response: str | None = None) -> str:
    """What was read, the part of the answer that it was read from where that says more, and where that stands.

    "B <- Answer: B [120:129]": characters 120 to 129 (exclusive) of the answer as the model gave it.
    """
    more = " ".join(statement.split())
    told = read if not more or more.casefold() == read.casefold() else f"{read} <- {more}"
    span = span_of(statement or read, response) if read and response else None
    return told if span is None else f"{told} [{span[0]}:{span[1]}]"


_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
_BETWEEN = r"[^\w]{0,40}?(?:\\[a-z]{1,12}|</?[a-z]{1,12}>)?[^\w]{0,40}?_*"
"""What form may stand between two words: signs, a command of TeX, a tag."""


def span_of(statement: str, response: str) -> tuple[int, int] | None:
    """Where the last place that says the statement begins and ends in the answer as given; ``None``: nowhere."""
    words = _WORD.findall(statement)[:60]
    if not words:
        return None
    pattern = re.compile(_BETWEEN.join(map(re.escape, words)), re.IGNORECASE)
    last = None
    for found in pattern.finditer(response[-20_000:] if len(response) > 20_000 else response):
        last = found
    if last is None:
        return None
    offset = max(0, len(response) - 20_000)
    return offset + last.start(), offset + last.end()


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
