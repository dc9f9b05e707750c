"""The verdict on one answer."""

from __future__ import annotations

from typing import NamedTuple

NEEDS_JUDGE = "needs_judge"


class Verdict(NamedTuple):
    """Right, wrong, or ``None`` where the response cannot be read, and why; ``read`` is the answer as read."""

    right: bool | None
    reason: str = ""
    read: str = ""
    statement: str = ""
