"""What the data cards, and the benchmarks that are made of them, are called."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "tasks"


def names() -> list[str]:
    """Component names of all benchmarks, without reading a card."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def title_of(name: str) -> str:
    """The class name of a benchmark's component."""
    return "".join(part.capitalize() for part in name.split("-"))
