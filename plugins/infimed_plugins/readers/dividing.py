"""Tables made of a table: its rows for training and for the test set apart, no patient on both sides."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from infimed_core import DataError, InfimedError, Sample, load_plugins, write_atomically
from infimed_plugins.readers.files import FileReader
from infimed_plugins.readers.guessing import Guess, rows_of
from infimed_plugins.readers.tables import header_of, table_rows
from infimed_plugins.readers.values import is_empty

MOST_ROWS = 500_000
"""Rows of a table that are compared with the test set."""
MOST_BYTES = 2 * 1024**3
"""Size of all tables up to which they are."""


@dataclass(frozen=True)
class Divided:
    """Where the two tables are, and in a line what they hold."""

    train: Path
    test: Path
    said: str


def divided(best: Guess, column: str, share: float, folder: Path, name: str, force: bool) -> Divided:
    """Write ``NAME-train.csv`` and ``NAME-test.csv``: the values of a column by a digest of each, never on both sides.

    Raises:
        InfimedError: there is no one table, no such column, or it has fewer than two values.
    """
    file = only_table(best)
    encoding = best.settings.get("encoding")
    names = header_of(file, None, encoding)
    alike = [name for name in names if name.strip().casefold() == column.strip().casefold()]
    if column not in names and len(alike) != 1:
        raise InfimedError(f"{file}: has no column '{column}' to divide by; there are: {', '.join(names)}")
    column = column if column in names else alike[0]
    if names.count(column) > 1:
        raise InfimedError(f"{file}: has the column '{column}' {names.count(column)} times; name one of them otherwise")
    rows = [row for _, row in table_rows(file, None, encoding) if isinstance(row, Mapping)]
    values = {_value(row[column]) for row in rows} - {""}
    if len(values) < 2:
        raise InfimedError(f"{file}: the column '{column}' has fewer than two values, so it divides nothing")
    in_order = sorted(values, key=lambda value: hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest())
    held = set(in_order[: min(len(in_order) - 1, max(1, round(share * len(in_order))))])
    test = [row for row in rows if _value(row[column]) in held]
    train = [row for row in rows if _value(row[column]) in values - held]
    places = [folder / f"{name}-{side}.csv" for side in ("train", "test")]
    for place, part in zip(places, (train, test), strict=True):
        write_table(place, names, part, force)
    said = (
        f"{len(train):,} rows of {len(values) - len(held):,} values of '{column}' to train on ({places[0].name}), "
        f"{len(test):,} rows of {len(held):,} others to test on ({places[1].name}), none on both sides"
    )
    if (lost := len(rows) - len(train) - len(test)) > 0:
        said += f"; {lost:,} rows have no '{column}' and are in neither"
    return Divided(places[0], places[1], said)


def only_table(best: Guess) -> Path:
    """The one CSV file that is to be divided.

    Raises:
        InfimedError: there are several, or it is no CSV.
    """
    files = files_of(best.use, best.settings)
    if best.use != "csv" or len(files) != 1:
        there = f" ({', '.join(file.name for file in files[:4])})" if len(files) > 1 else ""
        told = f"the data are read by '{best.use}'" if best.use != "csv" else f"there are {len(files)} tables{there}"
        raise InfimedError(f"--split-by divides one CSV table, and {told}; name one with --data")
    return files[0]


def files_of(use: str, settings: Mapping[str, Any]) -> list[Path]:
    """The files that a reader reads; none where it is none of files."""
    kind = load_plugins().find("reader", use)
    try:
        return kind.model_validate(settings).files() if issubclass(kind, FileReader) else []
    except DataError:  # a folder, as that of dataset_info.json
        return []


def write_table(place: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]], force: bool) -> None:
    """Write a CSV in UTF-8, without columns that have one name: nobody can say which of them is meant.

    Raises:
        InfimedError: there is such a file, and it is not to be written over.
    """
    if place.exists() and not force:
        raise InfimedError(f"{place}: is there already; write over it with --force")
    plain = [name for name in names if names.count(name) == 1]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=plain)
    writer.writeheader()
    for row in rows:
        cells = {name: row.get(name) for name in plain}
        if wrong := next((cell for cell in cells.values() if isinstance(cell, Exception)), None):
            raise wrong
        writer.writerow(cells)
    write_atomically(place, stream.getvalue())


def _value(cell: Any) -> str:
    return "" if is_empty(cell) else str(cell).strip().casefold()


def row_keys(use: str, settings: Mapping[str, Any]) -> Iterator[Any]:
    """What each row says and shows, whatever its id; ``None`` of a row that is no sample."""
    for row in islice(rows_of(use, settings), MOST_ROWS):
        if not isinstance(row, Sample):
            yield None
            continue
        shown = tuple(medium.uri or medium.sha256 or hash(medium.data) for medium in row.media)
        yield shown, tuple((turn.role, " ".join(turn.text.split())) for turn in row.turns)


def apart(
    use: str, sources: Sequence[dict[str, Any]], tests: Sequence[Guess], folder: Path | None, force: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """The settings of a reader for each table that is trained on, without rows of the test set; and what was left out.

    A table that holds rows of the test set and else only rows of other tables is not read; of any other CSV the
    rows that are not in the test set are written to a table of their own in ``folder``, if that is given.

    Raises:
        InfimedError: nothing is left.
    """
    files = [(settings, file) for settings in sources for file in files_of(use, settings)]
    tables = [settings | {"path": str(file)} for settings, file in files]
    if any(os.path.isdir(settings["path"]) for settings, _ in files):  # a folder whose reader chooses its tables
        return list(sources), []
    if not tables or not _are_compared([one["path"] for one in tables], [str(one.settings["path"]) for one in tests]):
        return list(sources), []
    asked = {key for test in tests for key in row_keys(test.use, test.settings)} - {None}
    keys = [list(row_keys(use, settings)) for settings in tables]
    shared = [sum(key in asked for key in found) for found in keys]
    if not any(shared):
        return list(sources), []
    clean = {key for found, number in zip(keys, shared, strict=True) if not number for key in found}
    kept, lines = [], []
    for settings, found, number in zip(tables, keys, shared, strict=True):
        file = Path(settings["path"])
        rest = set(found) - asked - {None}
        told = f"{number:,} of the {len(found):,} rows of {file.name} are in the test set"
        if not number:
            kept.append(settings)
        elif rest <= clean:
            lines.append(f"{told}, {'the others in other tables' if rest else 'and no other'}: it is not read")
        elif use == "csv" and folder is not None:
            kept.append(_without(found, asked, settings, folder, force))
            lines.append(f"{told}: the others are in {Path(kept[-1]['path']).name}")
            clean |= rest
        else:
            kept.append(settings)
            lines.append(f"{told}: take them out before you train")
    if not kept:
        raise InfimedError(f"{'; '.join(lines)}; nothing is left to train on: name other data with --data")
    return kept, lines


def _are_compared(tables: Sequence[str], tests: Sequence[str]) -> bool:
    """Whether these are tables of a size that is read in a while."""
    files = [Path(path) for path in (*tables, *tests) if Path(path).is_file()]
    return all(map(os.path.isfile, tables)) and sum(file.stat().st_size for file in files) < MOST_BYTES


def _without(
    keys: Sequence[Any], asked: set[Any], settings: dict[str, Any], folder: Path, force: bool
) -> dict[str, Any]:
    """Write the rows of a table that are not asked about, and say how they are read."""
    file, encoding = Path(settings["path"]), settings.get("encoding")
    rows = [row for _, row in table_rows(file, None, encoding)]
    left = [row for row, key in zip(rows, keys, strict=False) if isinstance(row, Mapping) and key not in asked]
    place = folder / f"{file.name.split('.')[0]}-train.csv"
    write_table(place, header_of(file, None, encoding), left, force)
    read = {name: value for name, value in settings.items() if name not in ("path", "encoding")}
    return {"path": str(place), "image_root": str(file.parent)} | read
