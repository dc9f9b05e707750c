"""The reader ``csv``: rows of a table in text (CSV, TSV), images beside it."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Sample
from infimed_plugins.readers.columns import Columns, sample_of
from infimed_plugins.readers.files import FileReader


class Csv(FileReader):
    """A row is a question and answer, or a caption; the first line names the columns, ``columns`` says what they hold.

    UTF-8, with or without a mark; a cell in quotes may hold line breaks; ``.gz`` is read too. An empty cell holds
    nothing.
    """

    columns: Columns = Columns()
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="Between cells: a tab in .tsv files, else a comma."
    )

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Rows in order, each with the line that it begins on (``file:line``)."""
        opener = gzip.open if file.suffix == ".gz" else open
        delimiter = self.delimiter or ("\t" if ".tsv" in file.suffixes else ",")
        csv.field_size_limit(2**31 - 1)  # an image may stand in a cell, as a data URI
        with opener(file, "rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, delimiter=delimiter, strict=True)
            try:
                names = next(lines, [])
                if len(set(names)) != len(names):
                    twice = next(name for name in names if names.count(name) > 1)
                    raise DataError("bad_file", f"two columns are named '{twice}'; the first line must name each once")
                start = lines.line_num + 1
                for cells in lines:
                    if cells:
                        yield f"{file}:{start}", _row(names, cells)
                    start = lines.line_num + 1
            except UnicodeDecodeError as error:
                raise DataError("bad_file", f"is not UTF-8 ({error.reason}); save the table as UTF-8") from None
            except csv.Error as error:
                raise DataError("bad_file", f"after line {lines.line_num}: {error}; mend its quotes") from None

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The row through ``columns``."""
        return sample_of(row, self.columns, identity, lambda name: self.media(file, name))


def _row(names: list[str], cells: list[str]) -> dict[str, str | None] | DataError:
    if len(cells) != len(names):
        return DataError(
            "bad_row",
            f"{len(cells)} cells, but the first line names {len(names)} columns; put text with commas in quotes",
        )
    return {name: cell or None for name, cell in zip(names, cells, strict=True)}
