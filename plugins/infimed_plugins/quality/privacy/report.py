"""What a de-identification did, as JSON and Markdown; neither holds a name, a value or a path of the source."""

from __future__ import annotations

from collections import Counter
from typing import Any

from infimed_plugins.quality.privacy.copying import Tally
from infimed_plugins.quality.privacy.pixels import INSTALL


def report(tally: Tally, settings: dict[str, Any], wanted: bool) -> dict[str, Any]:
    """The report as a JSON object; its counts add up. ``wanted``: whether pixels were to be read."""
    why = f"no OCR is installed; {INSTALL}" if wanted else "not asked for"
    pixels = "read by OCR" if settings["read_pixels"] else f"unchecked: {why}"
    return {
        "format": 1,
        "settings": settings,
        "num_in": tally.num_in,
        "num_written": tally.num_written,
        "withheld": dict(sorted(tally.withheld.items())),
        "left_out": dict(sorted(tally.left_out.items())),
        "pixels": pixels,
        "changes": _listed(tally.changes, "action"),
        "found_in_the_copy": _listed(tally.found, "reason"),
        "unchecked_in_the_copy": _listed(tally.unchecked, "reason"),
        "items": tally.items,
    }


def _listed(counts: Counter[tuple[str, str]], second: str) -> list[dict[str, Any]]:
    return [{"place": place, second: what, "count": count} for (place, what), count in sorted(counts.items()) if count]


def markdown(body: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["# De-identification", ""]
    withheld, left_out = sum(body["withheld"].values()), sum(body["left_out"].values())
    lines += [
        f"{body['num_in']} in = {body['num_written']} written + {withheld} withheld + {left_out} left out.",
        "",
        f"Pixels: {body['pixels']}.",
        "",
    ]
    clean = "nothing" if not body["found_in_the_copy"] else "see below"
    lines += [f"A scan of the copy found: {clean}. This lowers a risk; it is no guarantee.", ""]
    lines += _table("Withheld", ("reason", "count"), body["withheld"].items())
    lines += _table("Left out", ("reason", "count"), body["left_out"].items())
    lines += _table("Changes", ("place", "action", "count"), (row.values() for row in body["changes"]))
    lines += _table(
        "Found in the copy", ("place", "reason", "count"), (row.values() for row in body["found_in_the_copy"])
    )
    lines += _table(
        "Not looked at in the copy",
        ("place", "reason", "count"),
        (row.values() for row in body["unchecked_in_the_copy"]),
    )
    settings = ", ".join(f"{name}: {value}" for name, value in body["settings"].items())
    return "\n".join([*lines, f"Settings: {settings}.", ""])


def _table(title: str, head: tuple[str, ...], rows: Any) -> list[str]:
    rows = [" | ".join(str(cell) for cell in row) for row in rows]
    if not rows:
        return []
    return [
        f"## {title}",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *(f"| {row} |" for row in rows),
        "",
    ]
