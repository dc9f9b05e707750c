"""What a folder of data is: the reader and the settings that read most of it, found by looking."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from infimed_core import Fault, InfimedError, Reader, Sample, load_plugins
from infimed_plugins.readers.encodings import encoding_of
from infimed_plugins.readers.files import FileReader
from infimed_plugins.readers.folders import TEST_SET, findings_of, why_nothing
from infimed_plugins.readers.found_images import Images, pictures_of
from infimed_plugins.readers.guessed_table import (
    LOOKED_AT,
    MOST_ROWS,
    Look,
    alike,
    delimiter_of,
    look_at,
    pattern_of,
    shared_column,
)
from infimed_plugins.readers.image_names import columns_of_images, is_there
from infimed_plugins.readers.llava import json_rows, splits_of
from infimed_plugins.readers.places import ending_of

MOST_FILES = 200_000
"""Files of a folder that are listed."""
MOST_TEXTS = 50
"""Texts of a folder up to which each may be a table; of more, each belongs to an image."""
_CAPTIONS = re.compile("caption|report|train")
_JSON = {".jsonl": ("jsonl", "llava"), ".jsonl.gz": ("jsonl", "llava"), ".json": ("llava",), ".json.gz": ("llava",)}
"""The readers of JSON by the ending of their files."""
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", *_JSON, ".parquet", ".tar", ".tar.gz")
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
    doubt: str = ""
    """What is unsure of the encoding."""
    is_named: bool = True
    """Whether a table's answer is a column that says so by its name."""
    files: tuple[Path, ...] = field(default=(), repr=False)
    """The tables that it is about, where its pattern may name others too."""
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    """Those of the first rows."""

    @property
    def worth(self) -> int:
        """How much of the data it reads."""
        return self.num_samples + self.num_found

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
    shown = pictures_of(file for one in images or (folder,) for file in islice(_files(one), MOST_FILES))
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
        told = next((f"{one.use}: {one.faults[0].detail}" for one in tried if one.faults), "")
        told = told or why_nothing(folder, left, shown) or _there(files)
        raise InfimedError(f"{place}: nothing in it becomes a sample ({told}); see docs/data.md for what is read")
    named = max((one.worth for one in useful if one.files and one.is_named), default=0)
    useful.sort(
        key=lambda one: (
            bool(one.files) and not one.is_named and 2 * named >= one.worth,  # a guess, beside a table that says so
            -one.worth,
            "image_key" in one.settings,
        )
    )
    sliced = next((one for one in useful if one.use == "volumes"), None)
    if useful[0].use == "studies" and sliced is not None and sliced.num_samples == useful[0].num_samples:
        useful = [sliced, *(one for one in useful if one is not sliced)]  # it shows fewer images, chosen ones
    if told := _apart(useful[0], tried):
        raise InfimedError(f"{place}: {told}")
    return useful


def _there(files: Sequence[Path]) -> str:
    """That no file is of a kind that is read, and of which kinds they are."""
    endings = Counter(file.suffix.lower() or "no ending" for file in files)
    there = ", ".join(f"{number:,} of {ending}" for ending, number in endings.most_common(5)) or "no file at all"
    advice = "; unpack archives" if endings.keys() & {".zip", ".rar", ".7z"} else ""
    return f"no table, text or image: there are {there}{advice}"


