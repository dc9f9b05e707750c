"""Figures and texts as the report shows them to people."""

from __future__ import annotations

import math


def printable(text: str) -> str:
    """``text`` without the control characters and lone surrogates that neither XML nor UTF-8 can hold."""
    return "".join(
        letter
        if letter in "\n\t"
        or (letter >= " " and not "\ud800" <= letter <= "\udfff" and letter not in "\x7f\ufffe\uffff")
        else "\ufffd"
        for letter in text
    )


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
