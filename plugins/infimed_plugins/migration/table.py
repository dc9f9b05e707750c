"""The tables of keys as Markdown, for the documents."""

from __future__ import annotations

from collections.abc import Mapping

from infimed_plugins.migration.keys import Key

MARKS = {"same": "the same", "differs": "differs", "by hand": "set it yourself", "always": "not needed", "none": "none"}


def table_of(table: Mapping[str, Key]) -> str:
    """Every key; keys with one fate share a row."""
    fates: dict[Key, list[str]] = {}
    for name, key in sorted(table.items()):
        fates.setdefault(key, []).append(name)
    rows = ["| their key | equivalent | where, and what to know |", "|---|---|---|"]
    order = list(MARKS)
    for key, keys in sorted(fates.items(), key=lambda fate: (order.index(fate[0].verdict), fate[1][0])):
        path = f"`{key.path}`" if key.path else ""
        said = "; ".join(part for part in (path, key.note) if part)
        rows.append(f"| {', '.join(f'`{name}`' for name in keys)} | {MARKS[key.verdict]} | {said} |")
    return "\n".join(rows) + "\n"
