"""A table by its look: which column holds the question, the answer, the image, the id and the patient."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from infimed_core import is_person_tag
from infimed_plugins.readers.image_names import columns_of_images
from infimed_plugins.readers.parquet import parquet_rows
from infimed_plugins.readers.places import ending_of, is_plain
from infimed_plugins.readers.tables import header_of, table_rows
from infimed_plugins.readers.values import is_empty

LOOKED_AT = 400
"""Rows of each kind of file that are looked at."""
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
_PERSONS = ("patient", "subject", "person", "participant", "mrn", "pid")
"""What names of a person hold; the other names of ``is_person_tag`` are of a study."""


def alike(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Tables that have the same columns, each set of them."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        try:
            names = tuple(header_of(file, None, _encoding(file)))
        except Exception:  # no table
            continue
        groups.setdefault(names, []).append(file)
    yield from groups.values()


def settings_of(
    folder: Path, files: list[Path], images: Sequence[Path], tag: str | None = None
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, str] | None]:
    """The settings of a table's reader, the columns that they do not name, and (column, cell) of images not found.

    Columns are known by their names and by what stands in them; those of a patient or study, and ``tag``, become tags.
    """
    encoding = None if files[0].suffix == ".parquet" else _encoding(files[0])
    names, rows = _named_rows(files[0], encoding)
    lower = {name.strip().lower().replace(" ", "_"): name for name in names}
    columns: dict[str, Any] = {}
    image, root = _image_column(rows, names, images)
    named = columns_of_images(rows) if image is None else {}
    persons = persons_of(rows, names, tag)
    if image is not None:
        columns["image"] = image
    if (own := next((lower[name] for name in IDS if name in lower), None)) and own != image and _is_unique(rows, own):
        columns["id"] = own
    question = next((lower[name] for name in QUESTIONS if name in lower), None)
    if question not in (None, "question"):
        columns["question"] = question
    taken = {question, *columns.values(), *persons, *named}
    answer = next((lower[name] for name in ANSWERS if name in lower and lower[name] not in taken), None)
    answer = answer or _longest(rows, [name for name in names if name not in taken])
    if answer not in (None, "answer"):
        columns["answer"] = answer
    taken.add(answer)
    tags = {TAGS[name]: lower[name] for name in lower if name in TAGS and lower[name] not in taken}
    tags |= {tag_of(name): name for name in persons if name not in columns.values()}
    used = {question, answer, *columns.values(), *tags.values()}
    if tags:
        columns["tags"] = tags
    settings: dict[str, Any] = {"path": pattern_of(folder, files)}
    settings |= {"encoding": encoding} if encoding else {}
    settings |= {"image_root": str(root)} if root is not None and root != files[0].parent else {}
    settings |= {"columns": columns} if columns else {}
    return settings, tuple(name for name in names if name not in used), next(iter(named.items()), None)


def _named_rows(file: Path, encoding: str | None) -> tuple[list[str], list[Mapping[str, Any]]]:
    """The columns of a table and its first rows; of Parquet what is text or a number."""
    if file.suffix == ".parquet":
        found = [row for _, row in islice(parquet_rows(file), LOOKED_AT) if isinstance(row, Mapping)]
        texts = [{name: cell for name, cell in row.items() if isinstance(cell, (str, int))} for row in found]
        return list(dict.fromkeys(name for row in texts for name in row)), texts  # type: ignore[return-value]
    rows = [row for _, row in islice(table_rows(file, None, encoding), LOOKED_AT) if isinstance(row, Mapping)]
    return header_of(file, None, encoding), rows


def persons_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str], tag: str | None = None) -> list[str]:
    """The columns of a patient, subject or study that say anything: ``tag`` first, then those of a person."""
    filled = [name for name in names if name == tag or is_person_tag(name)]
    filled = [name for name in filled if any(not is_empty(row.get(name)) for row in rows)]
    return sorted(filled, key=lambda name: (name != tag, rank_of(name)))


def rank_of(name: str) -> int:
    """0 of a name that says a person, 1 of one that says a study."""
    return int(not any(word in name.lower() for word in _PERSONS))


def tag_of(column: str) -> str:
    """The name of the tag that a column becomes."""
    return column.strip().lower().replace(" ", "_")


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
        roots = _absolute_roots(rows, name)
        for row in rows:
            cell = str(row.get(name) or "")
            for image in known.get(os.path.basename(cell), ()):
                for written in (str(image), str(image)[: -len(ending_of(image.name))]):
                    if written.endswith(os.sep + cell):
                        roots[Path(written[: -len(cell)])] += 1
        if roots and (found := roots.most_common(1)[0])[1] > best[0]:
            best = (found[1], name, found[0])
    return best[1], best[2]


def _absolute_roots(rows: Sequence[Mapping[str, Any]], name: str) -> Counter[Path]:
    """The folder above all files that a column names by their full paths."""
    cells = [str(row.get(name) or "") for row in rows]
    places = [
        os.path.dirname(cell) for cell in cells if os.path.isabs(cell) and ending_of(cell) and is_plain(Path(cell))
    ]
    return Counter({Path(os.path.commonpath(places)): len(places)} if places else {})


def pattern_of(folder: Path, files: Sequence[Path]) -> str:
    """The path or pattern that names the files."""
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