def _apart(best: Guess, tried: Sequence[Guess]) -> str:
    """That images stand in one table and their texts in another; "" where they do not."""
    tables = [one for one in tried if one.files]
    for shown in tables:
        if shown.is_named or not shown.num_media:
            continue
        for told in tables:
            if best not in (shown, told) or told is shown or not told.is_named or told.num_found:
                continue
            if key := shared_column(shown.files[0], told.files[0]):
                return (
                    f"{shown.files[0].name} names the images, {told.files[0].name} has the texts, and both have the "
                    f"column '{key}': join them into one table (pandas: left.merge(right, on='{key}')), and name it "
                    "with --data"
                )
    return ""


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
        files = (Path(place) / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file())  # a pipe or a device would be waited for


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
    index = Images(images)
    for ending in (".csv", ".tsv", ".csv.gz", ".tsv.gz"):
        for tables in alike(by_ending.get(ending, [])):
            yield _of_table("csv", look_at(folder, tables, index, tag), tables)
    yield from _rows_of_json(folder, by_ending, images, index, given)
    if found := by_ending.get(".parquet"):
        yield from _parquet(folder, found, index, tag)
        root = {"image_root": str(given)} if given else _root(found, images)
        yield from (
            Guess("parquet", {"path": pattern_of(folder, found), **more}) for more in ([{}, root] if root else [{}])
        )
    for ending in (".tar", ".tar.gz"):
        if found := by_ending.get(ending):
            yield Guess("webdataset", {"path": pattern_of(folder, found)})
    tables = [file for ending in (".json", ".jsonl", ".csv") for file in by_ending.get(ending, [])]
    if tables or by_ending.get(".parquet"):
        written, doubt = _written(tables)
        yield Guess("medevalkit", {"path": str(folder), **written}, doubt=doubt)
        yield Guess("medevalkit", {"path": str(folder), "split": "", **written}, doubt=doubt)
    if texts := by_ending.get(".txt"):
        yield from _text_tables(folder, texts, index, tag)
        written, doubt = _written(texts)
        yield Guess("directory", {"path": str(folder), **written}, doubt=doubt)
        yield from (replace(one, doubt=doubt) for one in _studies(folder, texts, images, written))
    elif not any(map(by_ending.get, TABLES)) and findings_of(folder, images):
        yield Guess("directory", {"path": str(folder), "folder_answers": True})


