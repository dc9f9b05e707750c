"""The reader ``parquet``: rows of Parquet files, images inside or beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Sample
from infimed_plugins.readers.columns import Columns, sample_of
from infimed_plugins.readers.files import FileReader


class Parquet(FileReader):
    """A row is a question and answer, a caption, or a conversation; ``columns`` says which column holds what."""

    columns: Columns = Columns()
    batch_rows: int = Field(default=64, ge=1, description="Rows in memory at once.")

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Rows in order, a batch in memory at a time (``file:row N``, from 0)."""
        yield from parquet_rows(file, self.batch_rows)

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The row through ``columns``."""
        return sample_of(row, self.columns, identity, lambda name: self.media(file, name))


def parquet_rows(file: Path, batch_rows: int = 64) -> Iterator[tuple[str, Any]]:
    """Rows of a file with their places, ``batch_rows`` in memory at once.

    Raises:
        DataError: ``bad_file``: the file is no whole Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(batch_size=batch_rows):
                for row in batch.to_pylist():
                    yield f"{file}:row {number}", row
                    number += 1
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError("bad_file", f"no whole Parquet file: {error}") from None
