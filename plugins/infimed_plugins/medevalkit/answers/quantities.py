"""Numbers with a unit, so that 30 mm is 3 cm and 3 mm is not."""

from __future__ import annotations

import re
from typing import NamedTuple

from infimed_plugins.medevalkit.answers.folding import fold
from infimed_plugins.medevalkit.answers.form import plain
from infimed_plugins.medevalkit.answers.values import NUMBERS

UNITS: dict[str, tuple[str, float]] = {
    "nm": ("length", 1e-9), "um": ("length", 1e-6), "µm": ("length", 1e-6), "μm": ("length", 1e-6),
    "micron": ("length", 1e-6), "micrometer": ("length", 1e-6), "micrometre": ("length", 1e-6),
    "mm": ("length", 1e-3), "millimeter": ("length", 1e-3), "millimetre": ("length", 1e-3),
    "cm": ("length", 1e-2), "centimeter": ("length", 1e-2), "centimetre": ("length", 1e-2),
    "m": ("length", 1.0), "meter": ("length", 1.0), "metre": ("length", 1.0),
    "µg": ("mass", 1e-6), "μg": ("mass", 1e-6), "mcg": ("mass", 1e-6), "microgram": ("mass", 1e-6),
    "mg": ("mass", 1e-3), "milligram": ("mass", 1e-3), "g": ("mass", 1.0), "gram": ("mass", 1.0),
    "kg": ("mass", 1e3), "kilogram": ("mass", 1e3),
    "ml": ("volume", 1e-3), "milliliter": ("volume", 1e-3), "millilitre": ("volume", 1e-3), "cc": ("volume", 1e-3),
    "dl": ("volume", 0.1), "l": ("volume", 1.0), "liter": ("volume", 1.0), "litre": ("volume", 1.0),
    "s": ("time", 1.0), "sec": ("time", 1.0), "second": ("time", 1.0), "min": ("time", 60.0), "minute": ("time", 60.0),
    "h": ("time", 3600.0), "hr": ("time", 3600.0), "hour": ("time", 3600.0), "day": ("time", 86400.0),
    "week": ("time", 604800.0), "month": ("months", 1.0), "year": ("months", 12.0),
}  # fmt: skip
"""Unit -> what it measures, and in how many of one unit. Months stand apart, as they have no fixed length in days."""

_NAMES = "|".join(sorted(UNITS, key=len, reverse=True))
_COUNT = rf"\d+(?:\.\d+)?|{'|'.join(NUMBERS)}"
_QUANTITY = re.compile(rf"(?<![\w.,/-])({_COUNT})[ -]?({_NAMES})s?(?![\w/²³^]|\s?[x×*/] ?\d)", re.IGNORECASE)


_PRODUCT = re.compile(r"\d ?(?:[a-z]{1,2} ?)?[x×*] ?\d|\d ?(?:-|to) ?\d", re.IGNORECASE)


class Quantity(NamedTuple):
    """A value in the one unit of its kind."""

    kind: str
    value: float


def quantities_in(text: str) -> list[Quantity]:
    """Every quantity of a plain text; none where two are a range or a product."""
    return [] if _PRODUCT.search(text) else [_of(found) for found in _QUANTITY.finditer(text)]


def quantity_of(text: str) -> Quantity | None:
    """The quantity that a text is, and nothing else."""
    found = _QUANTITY.fullmatch(plain(fold(text)).strip(" ."))
    return _of(found) if found else None


def _of(found: re.Match[str]) -> Quantity:
    kind, factor = UNITS[found[2].lower()]
    return Quantity(kind, float(NUMBERS.get(found[1].lower(), found[1])) * factor)
