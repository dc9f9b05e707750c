"""Samples on disk with random access, which of them are trained on, and their media stored by content."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import from_json

from infimed_core.api.data import Media, Sample
from infimed_core.errors import DataError
from infimed_core.named_files import digest_of_file
from infimed_core.store.files import first_mistake, replaced
from infimed_core.store.places import opened, run_above

_EXTENSIONS = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"\x1f\x8b", ".nii.gz"))

T = TypeVar("T")
DEEPEST = 180  # levels of a sample's JSON: parsers follow 200, and the files of a run put some around it
TOLD_FAULTS = 5
"""Kinds of faults of which an example is told; all are in the file."""


def line_of(sample: Sample) -> str:
    """The sample as a line of a file; ValueError where it holds half of a character or is nested too deeply."""
    line = sample.model_dump_json()
    if line.count("[") + line.count("{") > DEEPEST:
        from_json("[" * (200 - DEEPEST) + line + "]" * (200 - DEEPEST))
    return line


def write_samples(path: Path, rows: Iterable[Sample]) -> int:
    """Write one sample a line, by temporary file and rename; return how many there were."""
    count = 0
    with replaced(path, durable=False) as stream:
        for count, row in enumerate(rows, 1):  # noqa: B007  what is returned
            stream.write(line_of(row) + "\n")
    return count


def store_media(sample: Sample, directory: Path) -> Sample:
    """Move inline media to ``directory/<aa>/<sha256><extension>``; equal contents are stored once."""
    if all(item.data is None for item in sample.media):
        return sample
    return sample.model_copy(update={"media": tuple(_stored(item, directory) for item in sample.media)})


def _stored(item: Media, directory: Path) -> Media:
    if item.data is None:
        return item
    sha256 = hashlib.sha256(item.data).hexdigest()
    path = directory.absolute() / sha256[:2] / (sha256 + _extension(item))
    # A file of another size is what a kill of the machine, not of the process, can leave behind.
    if not path.exists() or path.stat().st_size != len(item.data):
        with replaced(path, "wb", durable=False) as stream:
            stream.write(item.data)
    return item.model_copy(update={"data": None, "uri": str(path), "sha256": sha256})


def _extension(item: Media) -> str:
    """The extension that fits the first bytes; some readers go by it."""
    data = item.data or b""
    if data[128:132] == b"DICM":
        return ".dcm"
    is_packed = data[:2] == b"\x1f\x8b"
    head = _unpacked(data[:4096]) if is_packed else data
    if head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2"):  # of NIfTI-1, of NIfTI-2
        return ".nii.gz" if is_packed else ".nii"
    return next((extension for magic, extension in _EXTENSIONS if data.startswith(magic)), ".bin")


def _unpacked(data: bytes) -> bytes:
    """The first bytes of a gzip file's content; none where it is broken."""
    with suppress(zlib.error):
        return zlib.decompressobj(31).decompress(data, 352)
    return b""


class Rows(Sequence[T]):
    """A sequence whose rows are made as they are asked for, by ``row``."""

    @abstractmethod
    def row(self, row: int) -> T:
        """One row."""

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> list[T]: ...
    def __getitem__(self, row: int | slice) -> T | list[T]:
        """One row, or a list of those of a slice."""
        return [self.row(one) for one in range(*row.indices(len(self)))] if isinstance(row, slice) else self.row(row)


class Dataset(Rows[Sample]):
    """The samples of a JSONL file, any of them read without the others. Cheap to pickle: only the path travels."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        """Byte offsets of the lines, int64 [n + 1]; kept beside the file so that a worker need not look for them."""
        kept = self.path.with_name(self.path.name + ".offsets.npy")
        try:
            state = self.path.stat()
        except OSError as error:
            raise DataError("missing_file", f"{self.path}: {error.strerror}; the run's data were moved") from None
        try:
            offsets: NDArray[np.int64] = np.load(kept, mmap_mode="r", allow_pickle=False)
            if kept.stat().st_mtime_ns >= state.st_mtime_ns and int(offsets[-1]) == state.st_size:
                return offsets
        except (OSError, ValueError, IndexError, EOFError):
            pass
        offsets = _line_offsets(self.path)
        # where the place cannot be written every process finds them anew
        with suppress(OSError), replaced(kept, "wb", durable=False) as stream:
            np.save(stream, offsets, allow_pickle=False)
        return offsets

    @cached_property
    def _run(self) -> Path | None:
        return run_above(self.path)

    @cached_property
    def _descriptor(self) -> int:
        return os.open(self.path, os.O_RDONLY)

    def __del__(self) -> None:
        if "_descriptor" in self.__dict__:
            os.close(self.__dict__.pop("_descriptor"))

    def line(self, row: int) -> bytes:
        """The stored JSON of one row."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        start, stop = int(self._offsets[row]), int(self._offsets[row + 1])
        return os.pread(self._descriptor, stop - start, start)  # no file position: safe across threads and forks

    @cached_property
    def _places(self) -> Dataset | None:
        file = self.path.with_name("places.jsonl")
        return Dataset(file) if file.is_file() else None

    def place(self, row: int) -> str:
        """Where the row was read (``file:line``); where no reader said so, its line in the run's own file."""
        said = json.loads(self._places.line(row)) if self._places else ""
        return said or f"{self.path}:{row + 1}"

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def row(self, row: int) -> Sample:
        """One sample.

        Raises:
            DataError: the line is no sample; the message names file and line.
        """
        try:
            return opened(Sample.model_validate_json(self.line(row)), self._run)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise DataError("not_a_sample", f"{self.path}:{row + 1}: {first_mistake(error)}") from None

    @property
    def ids(self) -> Sequence[str]:
        """The ids, in order; each is read where it is asked for."""
        return _Ids(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return digest_of_file(self.path)


class _Ids(Rows[str]):
    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def row(self, row: int) -> str:
        return str(json.loads(self._dataset.line(row))["id"])


@dataclass(frozen=True)
class Curated:
    """The run's samples and which of them are trained on.

    Attributes:
        kept: bool [n], the rows that are trained on.
        dataset_digest: digest of what was read.
        digest: of what was read and kept.
        scores: the table of each scorer; rows that were made later have none.
        scores_digest: of the scores.
    """

    dataset: Dataset
    kept: NDArray[np.bool_]
    dataset_digest: str
    digest: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    scores_digest: str = ""

    def samples(self) -> Iterator[Sample]:
        """The samples that are trained on."""
        return (self.dataset[row] for row in np.flatnonzero(self.kept).tolist())

    def texts(self) -> Iterator[str]:
        """Every text of the samples that are trained on."""
        return (turn.text for sample in self.samples() for turn in sample.turns)


def _line_offsets(path: Path) -> NDArray[np.int64]:
    parts = [np.zeros(1, dtype=np.int64)]
    position = 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 24):
            parts.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == 10) + (position + 1))
            position += len(chunk)
    offsets = np.concatenate(parts)
    return offsets if offsets[-1] == position else np.append(offsets, position)
