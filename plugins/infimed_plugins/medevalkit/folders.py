"""Rows of a local folder in upstream's layout: JSON, JSON lines, CSV or Parquet, and the images beside them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from infimed_core import DataError, Media, Registry, load_plugins

KINDS = ("parquet", "jsonl", "json", "csv")


def find_tables(root: Path, patterns: Sequence[str], config: str | None, split: str) -> list[Path]:
    """The files that hold the questions: those of the first pattern that matches any.

    Without patterns: files named for the split, in the folder or in one named for the configuration, as the hub
    lays them out (``data/test-00000-of-00001.parquet``, ``MM/test.jsonl``).
    """
    bases = [root / config, root / "data" / config] if config else [root, root / "data"]
    wanted = [(root, pattern) for pattern in patterns]
    if config:
        wanted += [(root / split, f"{config}.{kind}") for kind in KINDS]
    wanted += [(base, f"{split}{rest}.{kind}") for base in bases for kind in KINDS for rest in ("", "-*", "_*")]
    wanted += [(base, f"*{split}*.{kind}") for base in bases for kind in KINDS]
    for base, pattern in wanted:
        if base.is_dir() and (found := sorted(path for path in base.glob(pattern) if path.is_file())):
            return found
    return []


def sha256_of(path: Path) -> str:
    """Digest of a file's content, taken once in a process while its size and time stand."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)  # the last cannot be set back


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, *state: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_table(path: Path) -> Iterator[tuple[str, Any]]:
    """Rows with the place each comes from; a row that cannot be read is the ``DataError`` that says why.

    Where a file breaks off, the last row is the error that says so.

    Raises:
        DataError: the file is not what its name says.
    """
    number = 0
    try:
        if not path.is_file():
            raise DataError("unreadable", f"{path}: is no plain file, and is not opened")
        for row in _READERS.get(path.suffix, _read_json)(path):
            yield row
            number += 1
    except Exception as error:
        told = DataError("unreadable", f"{path}: {error}; download the file again")
        if not number:
            raise told from error
        yield f"{path}, behind row {number}", told


@functools.cache
def _plugins() -> Registry:
    return load_plugins()


def _read_csv(path: Path) -> Iterator[tuple[str, Any]]:
    """As the reader ``csv`` knows rows: an open quote or a cell too many is that row's fault, and loses no other."""
    reader: Any = _plugins().make("reader", "csv", {"path": str(path), "delimiter": ","})
    for where, row in reader.rows(path):
        yield where, _whole({name: cell or "" for name, cell in row.items()}) if isinstance(row, dict) else row


def _whole(row: dict[str, str]) -> dict[str, str] | DataError:
    """The row, unless a byte of it is not UTF-8."""
    try:
        "".join(itertools.chain.from_iterable(row.items())).encode()
    except UnicodeEncodeError:
        return DataError("bad_row", "a byte is not UTF-8; save the table as UTF-8")
    return row


def _read_json(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as lines:
        is_array = lines.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        lines.seek(0)
        if is_array:
            yield from _read_array(path)
            return
        for number, line in enumerate(lines, 1):  # ended by a line feed alone, whatever else Unicode calls a line
            if line.strip():
                yield f"{path}:{number}", _parsed(line)


def _read_array(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries; of an array that is damaged those that are whole, as the reader ``llava`` finds them."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        reader: Any = _plugins().make("reader", "llava", {"path": str(path)})
        yield from reader.rows(path)
        return
    for index, row in enumerate(rows):
        yield f"{path}[{index}]", row


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return DataError("bad_row", f"not JSON: {error}")


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet as parquet

    number = 0
    for batch in parquet.ParquetFile(path).iter_batches(batch_size=64):
        for row in _rows_of(batch):
            yield f"{path}#{number}", row
            number += 1


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {".parquet": _read_parquet, ".csv": _read_csv}


def _rows_of(batch: Any) -> Iterator[Any]:
    """The rows of a batch; where a value has no form in Python, the rows beside it are read."""
    try:
        yield from batch.to_pylist()
        return
    except Exception:  # a date out of range, a time zone that is not known here
        pass
    for number in range(batch.num_rows):
        try:
            yield batch.slice(number, 1).to_pylist()[0]
        except Exception as error:
            yield DataError("bad_row", f"a cell cannot be read ({type(error).__name__}: {error})")


def is_no_image(value: Any) -> bool:
    """Whether an image cell is empty: null, NaN, "", or a struct of nulls."""
    if isinstance(value, dict):
        return not value.get("bytes") and not value.get("path")
    return value is None or value == "" or value != value


class Images:
    """Turns upstream's ways of naming an image into ``Media``: inline bytes, or a file somewhere below the folder."""

    def __init__(self, root: Path, folders: Sequence[str] = ("",)) -> None:
        self.root = root
        self.folders = tuple(folders)

    def find(self, value: Any) -> Media:
        """The media of an image cell.

        Raises:
            DataError: ``missing_file``, naming where it was looked for.
        """
        if isinstance(value, dict) and value.get("bytes"):
            return Media(data=bytes(value["bytes"]))
        name = value.get("path") if isinstance(value, dict) else value
        if is_no_image(value) or not isinstance(name, str):
            raise DataError("missing_image", f"no image in this cell: {type(value).__name__}")
        for folder in self.folders:
            path = self.root / folder / name
            if path.is_file() and path.resolve().is_relative_to(self.root.resolve()):
                return Media(uri=str(path.resolve()))
        looked = ", ".join(str(self.root / folder / name) for folder in self.folders)
        raise DataError("missing_file", f"image not found: {looked}; unpack the image archive there")
