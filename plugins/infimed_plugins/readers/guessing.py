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
from infimed_plugins.readers.places import ending_of, is_plain
from infimed_plugins.readers.tables import header_of, table_rows
from infimed_plugins.readers.values import is_empty

LOOKED_AT = 400
"""Rows of each kind of file that are looked at."""
MOST_FILES = 200_000
"""Files of a folder that are listed."""
QUESTIONS = ("question", "query", "prompt", "instruction")
ANSWERS = (
    "answer", "caption", "report", "findings", "finding", "impression", "response", "output", "description", "text",
    "diagnosis", "label",
)  # fmt: skip
IDS = ("id", "uid", "sample_id", "question_id", "qid", "image_id", "study_id")
TAGS = {
    "modality": "modality", "body_part": "body_part", "bodypart": "body_part", "organ": "body_part", "sex": "sex",
    "gender": "sex", "view": "view", "language": "language", "lang": "language", "split": "split",
}  # fmt: skip
ENCODINGS = ("gb18030", "cp1252")
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


def guess(place: Path, without: Sequence[Path] = ()) -> list[Guess]:
    """What reads a folder or a file, the best first; every guess was tried. ``without``: files that are not data.

    Raises:
        InfimedError: there is no such folder, or nothing in it that any reader reads.
    """
    folder = place.parent if place.is_file() else place
    if not folder.is_dir():
        raise InfimedError(f"{folder}: no such folder; name the folder that holds your data")
    files = [file for file in islice(_files(folder), MOST_FILES) if not any(_is_in_place(file, one) for one in without)]
    if place.is_file():
        files = [file for file in files if file == place or ending_of(file.name)]
    candidates = list(_candidates(folder, files))
    if place.is_file():  # a guess about the folder would read its other files too
        candidates = [one for one in candidates if one.settings.get("path") == str(place)]
    elif without:
        candidates = [one for one in candidates if one.settings != {"path": str(folder), "split": ""}]
    tried = [_tried(one) for one in candidates]
    useful = [one for one in tried if one.num_samples]
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


def _candidates(folder: Path, files: Sequence[Path]) -> Iterator[Guess]:
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
    images = [file for file in files if ending_of(file.name)]
    for ending in (".csv", ".tsv", ".csv.gz"):
        for tables in _alike(by_ending.get(ending, [])):
            yield _table(folder, tables, images)
    for ending, uses in ((".jsonl", ("jsonl", "llava")), (".json", ("llava",)), (".parquet", ("parquet",))):
        if found := by_ending.get(ending):
            root = _root(folder, found, images)
            for use in uses:
                for settings in ({}, root) if root else ({},):
                    yield Guess(use, {"path": _pattern(folder, found), **settings})
    for ending in (".tar", ".tar.gz"):
        if found := by_ending.get(ending):
            yield Guess("webdataset", {"path": _pattern(folder, found)})
    if any(by_ending.get(ending) for ending in (".json", ".jsonl", ".csv", ".parquet")):
        yield Guess("medevalkit", {"path": str(folder)})
        yield Guess("medevalkit", {"path": str(folder), "split": ""})
    if texts := by_ending.get(".txt"):
        yield Guess("directory", {"path": str(folder)})
        yield from _studies(folder, texts, images)


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


def _tried(one: Guess) -> Guess:
    kind = load_plugins().find("reader", one.use)
    try:
        few = {"max_samples": LOOKED_AT} if "max_samples" in kind.model_fields else {}
        reader = kind.model_validate({**one.settings, **few})
        assert isinstance(reader, Reader)
        rows = list(islice((row for shard in reader.shards() for row in reader.read(shard)), LOOKED_AT))
    except InfimedError as error:
        return replace(one, faults=(Fault(sample_id="", code="bad_file", detail=str(error)),))
    media = [medium for row in rows if isinstance(row, Sample) for medium in row.media]
    return replace(
        one,
        num_samples=sum(isinstance(row, Sample) and row.turns[-1].role == "assistant" for row in rows),
        num_rows=len(rows),
        num_media=len(media),
        num_found=sum(medium.data is not None or _is_there(Path(medium.uri or "")) for medium in media),
        faults=tuple(row for row in rows if isinstance(row, Fault)),
    )


def _is_there(place: Path) -> bool:
    """Whether there is a plain file, or the folder of a series."""
    return is_plain(place) or place.is_dir()


