"""The reader ``parquet``: rows of Parquet files, images inside or beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import Component, DataError, Sample
from infimed_plugins.readers.arrow import decoders_of, rows_of
from infimed_plugins.readers.columns import ASKED, Columns, sample_of
from infimed_plugins.readers.files import FileReader
from infimed_plugins.readers.texts import regular

MOST_LOST = 10_000_000
"""Rows of a broken group that are told one by one."""


class Parquet(FileReader):
    """A row is a question and answer, a caption, or a conversation; ``columns`` says which column holds what."""

    packages: ClassVar[Mapping[str, str]] = {"pyarrow": "infimed[score]"}

    columns: Columns = Columns()
    question: str | None = Field(default=None, min_length=1, description=ASKED)
    look: ClassVar[int] = 64
    batch_rows: int = Field(default=64, ge=1, description="Rows in memory at once.")

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Rows in order, a batch in memory at a time (``file:row N``, from 0)."""
        yield from parquet_rows(file, self.batch_rows)

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
                names = _schema_names(self.files()[0])
            except Exception:  # what is wrong with the file is told where it is read
                return found
            found |= {f"columns.{place}": told for place, told in self.columns.missing(names).items()}
        return found


def _schema_names(file: Path) -> list[str]:
    import pyarrow.parquet as pq

    regular(file)
    return list(pq.read_schema(file).names)


def parquet_rows(file: Path, batch_rows: int = 64) -> Iterator[tuple[str, Any]]:
    """Rows of a file with their places, ``batch_rows`` in memory at once; of a group that breaks each row is a fault.

    Raises:
        DataError: ``bad_file``: the file is no whole Parquet file.
    """
    import pyarrow.parquet as pq

    regular(file)
    number = 0
    try:
        table = pq.ParquetFile(file)
    except Exception as error:
        raise DataError("bad_file", f"no whole Parquet file: {error}") from None
    with table:
        decoders = decoders_of(table.schema_arrow)
        for group in range(table.num_row_groups):
            end = number + table.metadata.row_group(group).num_rows
            try:
                for batch in table.iter_batches(batch_size=batch_rows, row_groups=[group]):
                    for row in rows_of(batch, decoders):
                        yield f"{file}:row {number}", row
                        number += 1
            except Exception as error:
                if end - number > MOST_LOST:  # what the file says of itself may be what is broken
                    raise DataError("bad_file", f"rows {number} to {end - 1} are broken: {error}") from None
                told = DataError("bad_row", f"its group of rows is broken: {error}; fetch the file again")
                for lost in range(number, end):
                    yield f"{file}:row {lost}", told
            number = max(number, end)
