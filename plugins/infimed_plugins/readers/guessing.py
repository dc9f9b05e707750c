"""What a folder of data is: the reader and the settings that read most of it, found by looking."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from infimed_core import Fault, InfimedError, Reader, Sample, load_plugins
from infimed_plugins.readers.files import FileReader
from infimed_plugins.readers.guessed_table import LOOKED_AT, alike, pattern_of, settings_of
from infimed_plugins.readers.image_names import columns_of_images, is_there
from infimed_plugins.readers.places import ending_of

MOST_FILES = 200_000
"""Files of a folder that are listed."""
TEST_SET = re.compile(r"(?:^|[^a-z])(?:test|val|valid|validation|dev|eval|evaluation|held[-_ ]?out)(?:[^a-z]|$)")
TABLES = (".csv", ".tsv", ".csv.gz", ".jsonl", ".json", ".parquet", ".tar", ".tar.gz")
"""Endings of files that hold many samples."""


@dataclass(frozen=True)
class Guess:
    """A reader with its settings, and what it made of the first rows."""

    use: str
    settings: dict[str, Any]
    num_samples: int = 0
    """Rows that end with an answer."""
    num_rows: int = 0
    num_media: int = 0
    num_found: int = 0
    """Media that the samples name, and those of them that are there."""
    faults: tuple[Fault, ...] = ()
    unused: tuple[str, ...] = field(default=())
    """Columns of a table that the settings do not name."""
    unfound: tuple[str, str] | None = None
    """A column whose cells name images of which none was found, and the first such cell."""
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    """Those of the first rows."""

    def names_lost_images(self) -> str:
        """What names images of which none is there; "" where none does."""
        if self.unfound is not None:
            return f"the column '{self.unfound[0]}' names images ({self.unfound[1][:80]} ...)"
        if self.num_found or not self.num_media:
            return ""
        first = next(medium for sample in self.samples for medium in sample.media)
        return f"the rows name images ({Path(first.uri or '').name} ...)"


def guess(
    place: Path, without: Sequence[Path] = (), images: Sequence[Path] = (), tag: str | None = None
) -> list[Guess]:
    """What reads a folder or a file, the best first; every guess was tried.

    Args:
        place: the folder or the file.
        without: files that are not data.
        images: folders that hold the images that tables name; the place's own by default.
        tag: a column of a table that is to be a tag.

    Raises:
        InfimedError: there is no such folder, or nothing in it that any reader reads.
    """
    folder = place.parent if place.is_file() else place
    for one in (folder, *images):
        if not one.is_dir():
            raise InfimedError(f"{one}: no such folder; name the folder that holds your data")
    files = [place] if place.is_file() else list(islice(_files(folder), MOST_FILES))
    left = [file for file in files if not any(_is_in_place(file, one) for one in without)]
    shown = [file for one in images or (folder,) for file in islice(_files(one), MOST_FILES) if ending_of(file.name)]
    given = images[0] if len(images) == 1 and images[0] != folder else None
    candidates = list(_candidates(folder, left, shown, tag, given))
    if place.is_file():  # a guess about the folder would read its other files too
        candidates = [one for one in candidates if one.settings.get("path") == str(place)]
    elif without:
        candidates = [one for one in candidates if one.settings != {"path": str(folder), "split": ""}]
    tried = [tried_out(one) for one in candidates]
    useful = [one for one in tried if one.num_samples]
    if not useful and len(left) < len(files):
        raise InfimedError(
            f"{place}: its only data, {', '.join(one.name for one in without)}, are the test set (--test), so nothing "
            "is left to train on; name other data with --data, or leave out --test and divide the table by patient "
            "with --split-by COLUMN"
        )
    if not useful:
        told = next((f"{one.use}: {one.faults[0].detail}" for one in tried if one.faults), "no table, text or image")
        raise InfimedError(f"{place}: nothing in it becomes a sample ({told}); see docs/data.md for what is read")
    return sorted(useful, key=lambda one: -(one.num_samples + one.num_found))


def looks_like_test_set(folder: Path) -> list[Path]:
    """Tables that their names call a test set, where others are left to train on."""
    if not folder.is_dir():
        return []
    tables = [file for file in islice(_files(folder), MOST_FILES) if file.name.lower().endswith(TABLES)]
    found = [file for file in tables if TEST_SET.search(str(file.relative_to(folder)).lower())]
    return found if len(found) < len(tables) else []


def _is_in_place(file: Path, place: Path) -> bool:
    return file == place or place in file.parents


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _candidates(
    folder: Path, files: Sequence[Path], images: Sequence[Path], tag: str | None, given: Path | None
) -> Iterator[Guess]:
    by_ending: dict[str, list[Path]] = {}
    for file in files:
        by_ending.setdefault("".join(file.suffixes[-2:] if file.suffix == ".gz" else [file.suffix]).lower(), []).append(
            file
        )
    if (folder / "dataset_info.json").is_file() and not (folder / "state.json").is_file():
        yield Guess("llava", {"path": str(folder)})
    for split in ("train", ""):
        if (folder / split / "state.json").is_file():
            yield Guess("huggingface", {"path": str(folder)})
    for ending in (".csv", ".tsv", ".csv.gz"):
        for tables in alike(by_ending.get(ending, [])):
            settings, unused, unfound = settings_of(folder, tables, images, tag)
            yield Guess("csv", settings, unused=unused, unfound=unfound)
    for ending, uses in ((".jsonl", ("jsonl", "llava")), (".json", ("llava",)), (".parquet", ("parquet",))):
        if found := by_ending.get(ending):
            root = {"image_root": str(given)} if given else _root(found, images)
            if ending == ".parquet":
                yield from _parquet(folder, found, images, tag)
            for use in uses:
                for settings in ({}, root) if root else ({},):
                    yield Guess(use, {"path": pattern_of(folder, found), **settings})
    for ending in (".tar", ".tar.gz"):
        if found := by_ending.get(ending):
            yield Guess("webdataset", {"path": pattern_of(folder, found)})
    if any(by_ending.get(ending) for ending in (".json", ".jsonl", ".csv", ".parquet")):
        yield Guess("medevalkit", {"path": str(folder)})
        yield Guess("medevalkit", {"path": str(folder), "split": ""})
    if texts := by_ending.get(".txt"):
        yield Guess("directory", {"path": str(folder)})
        yield from _studies(folder, texts, images)


def _parquet(folder: Path, files: Sequence[Path], images: Sequence[Path], tag: str | None) -> Iterator[Guess]:
    """Parquet whose columns name images beside it, or a patient."""
    try:
        settings, unused, unfound = settings_of(folder, list(files), images, tag)
    except Exception:  # no whole Parquet file: told where it is read
        return
    if {"image", "tags"} & settings.get("columns", {}).keys():
        yield Guess("parquet", settings, unused=unused, unfound=unfound)


def _studies(folder: Path, texts: Sequence[Path], images: Sequence[Path]) -> Iterator[Guess]:
    """Folders that each hold a text of one name; as slices, where there are volumes or series among what they show."""
    name, count = Counter(text.name for text in texts).most_common(1)[0]
    if count < 2 and len(texts) > 1:
        return
    settings = {"path": str(folder)} | ({} if name == "report.txt" else {"text": name})
    yield Guess("studies", settings)
    series = Counter(file.parent for file in images if file.suffix.lower() in (".dcm", ".ima"))
    if any(".nii" in image.name for image in images) or any(number > 1 for number in series.values()):
        yield Guess("volumes", {"reader": {"use": "studies", "with": settings}})


def tried_out(one: Guess) -> Guess:
    """The guess with what its reader makes of the first rows."""
    kind = load_plugins().find("reader", one.use)
    try:
        few = {"max_samples": LOOKED_AT} if "max_samples" in kind.model_fields else {}
        reader = kind.model_validate({**one.settings, **few})
        assert isinstance(reader, Reader)
        rows = list(islice((row for shard in reader.shards() for row in reader.read(shard)), LOOKED_AT))
    except InfimedError as error:
        return replace(one, faults=(Fault(sample_id="", code="bad_file", detail=str(error)),))
    samples = tuple(row for row in rows if isinstance(row, Sample))
    media = [medium for sample in samples for medium in sample.media]
    return replace(
        one,
        num_samples=sum(sample.turns[-1].role == "assistant" for sample in samples),
        num_rows=len(rows),
        num_media=len(media),
        num_found=sum(map(is_there, media)),
        samples=samples,
        unfound=one.unfound or (None if media or not samples else _lost_images(reader)),
        faults=tuple(row for row in rows if isinstance(row, Fault)),
    )


def _lost_images(reader: Reader) -> tuple[str, str] | None:
    """A column that names images, and the first cell of it, in rows of which none shows any."""
    rows = reader.first_rows() if isinstance(reader, FileReader) else ()
    return next(iter(columns_of_images(rows).items()), None)


def _root(files: Sequence[Path], images: Sequence[Path]) -> dict[str, str]:
    """Where images lie that stand in one folder beside the tables' own."""
    places = {image.parent for image in images}
    return (
        {"image_root": str(places.pop())} if len(places) == 1 and not places & {file.parent for file in files} else {}
    )
