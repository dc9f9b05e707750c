"""Scores on disk: one Parquet file for each part of the samples, read back part by part and never all at once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import canonical_json
from infimed_core.api.data import Score
from infimed_core.api.quality import Candidate
from infimed_core.errors import InfimedError
from infimed_core.store.columns import fixed_bytes, lists_of_texts, maps_to_numbers, numbers, texts, to_numbers
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import replaced, write_atomically

SUCCESS = "_SUCCESS"
_PART = "part."
_DIGEST = "digest"
_DIGEST_BYTES = 16


def part_path(directory: Path, start: int, key: str = "") -> Path:
    """The file of the part whose first row is ``start``; ``key`` says what it was made from."""
    return directory / f"part-{start:09d}{'-' if key else ''}{key}.parquet"


def write_part(path: Path, ids: Sequence[str], scores: Sequence[Score], dimensions: Sequence[str]) -> None:
    """Write one part by temporary file and rename.

    Columns: ``id``, ``value``, ``status``, ``reasons``, ``note``, ``part.NAME`` for each dimension, the maps
    ``more_parts`` and ``raw``, and ``digest``, 16 bytes over the row. A number that is not finite is null.
    """
    import pyarrow as pa
    from pyarrow import parquet

    scores = [_stored(score) for score in scores]
    known = set(dimensions)
    columns: dict[str, Any] = {
        "id": texts(ids),
        "value": numbers([score.value for score in scores]),
        "status": texts(score.status for score in scores),
        "reasons": lists_of_texts([score.reasons for score in scores]),
        "note": texts(score.note for score in scores),
    }
    for name in dimensions:
        columns[_PART + name] = numbers([score.parts.get(name) for score in scores])
    more = [{name: part for name, part in score.parts.items() if name not in known} for score in scores]
    columns["more_parts"] = maps_to_numbers(more)
    columns["raw"] = maps_to_numbers([score.raw for score in scores])
    # a dimension that a score does not have is not a dimension that is null
    columns["has_parts"] = lists_of_texts([[name for name in dimensions if name in score.parts] for score in scores])
    digests = [row_digest(identity, score) for identity, score in zip(ids, scores, strict=True)]
    columns[_DIGEST] = fixed_bytes(digests, _DIGEST_BYTES)
    with replaced(path, "wb") as stream:
        parquet.write_table(pa.table(columns), stream, compression="zstd", write_page_checksum=True)


def row_digest(identity: str, score: Score) -> bytes:
    """16 bytes that tell whether two stored rows are equal; made where the row is scored, since it takes its time."""
    text = canonical_json([identity, score.model_dump(mode="json")])
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _stored(score: Score) -> Score:
    """The score as it comes back: finite numbers, and a note that UTF-8 can hold (a lone surrogate costs no row)."""
    return Score.model_construct(
        value=score.value,
        status=score.status,
        parts={name: _finite(part) for name, part in score.parts.items()},
        reasons=score.reasons,
        raw={name: _finite(number) for name, number in score.raw.items()},
        note=score.note.encode("utf-8", "replace").decode("utf-8"),
    )


def _finite(number: float | None) -> float | None:
    return float(number) if number is not None and math.isfinite(number) else None


def num_rows(path: Path) -> int | None:
    """How many rows a part holds; ``None`` where it is missing or cannot be read, so that it is made anew."""
    from pyarrow import ArrowException, parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except (OSError, ArrowException):
        return None


def has_errors(path: Path) -> bool:
    """Whether a part holds a score with the status ``error``; ``False`` where there is no part."""
    if num_rows(path) is None:
        return False
    return "error" in _read(path, ["status"]).column("status").to_pylist()


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
            yield from _rows(_read(part))

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
        return _rows(_read(self._parts[part]).slice(row - int(self._starts[part]), 1))[0]

    def thin(self, names: Sequence[str]) -> Iterator[tuple[int, Any]]:
        """(first row, pyarrow table) of every part, with these columns alone (see ``write_part``)."""
        for part, start in zip(self._parts, self._starts, strict=False):
            yield int(start), _read(part, names)

    def columns(self, dimensions: Sequence[str], step: int = 1) -> NDArray[np.float64]:
        """Float64 [rows, dimensions] of every ``step``-th row, ``nan`` for null; nothing else is read."""
        found = []
        for start, table in self.thin([_PART + name for name in dimensions]):
            values = np.column_stack([to_numbers(column) for column in table.columns])
            found.append(values[-start % step :: step])
        return np.concatenate(found) if found else np.zeros((0, len(dimensions)))

    def finish(self, inputs_digest: str, counts: Mapping[str, int]) -> str:
        """Write ``_SUCCESS`` (rows, statuses, digest of the rows in order); return the digest."""
        whole = hashlib.sha256()
        for _, table in self.thin([_DIGEST]):
            whole.update(b"".join(table.column(_DIGEST).to_pylist()))
        body = {
            "num_rows": len(self), "num_parts": len(self._parts), "status": dict(counts),
            "inputs_digest": inputs_digest, "digest": whole.hexdigest(),
        }  # fmt: skip
        write_atomically(self.directory / SUCCESS, json.dumps(body, indent=1))
        return whole.hexdigest()


def _read(part: Path, names: Sequence[str] | None = None) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(part, page_checksum_verification=True) as file:
            return file.read(columns=names)
    except (OSError, ArrowException) as error:
        raise InfimedError(
            f"{part}: is damaged ({error}); remove it with `rm {part}` and run the same command again: its samples are "
            "scored anew"
        ) from None


def _rows(table: Any) -> list[tuple[str, Score]]:
    rows = []
    for row in table.to_pylist():
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
    """What a selector goes through: made from the stored scores of every scorer and the tags, as they are asked for.

    The score is the first scorer's. Parts and reasons of every other are added as ``scorer.part`` and
    ``scorer.reason``, so that no two can have one name, whatever scorers a run file adds later.

    Attributes:
        rows: int64 [number of candidates], the row of each in the dataset.

    Raises:
        InfimedError: the scores of a scorer are not of these samples.
    """

    def __init__(self, dataset: Dataset, tables: Mapping[str, ScoreTable], left_out: NDArray[np.bool_]) -> None:
        self._dataset = dataset
        self._names = list(tables)[1:]
        self._tables = list(tables.values())
        for name, table in tables.items():
            if len(table) != len(dataset):
                raise InfimedError(f"{table.directory}: '{name}' has scores of {len(table)} of {len(dataset)} samples")
        self.rows = np.flatnonzero(~left_out)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Candidate]:
        wanted = iter(self.rows.tolist())
        following = next(wanted, None)
        for row, scores in enumerate(zip(*self._tables, strict=True)):
            if row == following:
                yield self._made(row, scores)
                following = next(wanted, None)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> list[Candidate]: ...
    def __getitem__(self, place: int | slice) -> Candidate | list[Candidate]:
        """One candidate; its part of the scores is read for it."""
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        row = int(self.rows[place])
        return self._made(row, tuple(table[row] for table in self._tables))

    def _made(self, row: int, scores: tuple[tuple[str, Score], ...]) -> Candidate:
        body = json.loads(self._dataset.line(row))
        identity = body["id"]
        if any(stored != identity for stored, _ in scores):
            raise InfimedError(f"row {row + 1}: the sample is '{identity}', the scores are of {[s for s, _ in scores]}")
        (_, first), *others = scores
        parts, reasons = dict(first.parts), list(first.reasons)
        for name, (_, other) in zip(self._names, others, strict=True):
            parts |= {f"{name}.{part}": value for part, value in other.parts.items()}
            reasons += [f"{name}.{reason}" for reason in other.reasons]
        score = first.model_copy(update={"parts": parts, "reasons": tuple(reasons)}) if others else first
        return Candidate(id=identity, tags=body.get("tags", {}), score=score)