def _written(files: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """The setting of the encoding, and what is unsure of it."""
    encoding = encoding_of(files)
    return ({"encoding": encoding.name} if encoding.name else {}), encoding.doubt


def _rows_of_json(
    folder: Path,
    by_ending: Mapping[str, Sequence[Path]],
    images: Sequence[Path],
    index: Images,
    given: Path | None,
) -> Iterator[Guess]:
    """Files of JSON: as they are, with the one folder of images, and with the images that a key names."""
    for ending, uses in _JSON.items():
        if not (found := by_ending.get(ending)):
            continue
        written, doubt = _written(found)
        root = {"image_root": str(given)} if given else _root(found, images)
        lists, told = _lists_of(found, written.get("encoding"))
        doubt = "; ".join(filter(None, (doubt, told)))
        own = images_of_json(found, written.get("encoding"), index, lists.get("split"))
        for use in uses:
            tries: list[dict[str, Any]] = [{}, *([root] if root else []), *([own] if own and use == "llava" else [])]
            for more in tries:
                read = {**written, **more, **(lists if use == "llava" else {})}
                yield Guess(use, {"path": pattern_of(folder, found), **read}, doubt=doubt)


def _lists_of(files: Sequence[Path], encoding: str | None) -> tuple[dict[str, str], str]:
    """The list of rows that is trained on, where a file is one object with several, and that the others are not."""
    try:
        names = splits_of(files[0], encoding) if len(files) == 1 else []
    except (OSError, ValueError, InfimedError):  # told where it is read
        return {}, ""
    if not names:
        return {}, ""
    chosen = next((name for name in names if not TEST_SET.search(name.lower())), names[0])
    others = ", ".join(name for name in names if name != chosen)
    return {"split": chosen}, f"{files[0].name} holds several lists of rows; not read: {others} (split: NAME reads one)"


def _of_table(use: str, look: Look, files: Sequence[Path]) -> Guess:
    return Guess(
        use,
        look.settings,
        unused=look.unused,
        unfound=look.unfound,
        doubt=look.doubt,
        is_named=look.is_named,
        files=tuple(files),
    )


def _text_tables(folder: Path, texts: Sequence[Path], images: Images, tag: str | None) -> Iterator[Guess]:
    """Texts that are tables of captions, those first that are called so."""
    texts = sorted(texts, key=lambda text: not _CAPTIONS.search(text.name.lower()))
    for text in texts if len(texts) <= MOST_TEXTS else ():
        try:
            if delimiter_of(text, encoding_of([text]).name) is None:
                continue
            look = look_at(folder, [text], images, tag)
        except Exception:  # no table
            continue
        if look.has_images or look.unfound or look.is_named:
            yield _of_table("csv", replace(look, settings=look.settings | {"path": str(text)}), [text])


def _parquet(folder: Path, files: Sequence[Path], images: Images, tag: str | None) -> Iterator[Guess]:
    """Parquet whose columns name images beside it, or a patient."""
    try:
        look = look_at(folder, list(files), images, tag)
    except Exception:  # no whole Parquet file: told where it is read
        return
    if {"image", "tags"} & look.settings.get("columns", {}).keys():
        yield _of_table("parquet", look, files)


def _studies(
    folder: Path, texts: Sequence[Path], images: Sequence[Path], written: Mapping[str, Any]
) -> Iterator[Guess]:
    """Folders that each hold a text of one name, and what it is about; as slices, where there are volumes or series."""
    name = Counter(text.name for text in texts).most_common(1)[0][0]
    own = {text.parent for text in texts if text.name == name}
    if folder in own or not any(place in own for image in images for place in image.parents):
        return
    settings = {"path": str(folder), **({} if name == "report.txt" else {"text": name}), **written}
    yield Guess("studies", settings)
    series = Counter(file.parent for file in images if ending_of(file.name) in ("", ".dcm", ".dicom", ".ima"))
    if any(".nii" in image.name for image in images) or any(number > 1 for number in series.values()):
        yield Guess("volumes", {"reader": {"use": "studies", "with": settings}})


def rows_of(use: str, settings: Mapping[str, Any]) -> Iterator[Sample | Fault]:
    """Every row of a reader with these settings."""
    reader: Any = load_plugins().find("reader", use).model_validate(settings)
    return (row for shard in reader.shards() for row in reader.read(shard))


def tried_out(one: Guess) -> Guess:
    """The guess with what its reader makes of the first rows."""
    kind = load_plugins().find("reader", one.use)
    try:
        few = {"max_samples": LOOKED_AT} if "max_samples" in kind.model_fields else {}
        reader = kind.model_validate({**one.settings, **few})
        assert isinstance(reader, Reader)
        every = (_answered(reader, row) for shard in reader.shards() for row in reader.read(shard))
        rows = list(islice(every, LOOKED_AT))
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


def _answered(reader: Reader, row: Sample | Fault) -> Sample | Fault:
    """The row, or what is wrong with one that has no answer: nothing is learned from it, and it asks nothing."""
    if isinstance(row, Fault) or row.turns[-1].role == "assistant" or row.references:
        return row
    return Fault(sample_id=row.id, code="no_answer", detail="the row has no answer", where=reader.place())


def _lost_images(reader: Reader) -> tuple[str, str] | None:
    """A column that names images, and the first cell of it, in rows of which none shows any."""
    rows = reader.first_rows() if isinstance(reader, FileReader) else ()
    return next(iter(columns_of_images(rows).items()), None)


def images_of_json(
    files: Sequence[Path], encoding: str | None, images: Images, split: str | None = None
) -> dict[str, Any]:
    """Where the images lie that a key of rows of JSON names, as settings of the reader ``llava``."""

    def rows() -> Iterator[Mapping[str, Any]]:
        found = (row for file in files for _, row in json_rows(file, encoding, split))
        return islice((row for row in found if isinstance(row, Mapping)), MOST_ROWS)

    try:
        first = list(islice(rows(), LOOKED_AT))
        column = images.column(first, list(dict.fromkeys(str(name) for row in first for name in row)))
        found = images.found(column, rows()) if column else None
    except Exception:  # told where it is read
        return {}
    if found is None:
        return {}
    own = {} if found.column in ("image", "images") else {"image_key": found.column}
    return found.settings(files[0].parent) | own


def _root(files: Sequence[Path], images: Sequence[Path]) -> dict[str, str]:
    """Where images lie that stand in one folder beside the tables' own."""
    places = {image.parent for image in images}
    return (
        {"image_root": str(places.pop())} if len(places) == 1 and not places & {file.parent for file in files} else {}
    )
