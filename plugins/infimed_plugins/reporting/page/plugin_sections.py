"""Sections of the page that outside plugins write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from infimed_core import load_plugins
from infimed_core.records import Run


class AddedSection(NamedTuple):
    """A section: its anchor, its title, and its HTML or why there is none."""

    anchor: str
    title: str
    html: str
    problem: str


def added_sections(run: Run, offered: Mapping[str, Any] | None = None) -> list[AddedSection]:
    """What the hook ``infimed_report_sections`` offers for this run; one that fails says so in its place."""
    sections = []
    table = load_plugins().table("infimed_report_sections") if offered is None else offered
    for number, (title, write) in enumerate(sorted(table.items())):
        html, problem = "", ""
        try:
            html = write(run)
            if not isinstance(html, str | None):
                html, problem = "", f"it returned a {type(html).__name__}; return HTML as text, or None"
        except Exception as error:
            html, problem = "", f"{type(error).__name__}: {error}"
        if html or problem:
            sections.append(AddedSection(f"added-{number}", title, html or "", problem))
    return sections
