"""Columns whose cells name image files, and what is to be said where no sample shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infimed_core import Media, Sample, is_person_tag
from infimed_plugins.readers.places import ending_of, is_plain

_UID = re.compile(r"[0-9]+(?:\.[0-9]+){4,}")
_OTHER_UIDS = re.compile(r"study|series|class|frame|syntax|device")
LONGEST_NAME = 1000
"""Letters of a cell that may still be a name, or a list of names."""


def columns_of_images(rows: Iterable[Any]) -> dict[str, str]:
    """From each column of which most cells name an image file to the first such cell."""
    filled: dict[str, int] = {}
    naming: dict[str, list[str]] = {}
    for row in rows:
        for name, cell in row.items() if isinstance(row, Mapping) else ():
            if not isinstance(cell, str) or not cell.strip():
                continue
            filled[name] = filled.get(name, 0) + 1
            if len(cell) <= LONGEST_NAME and (ending_of(cell.strip(" \t[](){}'\"")) or _is_uid_of_image(name, cell)):
                naming.setdefault(name, []).append(cell.strip())
    return {name: cells[0] for name, cells in naming.items() if 2 * len(cells) > filled[name]}


def _is_uid_of_image(name: str, cell: str) -> bool:
    """Whether a cell is the UID of an image, which names its file in an archive; no study's or series'."""
    return bool(_UID.fullmatch(cell.strip())) and not is_person_tag(name) and not _OTHER_UIDS.search(name.lower())


def is_there(medium: Media) -> bool:
    """Whether a medium came inline, or its file or the folder of its series is there."""
    return medium.data is not None or is_plain(Path(medium.uri or "")) or Path(medium.uri or "").is_dir()


def doubts_of_images(
    samples: Sequence[Sample], rows: Iterable[Any], has_columns: bool, searched: bool = False
) -> tuple[str, ...]:
    """That the samples have no image though a column names some, or how many of their images are not there.

    Where the folders below were ``searched`` too, the remedy is another.
    """
    media = [medium for sample in samples for medium in sample.media]
    if media:
        lost = [medium for medium in media if not is_there(medium)]
        if not lost:
            return ()
        if len(lost) < len(media):
            told = f"{len(lost):,} of the {len(media):,} images of the first {len(samples):,} samples are not there"
            first = f"looked for {lost[0].uri}" + (", and for its name in all folders below" if searched else "")
            remedy = "mend the names, or set image_root to a folder that holds all; such rows are left out"
            remedy = remedy if searched else "search_below: true looks in all folders below image_root"
            return (f"IMAGES MISSING: {told} ({first}); {remedy}",)
        told = f"none of the {len(media):,} images of the first {len(samples):,} samples is there"
        return (f"NO IMAGE: {told} (looked for {media[0].uri}); set image_root to the folder that holds them",)
    if not samples or not (found := columns_of_images(rows)):
        return ()
    name, example = next(iter(found.items()))
    remedy = f"set columns: {{image: {name}}}, and " if has_columns else ""
    return (
        f"NO IMAGE: none of the first {len(samples):,} samples has an image, but '{name}' names image files "
        f"({example[:80]}); {remedy}image_root: the folder that holds them",
    )
