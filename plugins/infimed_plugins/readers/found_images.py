"""Which column of rows names images that are there, and the folder that its names start from."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_plugins.readers.conversation import image_list
from infimed_plugins.readers.places import ending_of, folded, is_picture, is_plain

SNIFFED = 8
"""Files of a folder whose endings say nothing that are opened; where one is a picture, all are."""
OTHERS = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".tar", ".gz", ".zip", ".xml", ".html", ".pdf", ".md",
     ".yaml", ".yml", ".xlsx", ".xls", ".docx", ".py", ".npy", ".npz", ".log", ".toml"}
)  # fmt: skip
"""Endings of what is no picture."""


@dataclass(frozen=True)
class Found:
    """A column of names of images."""

    column: str
    root: Path
    below: bool = False
    """Whether they lie in several folders below the root, without their names saying in which."""

    def settings(self, beside: Path) -> dict[str, Any]:
        """Those of a reader of a table in the folder ``beside``."""
        found: dict[str, Any] = {"image_root": str(self.root)} if self.root != beside else {}
        return found | ({"search_below": True} if self.below else {})


def pictures_of(files: Iterable[Path]) -> list[Path]:
    """The files that are media, by their endings or by what is in them."""
    found: list[Path] = []
    unknown: defaultdict[Path, list[Path]] = defaultdict(list)
    for file in files:
        if ending_of(file.name):
            found.append(file)
        elif file.suffix.lower() not in OTHERS and file.name.upper() != "DICOMDIR":
            unknown[file.parent].append(file)
    for own in unknown.values():
        step = -(-len(own) // SNIFFED)
        if any(map(is_picture, own[::step])):
            found += filter(is_picture, own)
    return found


class Images:
    """Images by their names, with and without their endings."""

    def __init__(self, images: Iterable[Path]) -> None:
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for image in images:
            for name in {folded(image.name), folded(image.name[: len(image.name) - len(ending_of(image.name))])}:
                self._by_name[name].append(image)

    def names_one(self, cell: Any) -> bool:
        """Whether a cell names an image that is there."""
        return bool(self.roots_of(cell))

    def roots_of(self, cell: Any) -> set[Path]:
        """The folders from which what a cell names first is an image."""
        name = _first_name(cell)
        roots, end = set(), os.sep + folded(name)
        for image in self._by_name.get(folded(os.path.basename(name)), ()) if name else ():
            whole = folded(str(image))
            if whole.endswith(end) or whole[: len(whole) - len(ending_of(image.name))].endswith(end):
                roots.add(image.parents[name.count(os.sep)])
        return roots

    def column(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
        """The column most of whose cells name images that are there."""
        counts = {name: sum(bool(self.roots_of(row.get(name))) for row in rows) for name in names}
        counts = {name: counts[name] + sum(_absolute_roots(rows, name).values()) for name in names}
        best = max(counts, key=lambda name: counts[name], default=None)
        return best if best is not None and counts[best] else None

    def found(self, column: str, rows: Iterable[Mapping[str, Any]]) -> Found | None:
        """The folder above all images that a column names; rows far down may name those of another folder."""
        roots: list[set[Path]] = []
        absolute: Counter[Path] = Counter()
        for row in rows:
            roots += [own] if (own := self.roots_of(row.get(column))) else []
            absolute += _absolute_roots([row], column)
        if absolute.total() > len(roots):
            return Found(column, Path(os.path.commonpath(absolute)))
        if not roots:
            return None
        counts = Counter(root for own in roots for root in own)
        root = counts.most_common(1)[0][0]
        needed = {root}
        for own in roots:
            if not own & needed:
                needed.add(max(own, key=lambda one: counts[one]))
        return Found(column, Path(os.path.commonpath(needed)), len(needed) > 1)


def _first_name(cell: Any) -> str:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return f"{cell:g}" if isinstance(cell, float) else str(cell)
    try:
        cells = image_list(cell)
    except Exception:  # no list of names
        return ""
    name = cells[0] if cells else ""
    if isinstance(name, Mapping):
        name = name.get("path")
    return re.sub(r"^(\./)+", "", name.strip().replace("\\", "/")) if isinstance(name, str) else ""


def _absolute_roots(rows: Sequence[Mapping[str, Any]], name: str) -> Counter[Path]:
    """The folders of the files that a column names by their full paths."""
    cells = [_first_name(row.get(name)) for row in rows]
    return Counter(
        Path(cell).parent for cell in cells if cell.startswith("/") and ending_of(cell) and is_plain(Path(cell))
    )