def _alike(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Tables that have the same columns, each set of them."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        try:
            names = tuple(header_of(file, None, _encoding(file)))
        except Exception:  # no table
            continue
        groups.setdefault(names, []).append(file)
    yield from groups.values()


def _table(folder: Path, files: list[Path], images: Sequence[Path]) -> Guess:
    """A table, its columns known by their names and by what stands in them."""
    encoding = _encoding(files[0])
    rows = [row for _, row in islice(table_rows(files[0], None, encoding), LOOKED_AT) if isinstance(row, dict)]
    names = header_of(files[0], None, encoding)
    lower = {name.strip().lower().replace(" ", "_"): name for name in names}
    columns: dict[str, Any] = {}
    image, root = _image_column(rows, names, images)
    if image is not None:
        columns["image"] = image
    if (own := next((lower[name] for name in IDS if name in lower), None)) and own != image and _is_unique(rows, own):
        columns["id"] = own
    question = next((lower[name] for name in QUESTIONS if name in lower), None)
    if question not in (None, "question"):
        columns["question"] = question
    taken = {question, *columns.values()}
    answer = next((lower[name] for name in ANSWERS if name in lower and lower[name] not in taken), None)
    answer = answer or _longest(rows, [name for name in names if name not in taken])
    if answer not in (None, "answer"):
        columns["answer"] = answer
    taken.add(answer)
    tags = {TAGS[name]: lower[name] for name in lower if name in TAGS and lower[name] not in taken}
    if tags:
        columns["tags"] = tags
    settings: dict[str, Any] = {"path": _pattern(folder, files)}
    settings |= {"encoding": encoding} if encoding else {}
    settings |= {"image_root": str(root)} if root is not None and root != files[0].parent else {}
    settings |= {"columns": columns} if columns else {}
    return Guess("csv", settings, unused=tuple(name for name in names if name not in {*taken, *tags.values()}))


def _image_column(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], images: Sequence[Path]
) -> tuple[str | None, Path | None]:
    """The column whose cells name files that are there, and the folder that they start from."""
    known: dict[str, list[Path]] = {}
    for image in images:
        known.setdefault(image.name, []).append(image)
        known.setdefault(image.name[: -len(ending_of(image.name))], []).append(image)
    best: tuple[int, str | None, Path | None] = (0, None, None)
    for name in names:
        roots: Counter[Path] = Counter()
        for row in rows:
            cell = str(row.get(name) or "")
            for image in known.get(os.path.basename(cell), ()):
                for written in (str(image), str(image)[: -len(ending_of(image.name))]):
                    if written.endswith(os.sep + cell):
                        roots[Path(written[: -len(cell)])] += 1
        if roots and (found := roots.most_common(1)[0])[1] > best[0]:
            best = (found[1], name, found[0])
    return best[1], best[2]


def _root(folder: Path, files: Sequence[Path], images: Sequence[Path]) -> dict[str, str]:
    """Where images lie that stand in one folder beside the tables' own."""
    places = {image.parent for image in images}
    return (
        {"image_root": str(places.pop())} if len(places) == 1 and not places & {file.parent for file in files} else {}
    )


def _pattern(folder: Path, files: Sequence[Path]) -> str:
    if len(files) == 1:
        return str(files[0])
    ending = "".join(files[0].suffixes[-2:] if files[0].suffix == ".gz" else [files[0].suffix])
    deep = any(file.parent != folder for file in files)
    return str(folder / "**" / f"*{ending}") if deep else str(folder / f"*{ending}")


def _is_unique(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [row.get(name) for row in rows if not is_empty(row.get(name))]
    return len(set(values)) == len(values) == len(rows)


def _longest(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The column that holds the longest texts."""
    lengths = {name: sum(len(str(row.get(name) or "")) for row in rows) for name in names}
    return max(lengths, key=lambda name: lengths[name], default=None)


def _encoding(file: Path) -> str | None:
    """The encoding that most lines with more than plain letters are in; ``None`` for UTF-8 or what the mark says."""
    if file.suffix == ".gz":
        return None
    with open(file, "rb") as stream:
        lines = [line for line in islice(stream, 20_000) if not line.isascii()]
    if not lines or lines[0].startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return None
    if sum(_is_in(line, "utf-8") for line in lines) * 2 >= len(lines):
        return None
    whole = b"".join(lines)
    chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in whole.decode("gb18030", "replace"))
    return "gb18030" if chinese * 4 > sum(byte > 127 for byte in whole) and _is_in(whole, "gb18030") else "cp1252"


def _is_in(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
