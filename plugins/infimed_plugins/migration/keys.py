"""What became of a key of another tool, and the tables that say it for every key."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["same", "differs", "by hand", "always", "none"]
"""same: a setting here means the same; differs: there is one, with a difference that the note says; by hand: there
is one, which is not written for you; always: nothing to
set, InfiMed does so or does not need it; none: there is nothing like it."""


@dataclass(frozen=True)
class Key:
    """A key of another tool: what became of it, where that is set here, and what one should know of it."""

    verdict: Verdict
    path: str = ""
    note: str = ""


@dataclass
class Settings:
    """The settings of another tool's file; remembers which were looked at."""

    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """What is set, else the other tool's default, else ``None``."""
        value = self.values.get(name)
        return self.defaults.get(name) if value is None else value

    def number(self, name: str) -> float:
        """A number; YAML reads ``1e-4`` as text.

        Raises:
            ValueError: it is no number.
        """
        value = self.get(name)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{name}: {value!r} is no number") from error
        if not math.isfinite(number):
            raise ValueError(f"{name}: {value!r} is no number")
        return number

    def flag(self, name: str) -> bool:
        """A switch, in the spellings of a command line too."""
        value = self.get(name)
        return value.strip().lower() in ("true", "1", "yes", "y", "t") if isinstance(value, str) else bool(value)

    def names(self, name: str) -> list[str]:
        """A list, or names with commas between."""
        value = self.get(name)
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else ()
        if value is not None and not isinstance(value, (str, list)):
            raise ValueError(f"{name}: {value!r} is no list of names")
        return [text for part in parts if (text := str(part).strip())]


@dataclass(frozen=True)
class Account:
    """One line of the account: a key as it was set, and what became of it."""

    key: str
    value: Any
    verdict: Verdict
    path: str
    note: str


def _is_off(value: Any) -> bool:
    """Whether a key is set to nothing, so that leaving it out changes nothing."""
    return value is None or value is False or str(value).strip().lower() in ("", "false", "null", "none", "no")


def account_of(
    values: Mapping[str, Any], table: Mapping[str, Key], changed: Mapping[str, Key], tool: str
) -> Iterator[Account]:
    """What became of every key that is set; ``changed`` overrides the table where the value decides."""
    unknown = Key("none", note=f"no key of {tool} that is known here: is it misspelt, or newer?")
    for name, value in values.items():
        key = changed.get(name) or table.get(name) or unknown
        if key is not unknown and key.verdict == "none" and _is_off(value):
            key = Key("always", note="off there, and here")
        yield Account(name, value, key.verdict, key.path, key.note)
