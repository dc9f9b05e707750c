"""Scores on disk: one Parquet file for each part of the samples, read back part by part and never all at once."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject, canonical_json
from infimed_core.api.data import Score
from infimed_core.api.quality import Candidate
from infimed_core.errors import InfimedError
from infimed_core.store.dataset import Dataset, Rows
from infimed_core.store.files import replaced, write_atomically

SUCCESS = "_SUCCESS"
_PART, _VALUE, _DIGEST = "part.", "value", "digest"
_ROW = ("id", "score")
_DIGEST_BYTES = 16


def part_path(directory: Path, start: int, key: str = "") -> Path:
    """The file of the part whose first row is ``start``; ``key`` says what it was made from."""
    return directory / f"part-{start:09d}{'-' if key else ''}{key}.parquet"


def write_part(path: Path, ids: Sequence[str], scores: Sequence[Score], dimensions: Sequence[str]) -> None:
    """Write one part by temporary file and rename.

    Columns: ``id``, ``value``, ``status``, ``reasons``, ``part.NAME`` for each dimension, ``score`` (the whole score as
    JSON) and ``digest``, 16 bytes over the row in hexadecimal digits. A number that is not finite is null.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json
    from pyarrow import parquet

    fields = {"id": pa.string(), _VALUE: pa.float64(), "status": pa.string(), "reasons": pa.list_(pa.string())}
    fields |= {_PART + name: pa.float64() for name in dimensions} | {"score": pa.string(), _DIGEST: pa.string()}
    lines = []
    for identity, score in zip(ids, map(_finite_score, scores), strict=True):
        body = score.model_dump(mode="json")
        row = {"id": identity, _VALUE: score.value, "status": score.status, "reasons": score.reasons}
        row |= {_PART + name: score.parts.get(name) for name in dimensions}
        row |= {"score": canonical_json(body), _DIGEST: row_digest(identity, body)}
        lines.append(json.dumps(row, ensure_ascii=False).encode())
    content = b"\n".join(lines)
    # Read as JSON: columns that pyarrow makes of Python lists import pandas, half a second in every worker process.
    columns = arrow_json.read_json(
        io.BytesIO(content),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(content) + 1),
        parse_options=arrow_json.ParseOptions(explicit_schema=pa.schema(fields.items())),
    )
    with replaced(path, "wb") as stream:
        parquet.write_table(columns, stream, compression="zstd", write_page_checksum=True)


