"""Lines of a run file: a reader with its settings, places named from the current folder, values on one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def reader_lines(use: str, settings: dict[str, Any], start: str, doubt: str = "") -> list[str]:
    """The lines of a reader with its settings, the first after ``start``."""
    inner = " " * len(start)
    lines = [f"{start}use: {use}", f"{inner}with:"]
    comments = {"encoding": f"  # {doubt}"} if doubt else {}
    return lines + [f"{inner}  {key}: {yaml_of(value)}{comments.get(key, '')}" for key, value in settings.items()]


def relative(settings: dict[str, Any], current: Path) -> dict[str, Any]:
    """Settings with the places below the current folder named from it."""

    def short(key: str, value: Any) -> Any:
        if isinstance(value, dict):  # of a reader within
            return relative(value, current)
        return shown(Path(value), current) if key in ("path", "image_root") else value

    return {key: short(key, value) for key, value in settings.items()}


def shown(place: Path, current: Path) -> str:
    """A place, from the current folder where it lies below it."""
    return str(place.relative_to(current)) if place.is_relative_to(current) and place != current else str(place)


def yaml_of(value: Any) -> str:
    """A value on one line, quoted where YAML would read something else."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("...\n").strip()
