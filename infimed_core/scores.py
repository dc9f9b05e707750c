"""Scores on disk: one Parquet file for each part of the samples, read back part by part and never all at once."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from infimed_core.dataset import Dataset
from infimed_core.record import write_atomically
from infimed_core.types import Candidate, Score, canonical_json

SUCCESS = "_SUCCESS"
_PART = "part."


def part_path(directory: Path, start: int) -> Path:
    """The file of the part whose first row is ``start``."""
    return directory / f"part-{start:09d}.parquet"


def write_part(path: Path, ids: Sequence[str], scores: Sequence[Score], dimensions: Sequence[str]) -> None:
    """Write one part by temporary file and rename.

    Columns: ``id``, ``value``, ``status``, ``reasons``, ``note``, ``part.NAME`` for each dimension, and the maps
    ``more_parts`` and ``raw``. A number that is not finite is null.
    """
    import pyarrow as pa
    from pyarrow import parquet

    numbers = pa.map_(pa.string(), pa.float64())
    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "value": pa.array([score.value for score in scores], pa.float64()),
        "status": pa.array([score.status for score in scores], pa.string()).dictionary_encode(),
        "reasons": pa.array([list(score.reasons) for score in scores], pa.list_(pa.string())),
        "note": pa.array([_storable(score.note) for score in scores], pa.string()),
    }
    for name in dimensions:
        columns[_PART + name] = pa.array([_finite(score.parts.get(name)) for score in scores], pa.float64())
    known = set(dimensions)
    more = [[(k, _finite(v)) for k, v in score.parts.items() if k not in known] for score in scores]
    columns["more_parts"] = pa.array(more, numbers)
    columns["raw"] = pa.array([[(k, _finite(v)) for k, v in score.raw.items()] for score in scores], numbers)
    # a dimension that a score does not have is not a dimension that is null
    columns["has_parts"] = pa.array([[n for n in dimensions if n in s.parts] for s in scores], pa.list_(pa.string()))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        parquet.write_table(pa.table(columns), stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _storable(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate in a message must not cost a row."""
    return text.encode("utf-8", "replace").decode("utf-8")


def num_rows(path: Path) -> int | None:
    """How many rows a part holds; ``None`` where it is missing or cannot be read, so that it is made anew."""
    from pyarrow import ArrowException, parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except (OSError, ArrowException):
        return None


def has_errors(path: Path) -> bool:
    """Whether a part holds a score with the status ``error``; ``False`` where there is no part."""
    from pyarrow import compute, parquet

    if num_rows(path) is None:
        return False
    status = parquet.read_table(path, columns=["status"]).column("status").cast("string")
    return bool(compute.any(compute.equal(status, "error")).as_py())


class ScoreTable(Sequence[tuple[str, Score]]):
    """The scores of a finished scoring step, in the order of the samples."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @cached_property
    def _parts(self) -> list[Path]:
        return sorted(self.directory.glob("part-*.parquet"))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(num_rows(part) or 0 for part in self._parts)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[tuple[str, Score]]:
        for part in self._parts:
            yield from _read_part(part)

    @overload
    def __getitem__(self, row: int) -> tuple[str, Score]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[str, Score]]: ...
    def __getitem__(self, row: int | slice) -> tuple[str, Score] | list[tuple[str, Score]]:
        """One row; its part is read for it, so that many are better had by going through the table."""
        if isinstance(row, slice):
            return [self[index] for index in range(*row.indices(len(self)))]
        row = row + len(self) if row < 0 else row
        if not 0 <= row < len(self):
            raise IndexError(row)
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return _read_part(self._parts[part])[row - int(self._starts[part])]

    def columns(self, dimensions: Sequence[str], step: int = 1) -> NDArray[np.float64]:
        """Float64 [rows, dimensions] of every ``step``-th row, ``nan`` for null; nothing else is read."""
        from pyarrow import parquet

        found = []
        for part, start in zip(self._parts, self._starts, strict=False):
            table = parquet.read_table(part, columns=[_PART + name for name in dimensions])
            values = np.column_stack([column.to_numpy() for column in table.columns])
            found.append(values[-int(start) % step :: step])
        return np.concatenate(found) if found else np.zeros((0, len(dimensions)))

    def finish(self, made_from: str, counts: Mapping[str, int]) -> str:
        """Write ``_SUCCESS`` (rows, statuses, digest of the rows in order); return the digest."""
        whole = hashlib.sha256()
        for identity, score in self:
            whole.update(canonical_json([identity, score.model_dump(mode="json")]).encode())
        body = {
            "num_rows": len(self), "num_parts": len(self._parts), "status": dict(counts), "made_from": made_from,
            "digest": whole.hexdigest(),
        }  # fmt: skip
        write_atomically(self.directory / SUCCESS, json.dumps(body, indent=1))
        return whole.hexdigest()


def _read_part(path: Path) -> list[tuple[str, Score]]:
    from pyarrow import parquet

    rows = []
    for row in parquet.read_table(path).to_pylist():
        parts = {name: row[_PART + name] for name in row["has_parts"]}
        parts |= dict(row["more_parts"])
        score = Score(
            value=row["value"],
            status=row["status"],
            parts=parts,
            reasons=tuple(row["reasons"]),
            raw=dict(row["raw"]),
            note=row["note"],
        )
        rows.append((row["id"], score))
    return rows


class Candidates(Sequence[Candidate]):
    """What a selector goes through: made from the stored scores and tags as they are asked for."""

    def __init__(self, dataset: Dataset, table: ScoreTable, left_out: Mapping[str, object]) -> None:
        self._dataset = dataset
        self._table = table
        rows = (row for row, identity in enumerate(dataset.ids) if identity not in left_out)
        self._rows = np.fromiter(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Candidate]:
        wanted = iter(self._rows.tolist())
        following = next(wanted, None)
        for row, (_, score) in enumerate(self._table):
            if row == following:
                yield self._made(row, score)
                following = next(wanted, None)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> list[Candidate]: ...
    def __getitem__(self, place: int | slice) -> Candidate | list[Candidate]:
        """One candidate; its part of the scores is read for it."""
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        row = int(self._rows[place])
        return self._made(row, self._table[row][1])

    def _made(self, row: int, score: Score) -> Candidate:
        # the dataset's own id, so that equal text is in memory once
        return Candidate(id=self._dataset.ids[row], tags=self._dataset.tags[row], score=score)
