"""Figures and texts as the report shows them to people."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from infimed_core import MetricValue

TEXT_LIMIT = 4_000
"""Letters of one text shown in the page; the answer files hold all of it."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """``text`` without the control characters and lone surrogates that XML, UTF-8 or a terminal cannot take."""
    return _UNPRINTABLE.sub("\ufffd", text)


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people: ``0.712``, ``12,345``, ``3.4e-05``; a dash for ``None`` and for what is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 1e9 and value == int(value) and (abs(value) >= 1000 or digits == 0):
        return f"{int(value):,}"
    if abs(value) >= 1e9:
        return f"{value:.2e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def p_text(value: float | None) -> str:
    """A p-value for people."""
    return "–" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def num_counted(value: MetricValue) -> int:
    """Questions that a value is over; those that were read in records from before unread answers counted."""
    return value.num_scored if value.num_counted is None else value.num_counted


def mapping(value: Any) -> dict[str, Any]:
    """``value`` where it is a JSON object, else an empty one: details of foreign plugins may be anything."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """``value`` where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def count(value: Any) -> float:
    """``value`` where it is a number, else 0."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def cut(text: Any, limit: int = TEXT_LIMIT) -> str:
    """``text`` as the page shows it: printable, and cut where it is longer than ``limit``."""
    text = str(text)
    rest = len(text) - limit
    return printable(text) if rest <= 0 else f"{printable(text[:limit])} … ({rest:,} more letters)"


class Shown(NamedTuple):
    """A text as the page shows it, and where its letters stand there.

    Attributes:
        first: letters before the gap: they stand where they stand in the text itself.
        second: where the letters behind the gap begin in what is shown.
        back: how much further ahead those stand in the text itself.
    """

    text: str
    first: int
    second: int
    back: int

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Where ``[start, end)`` of the text itself is shown; ``None`` where it is not, or not whole."""
        if 0 <= start < end <= self.first:
            return start, end
        start, end = start - self.back, end - self.back
        return (start, end) if self.second <= start < end <= len(self.text) else None


def cut_inside(text: str, limit: int = TEXT_LIMIT) -> Shown:
    """``text``, printable, and where it is longer than ``limit`` without its middle: a conclusion stands at the end."""
    rest = len(text) - limit
    if rest <= 0:
        return Shown(printable(text), len(text), len(text), 0)
    head, tail = text[: limit // 2], text[limit // 2 + rest :]
    told = f" … ({rest:,} letters left out) … "
    return Shown(f"{printable(head)}{told}{printable(tail)}", len(head), len(head) + len(told), rest - len(told))


def figure(value: Any) -> str:
    """A fact of unknown type for a table cell."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str | list | dict):
        return "yes" if value is True else "no" if value is False else "–"
    if isinstance(value, int | float):
        return number(float(value)) if isinstance(value, float) or abs(value) >= 10**9 else f"{value:,}"
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def heat(value: float | None) -> str:
    """The class of a heat-map cell: 0 to 10, or ``none``."""
    return "heat-none" if value is None else f"heat-{round(min(max(value, 0.0), 1.0) * 10)}"
