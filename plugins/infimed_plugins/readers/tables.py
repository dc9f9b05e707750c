"""The reader ``csv``: rows of a table in text (CSV, TSV), images beside it."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pydantic import Field

from infimed_core import Component, DataError, Sample
from infimed_plugins.readers.columns import ASKED, Columns, sample_of
from infimed_plugins.readers.files import FileReader
from infimed_plugins.readers.texts import LONGEST_LINE, opened

DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
LONGEST = 10_000
"""Lines of one row; what goes on for longer is a quote that nobody closed."""


class Csv(FileReader):
    """A row is a question and answer, or a caption; the first line names the columns, ``columns`` says what they hold.

    UTF-8, with or without a mark, or ``encoding``; a cell in quotes may hold line breaks; ``.gz`` is read too. An empty
    cell holds nothing. Where the first line has white space around its names, that around cells is left out as well.
    """

    columns: Columns = Columns()
    question: str | None = Field(default=None, min_length=1, description=ASKED)
    names: tuple[str, ...] = Field(
        default=(), description="Names of the columns, where the first line is a row already and names none."
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Between cells: a tab in .tsv files, else what the first line has most of: comma, semicolon, tab.",
    )

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Rows in order, each with the line that it begins on (``file:line``)."""
        return table_rows(file, self.delimiter, self.encoding, self.names)

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The row through ``columns``."""
        return sample_of(row, self.columns, identity, lambda name: self.media(file, name), self.ignore, self.question)

    def own_id(self, row: Any) -> Any:
        """What stands in the column of the id."""
        return row.get(self.columns.id) if self.columns.id and isinstance(row, dict) else None

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Files that are not there, and columns that the first file has not."""
        found = dict(super().problems(run))
        if "path" not in found:
            try:
                names = self.names or header_of(self.files()[0], self.delimiter, self.encoding)
            except Exception:  # what is wrong with the file is told where it is read
                return found
            found |= {f"columns.{place}": told for place, told in self.columns.missing(names).items()}
        return found


def header_of(file: Path, delimiter: str | None = None, encoding: str | None = None) -> list[str]:
    """The names of a table's columns."""
    with opened(file, encoding, newline="") as text:
        table = _Table(text, delimiter or _usual(file))
        return [name for name in table.header() if name]


def table_rows(
    file: Path, delimiter: str | None = None, encoding: str | None = None, own_names: Sequence[str] = ()
) -> Iterator[tuple[str, Any]]:
    """Rows as maps from column to cell (``None``: empty), with their places; a broken row is a ``DataError``."""
    with opened(file, encoding, newline="") as text:
        table = _Table(text, delimiter or _usual(file))
        names = list(own_names) or table.header()
        if own_names:
            table.begin()
        told = "two columns are named '{}'; the first line must name each that is read once"
        twice = {
            name: DataError("bad_file", told.format(name))
            for name, times in Counter(names).items()
            if name and times > 1
        }
        for line, cells in table.records():
            row = cells if isinstance(cells, DataError) else _row(names, cells, table.padded)
            yield f"{file}:{line}", {**row, **twice} if twice and isinstance(row, dict) else row


class _Table:
    """The records of a text, each begun on a line of its own: where one breaks, the next line begins another."""

    def __init__(self, text: TextIO, delimiter: str | None) -> None:
        self._text, self._delimiter = text, delimiter
        self.padded = False
        self._next_line = 1
        self._again: deque[str] = deque()
        csv.field_size_limit(2**31 - 1)  # an image may stand in a cell, as a data URI

    def header(self) -> list[str]:
        self.begin()
        cells = next((cells for _, cells in self.records()), [])
        if isinstance(cells, DataError):
            raise DataError("bad_file", f"the first line cannot be read: {cells}")
        while cells and not cells[-1].strip():
            cells.pop()
        return [cell.strip() for cell in cells]

    def begin(self) -> None:
        """Find out by the first line how the table is written."""
        line = self._text.readline(LONGEST_LINE).removeprefix("\ufeff")
        if (said := _SEPARATOR.fullmatch(line)) is not None:  # how spreadsheets write which sign they mean
            self._delimiter, self._next_line = self._delimiter or said[1], 2
            line = self._text.readline(LONGEST_LINE)
        self._again.append(line)
        if "\0" in line:
            raise DataError(
                "bad_file", "the first line holds NUL; a table in UTF-16 needs its mark, or encoding: utf-16"
            )
        outside = "".join(line.split('"')[::2])
        if self._delimiter is None:
            self._delimiter = max(DELIMITERS, key=outside.count)
        self.padded = f"{self._delimiter} " in outside or f" {self._delimiter}" in outside

    def records(self) -> Iterator[tuple[int, list[str] | DataError]]:
        """(line on which it begins, cells) of every record that holds anything."""
        while True:
            taken: list[str] = []
            start = self._next_line
            assert self._delimiter is not None
            try:
                cells = next(
                    csv.reader(self._lines(taken), delimiter=self._delimiter, skipinitialspace=self.padded, strict=True)
                )
            except StopIteration:
                return
            except csv.Error as error:
                self._again.extendleft(reversed(taken[1:]))  # the quote was meant to be closed on its own line
                self._next_line = start + 1
                yield start, DataError("bad_row", f"{error}; mend its quotes")
            else:
                if cells:
                    yield start, cells

    def _lines(self, taken: list[str]) -> Iterator[str]:
        while len(taken) < LONGEST:
            line = self._again.popleft() if self._again else self._text.readline(LONGEST_LINE)
            if not line:
                return
            taken.append(line)
            self._next_line += 1
            yield line


def _usual(file: Path) -> str | None:
    return "\t" if ".tsv" in (suffix.lower() for suffix in file.suffixes) else None


def _row(names: list[str], cells: list[str], padded: bool) -> dict[str, str | None] | DataError:
    while len(cells) > len(names) and not cells[-1].strip():
        cells.pop()
    if len(cells) != len(names):
        return DataError(
            "bad_row",
            f"{len(cells)} cells, but the first line names {len(names)} columns; put text with commas in quotes",
        )
    cells = [cell.strip() for cell in cells] if padded else cells
    return {name: cell or None for name, cell in zip(names, cells, strict=True) if name}
