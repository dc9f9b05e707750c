"""Rows of a local folder in upstream's layout: JSON, JSON lines, CSV or Parquet, and the images beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infimed_core import DataError, Media

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


def read_table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with the place each comes from.

    Raises:
        DataError: the file is not what its name says.
    """
    try:
        if path.suffix == ".parquet":
            yield from _read_parquet(path)
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as stream:
                for number, row in enumerate(csv.DictReader(stream), 2):
                    yield f"{path}:{number}", dict(row)
        else:
            yield from _read_json(path)
    except (OSError, ValueError) as error:
        raise DataError("unreadable", f"{path}: {error}; download the file again") from error


def _read_json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        for index, row in enumerate(json.loads(text)):
            yield f"{path}[{index}]", row
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{path}:{number}", json.loads(line)


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow.parquet as parquet

    number = 0
    for batch in parquet.ParquetFile(path).iter_batches(batch_size=64):
        for row in batch.to_pylist():
            yield f"{path}#{number}", row
            number += 1


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
        if not isinstance(name, str) or not name:
            raise DataError("missing_image", f"no image in this cell: {type(value).__name__}")
        for folder in self.folders:
            path = self.root / folder / name
            if path.is_file() and path.resolve().is_relative_to(self.root.resolve()):
                return Media(uri=str(path.resolve()))
        looked = ", ".join(str(self.root / folder / name) for folder in self.folders)
        raise DataError("missing_file", f"image not found: {looked}; unpack the image archive there")
