"""Writes the parts of the pages on benchmarks that are made from data cards, vocabulary and published figures.

`python docs/benchmark_list.py` writes them anew; a test says when they are stale.
"""

from __future__ import annotations

import re
from pathlib import Path

from infimed_core import MODALITIES, TASK_TYPES
from infimed_plugins.medevalkit.cards import Card, cards
from infimed_plugins.medevalkit.layouts import IMAGE_FOLDERS
from infimed_plugins.reporting.compare.published import Published, read_published

HERE = Path(__file__).parent
TARGETS = {"benchmarks.md": ("groups",), "benchmark-list.md": ("layouts", "vocabulary", "sources", "benchmarks")}
"""Page -> its made parts."""
TABLES = HERE.parent / "plugins" / "infimed_plugins" / "medevalkit"
GROUPS = ("medevalkit-7", "text", "chinese", "reports")


def published() -> list[Published]:
    """The committed tables of published figures."""
    files = [TABLES / "published.yaml", TABLES / "published_text.yaml"]
    return [read_published(file.read_text(encoding="utf-8"), file.name) for file in files]


def groups() -> str:
    """One line for each group."""
    lines = []
    for name in GROUPS:
        members = [f"`{card.name}`" for card in cards() if name in card.groups]
        lines.append(f"- `{name}`: {', '.join(members)}")
    return "\n".join(lines)


def vocabulary() -> str:
    """The two lists with the labels that are read as each name."""
    lines = []
    for title, table in (("modality", MODALITIES), ("task type", TASK_TYPES)):
        lines += [f"| {title} | is also read from |", "|---|---|"]
        lines += [f"| {name} | {', '.join(labels)} |" for name, labels in table.items()]
        lines.append("")
    return "\n".join(lines).rstrip()


def sources() -> str:
    """Where the published figures are from, and what is known of how they were made."""
    return "\n".join(
        f"- *{name}*: {source.title}, <{source.address}>. {source.protocol}"
        for table in published()
        for name, source in table.sources.items()
    )


OWN_FILES = {
    "pubmedqa": "or the authors' own: `ori_pqal.json`, `test_ground_truth.json`",
    "mmmu-medical-test": "`answer.json` beside them has the answers that are kept back",
    "cmb": "`CMB-Exam/CMB-test/*answer*.json` beside it has the answers",
}
"""What a folder may hold besides, by benchmark."""


def layouts() -> str:
    """A table of what each benchmark's local folder holds."""
    lines = ["| benchmark | below `path` | fields of a question | images |", "|---|---|---|---|"]
    for card in cards():
        source = card.source
        named = [f"`{name}`" for name in source.files]
        folders = [f"{config}/" for config in (source.configs[:1] or ((source.config,) if source.config else ()))]
        hub = f"`{''.join(folders)}{source.split}.*` or `data/{''.join(folders)}{source.split}-*`"
        where = ", or ".join(named) or hub
        where += f" for each of {len(source.configs)} configurations" if source.configs else ""
        where += f"; {OWN_FILES[card.name]}" if card.name in OWN_FILES else ""
        fields = ", ".join(f"`{name}`" for name in card.fields.values())
        folder = [f"`{name}/`" if name else "`path` itself" for name in IMAGE_FOLDERS.get(card.layout, ("",))]
        images = f"in the cell, or in {' or '.join(folder)}" if "images" in card.fields else "–"
        lines.append(f"| {card.name} | {where} | {fields} | {images} |")
    return "\n".join(lines)


def benchmarks() -> str:
    """A section for each benchmark."""
    return "\n\n".join(_section(card) for card in cards())


def _section(card: Card) -> str:
    source = card.source
    where = f"`{source.hub}`" if source.hub else source.access.removeprefix("open: ")
    if source.hub:
        config = f", configuration {source.config}" if source.config else ""
        config += f", {len(source.configs)} configurations" if source.configs else ""
        where += f"{config}, split {source.split}, revision {source.revision}"
        where += "" if source.access == "open" else f"; {source.access}"
    files = f" Files: {', '.join(f'`{name}`' for name in source.files)}." if source.files else ""
    size = f" Questions: {card.size}." if card.size else ""
    lines = [
        f"### {card.name}",
        "",
        f"{card.title} (`{card.kit_task}`). {card.measures}",
        "",
        f"- Data: {where}.{files}{size}",
        f"- Licence: {card.licence}. Source: {card.citation}.",
        f"- In the vocabulary: modality {_label(card, 'modality')}, task type {_label(card, 'task_type')}.",
    ]
    if card.breakdown:
        lines.append(f"- Shown by: {', '.join(f'`{field}`' for field in card.breakdown.values())}.")
    lines.append("- In MedEvalKit: " + (" ".join(card.defects) if card.defects else "no defect of its own was found."))
    if card.notes:
        lines.append(f"- {card.notes.removesuffix('.')}.")
    lines.append(f"- Published: {_published(card.name)}")
    return "\n".join(lines)


def _label(card: Card, what: str) -> str:
    fixed, field = getattr(card, what), card.labels.get(what)  # type: ignore[call-overload]
    if fixed:
        return fixed
    if field:
        return f"from `{field}`"
    return "text" if what == "modality" and "images" not in card.fields else "unlabelled"


def _published(name: str) -> str:
    found: dict[str, list[tuple[float, str]]] = {}
    for table in published():
        for row in table.rows:
            if name in row.values:
                found.setdefault(row.source, []).append((100 * row.values[name], row.model))
    if not found:
        return "no row that we know of."
    return "; ".join(f"{_range(sorted(rows))} (*{source}*)" for source, rows in found.items()) + "."


def _range(rows: list[tuple[float, str]]) -> str:
    """The lowest and the highest of published values, and how many there are."""
    (low, worst), (high, best) = rows[0], rows[-1]
    if len(rows) < 4:
        return ", ".join(f"{model} {value:.1f}" for value, model in rows)
    return f"{len(rows)} models from {low:.1f} ({worst}) to {high:.1f} ({best})"


PARTS = {
    "groups": groups,
    "layouts": layouts,
    "vocabulary": vocabulary,
    "sources": sources,
    "benchmarks": benchmarks,
}


def fill(page: str) -> str:
    """A page with every made part made anew."""
    text = (HERE / page).read_text(encoding="utf-8")
    for name in TARGETS[page]:
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        assert pattern.search(text), f"{page} has no part '{name}'"
        made = PARTS[name]()
        text = pattern.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    for target in TARGETS:
        (HERE / target).write_text(fill(target), encoding="utf-8")