def row_digest(identity: str, score: JsonObject) -> str:
    """Digits that tell whether two stored rows are equal; made where the row is scored, since it takes its time."""
    return hashlib.blake2b(canonical_json([identity, score]).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _finite_score(score: Score) -> Score:
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


def begun_rows(path: Path) -> tuple[list[str], list[Score]]:
    """Ids and scores that a killed process had of a part; none where there is no such file, or a damaged one."""
    with suppress(InfimedError):
        rows = _rows(_read(path, _ROW)) if num_rows(path) else []
        return [identity for identity, _ in rows], [score for _, score in rows]
    return [], []


def has_errors(path: Path) -> bool:
    """Whether a part holds a score with the status ``error``; ``False`` where there is no part."""
    if num_rows(path) is None:
        return False
    return "error" in _read(path, ["status"]).column("status").to_pylist()


class ScoreTable(Rows[tuple[str, Score]]):
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
            yield from _rows(_read(part, _ROW))

    def row(self, row: int) -> tuple[str, Score]:
        """One row; its part is read for it, so that many are better had by going through the table."""
        row = row + len(self) if row < 0 else row
        if not 0 <= row < len(self):
            raise IndexError(row)
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return _rows(_read(self._parts[part], _ROW).slice(row - int(self._starts[part]), 1))[0]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that have a column of their own."""
        from pyarrow import parquet

        names = parquet.read_schema(self._parts[0]).names if self._parts else []
        return tuple(name.removeprefix(_PART) for name in names if name.startswith(_PART))

    def columns(self, dimensions: Sequence[str], step: int = 1) -> NDArray[np.float64]:
        """Float64 [rows, dimensions] of every ``step``-th row, ``nan`` for null; nothing else is read."""
        return self._numbers([_PART + name for name in dimensions], step)

    def values(self) -> NDArray[np.float64]:
        """Float64 [rows]: the value of every score, ``nan`` for null; nothing else is read."""
        return self._numbers([_VALUE])[:, 0]

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """How many scores have each status, and how many each reason."""
        status, reasons = Counter[str](), Counter[str]()
        for part in self._parts:
            table = _read(part, ["status", "reasons"])
            status.update(table.column("status").to_pylist())
            reasons.update(chain.from_iterable(table.column("reasons").to_pylist()))
        return status, reasons

    def _numbers(self, names: Sequence[str], step: int = 1) -> NDArray[np.float64]:
        parts = [np.zeros((0, len(names)))]
        for part, start in zip(self._parts, self._starts.tolist(), strict=False):
            columns = [np.array(column.to_pylist(), dtype=np.float64) for column in _read(part, names).columns]
            parts.append(np.column_stack(columns)[-start % step :: step])
        return np.concatenate(parts)

    def finish(self, inputs_digest: str, counts: Mapping[str, int]) -> str:
        """Write ``_SUCCESS`` (rows, statuses, digest of the rows in order); return the digest."""
        whole = hashlib.sha256()
        for part in self._parts:
            whole.update(bytes.fromhex("".join(_read(part, [_DIGEST]).column(_DIGEST).to_pylist())))
        body = {
            "num_rows": len(self), "num_parts": len(self._parts), "status": dict(counts),
            "inputs_digest": inputs_digest, "digest": whole.hexdigest(),
        }  # fmt: skip
        write_atomically(self.directory / SUCCESS, json.dumps(body, indent=1))
        return whole.hexdigest()


def _read(part: Path, names: Sequence[str]) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(part, page_checksum_verification=True) as file:
            return file.read(columns=list(names))
    except (OSError, ArrowException) as error:
        raise InfimedError(
            f"{part}: is damaged ({error}); remove it with `rm {part}` and run the same command again: its samples are "
            "scored anew"
        ) from None


def _rows(table: Any) -> list[tuple[str, Score]]:
    ids, scores = table.column("id").to_pylist(), table.column("score").to_pylist()
    return [(identity, Score.model_validate_json(score)) for identity, score in zip(ids, scores, strict=True)]


class Candidates(Rows[Candidate]):
    """What a selector goes through: made from the stored scores of every scorer and the tags, as they are asked for.

    The score is the first scorer's. Parts and reasons of every other are added as ``scorer.part`` and
    ``scorer.reason``, so that no two can have one name, whatever scorers a run file adds later.

    With ``scored=False`` the last rows, or all, may be without scores.

    Attributes:
        rows: int64 [number of candidates], the row of each in the dataset.

    Raises:
        InfimedError: the scores of a scorer are not of these samples.
    """

    def __init__(
        self, dataset: Dataset, tables: Mapping[str, ScoreTable], left_out: NDArray[np.bool_], scored: bool = True
    ) -> None:
        self._dataset = dataset
        self._names = list(tables)[1:]
        self._tables = list(tables.values())
        for name, table in tables.items():
            if len(table) != len(dataset) and (scored or len(table) > len(dataset)):
                raise InfimedError(f"{table.directory}: '{name}' has scores of {len(table)} of {len(dataset)} samples")
        self.rows = np.flatnonzero(~left_out)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Candidate]:
        is_candidate = np.zeros(len(self._dataset), dtype=bool)
        is_candidate[self.rows] = True
        for row, scores in enumerate(chain(zip(*self._tables, strict=True), repeat((), len(self._dataset)))):
            if row < len(is_candidate) and is_candidate[row]:
                yield self._made(row, scores)

    def ids(self) -> Iterator[str]:
        """The ids of the candidates, in order."""
        for row in self.rows.tolist():
            yield self._dataset.ids[row]

    def row(self, row: int) -> Candidate:
        """One candidate; its part of the scores is read for it."""
        row = int(self.rows[row])
        return self._made(row, tuple(table[row] for table in self._tables))

    def _made(self, row: int, scores: tuple[tuple[str, Score], ...]) -> Candidate:
        body = json.loads(self._dataset.line(row))
        identity = body["id"]
        if any(stored != identity for stored, _ in scores):
            raise InfimedError(f"row {row + 1}: the sample is '{identity}', the scores are of {[s for s, _ in scores]}")
        (_, first), *others = scores or ((identity, Score(status="unscored", reasons=("not_scored",))),)
        parts, reasons = dict(first.parts), list(first.reasons)
        for name, (_, other) in zip(self._names, others, strict=False):
            parts |= {f"{name}.{part}": value for part, value in other.parts.items()}
            reasons += [f"{name}.{reason}" for reason in other.reasons]
        score = first.model_copy(update={"parts": parts, "reasons": tuple(reasons)}) if others else first
        return Candidate(id=identity, tags=body.get("tags", {}), score=score)
