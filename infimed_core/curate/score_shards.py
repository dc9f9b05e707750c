"""Which rows are scored together, and whether they have been: parts that follow the shards of the sources."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from infimed_core.api.data import MediaLoader, Sample
from infimed_core.api.quality import Scorer
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.scores import num_rows, part_path

PART_SIZE = 512
"""Most samples of one part: what one task scores, and what one file holds."""
SMALL = 64
"""A shard of fewer samples shares a part with its neighbours."""
_SHARDS = "shards.json"


@dataclass(frozen=True)
class Shard:
    """A shard of a source and how many samples of it are in the data set."""

    name: str
    num_samples: int


def write_shards(dataset: Path, shards: list[Shard]) -> None:
    """Keep beside the samples which shard they came from, in order."""
    rows = [[shard.name, shard.num_samples] for shard in shards]
    write_atomically(dataset.with_name(_SHARDS), json.dumps(rows))


def read_shards(dataset: Dataset) -> list[Shard]:
    """The shards of a data set; all of it is one where nothing was kept."""
    try:
        rows = json.loads(dataset.path.with_name(_SHARDS).read_text(encoding="utf-8"))
    except OSError:
        return [Shard("", len(dataset))]
    return [Shard(name, num_samples) for name, num_samples in rows]


def spans(shards: list[Shard]) -> Iterator[tuple[int, int]]:
    """(start, stop) of every part.

    A shard begins a part of its own, so that a shard which comes, goes or grows leaves the parts of the others as they
    were. Shards under 64 samples share parts, for their files would be too many; a hash of a shard's name decides, and
    not its place, whether a part begins with it, so that what is said above holds for all but a few neighbours.
    """
    start = row = before = 0
    for shard in shards:
        if row > start and (before >= SMALL or shard.num_samples >= SMALL or _begins(shard)):
            yield start, row
            start = row
        row += shard.num_samples
        while row - start >= PART_SIZE:
            yield start, start + PART_SIZE
            start += PART_SIZE
        before = shard.num_samples
    if row > start:
        yield start, row


def _begins(shard: Shard) -> bool:
    """Whether a small shard begins a part: so often that a part has 64 samples on average."""
    hashed = hashlib.blake2b(shard.name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(hashed, "big") % (SMALL // max(1, shard.num_samples)) == 0


@dataclass(frozen=True)
class ScoringJob:
    """What every task of a scoring step has in common. Picklable.

    Attributes:
        inputs_digest: digest of all that decides a score beside the sample and its media.
        left_out: a byte a row, 1 where a filter rejected the sample, which is not scored; 0s at its end left out.
        directory: the step's artifact; the artifacts beside it may hold parts that need not be scored again.
    """

    scorer: Scorer
    dataset: Dataset
    media: MediaLoader
    directory: Path
    inputs_digest: str
    left_out: bytes = b""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_earlier"}

    def target(self, start: int, stop: int, tag: Callable[[Sample], str] = lambda sample: "") -> Path:
        """The part's file, named by what its scores depend on: the rows as stored, the size and time of their media."""
        key = hashlib.blake2b(self.inputs_digest.encode(), digest_size=16)
        for row in range(start, stop):
            key.update(self.dataset.line(row))
            sample = self.dataset[row]
            told = "left out" if self.left_out[row : row + 1] == b"\1" else tag(sample)
            key.update("\n".join([told, *(_state(item.uri) for item in sample.media)]).encode() + b"\0")
        return part_path(self.directory, start, key.hexdigest())

    def is_complete(self, target: Path, num_samples: int, good: Callable[[Path], bool] = lambda path: True) -> bool:
        """Whether the part is there, or was made by an earlier run of this directory and is now linked."""
        if num_rows(target) == num_samples:
            if good(target):
                return True
            target.unlink()
        earlier = self._earlier.get(_key(target))
        if earlier is None or num_rows(earlier) != num_samples or not good(earlier):
            return False
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            os.link(earlier, temporary)
        except OSError:
            shutil.copyfile(earlier, temporary)
        temporary.replace(target)
        return True

    @cached_property
    def _earlier(self) -> dict[str, Path]:
        """Parts in the artifacts beside this one, by key."""
        parts = self.directory.parent.glob("score*/part-*-*.parquet")
        return {_key(path): path for path in parts if path.parent != self.directory}


def _key(part: Path) -> str:
    return part.stem.rpartition("-")[2]


def _state(uri: str | None) -> str:
    """Size and time of a medium's file; empty where there is none."""
    try:
        state = os.stat(uri or "")
    except (OSError, ValueError):
        return ""
    return f"{state.st_size} {state.st_mtime_ns}"
