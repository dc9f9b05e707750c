"""The parts that readers wrote, joined into one file of samples: ids that were given twice are told apart or faults."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.data import Fault, Sample
from infimed_core.curate.read_task import KEY_BYTES, ReadTask, hashed
from infimed_core.curate.score_shards import Shard, write_shards
from infimed_core.store.files import read_lines, write_atomically

FILES = "files.jsonl"
KINDS = "kinds.json"
"""The kinds of media that are in the data."""
_AGAIN = "a sample before it has this id; give every sample an id of its own, or none"


@dataclass(frozen=True)
class Joined:
    """What the parts held: faults by code over all, and of every part its samples and faults."""

    dropped: dict[str, int]
    num_kept: list[int]
    num_faults: list[int]


def join_parts(directory: Path, tasks: Sequence[ReadTask]) -> Joined:
    """Join the parts in order. A second sample with an id that was there already is a fault, unless it says something
    else and comes from another shard: two files that both count from 0 are two files, and its id gets its file's name.
    """
    keys = [np.fromfile(task.parts["keys"], dtype=np.uint64).reshape(-1, 4) for task in tasks]
    every = np.concatenate(keys) if keys else np.zeros((0, 4), dtype=np.uint64)
    again, same = seen_before(every[:, :2]), seen_before(every)
    here = np.concatenate([seen_before(part[:, :2]) for part in keys]) if keys else again
    names = _Names(every[:, :2])
    dropped: Counter[str] = Counter()
    kept, num_faults = list[int](), list[int]()
    row = 0
    with (
        (directory / "samples.jsonl").open("wb") as samples,
        (directory / "faults.jsonl").open("wb") as faults,
        (directory / "places.jsonl").open("wb") as kept_places,
    ):
        for task in tasks:
            before, first = dropped.total(), row
            lines, places = read_lines(task.parts["samples"]), read_lines(task.parts["places"])
            for line, place in zip_longest(lines, places, fillvalue=b""):
                if again[row] and (same[row] or here[row]):
                    where = json.loads(place or b'""') or f"{task.name} {task.shard}".rstrip()
                    fault = Fault(sample_id=json.loads(line)["id"], code="duplicate_id", detail=_AGAIN, where=where)
                    faults.write(fault.model_dump_json().encode() + b"\n")
                    dropped["duplicate_id"] += 1
                else:
                    samples.write(names.renamed(line, task) if again[row] else line)
                    kept_places.write(place or b'""\n')
                row += 1
            kept.append(row - first - (dropped.total() - before))
            for line in read_lines(task.parts["faults"]):
                faults.write(line)
                dropped[json.loads(line)["code"]] += 1
            num_faults.append(dropped.total() - before)
        assert row == len(every), "a part has other samples than it has keys of"
    write_shards(
        directory / "samples.jsonl",
        [Shard(f"{task.name} {task.shard}", count) for task, count in zip(tasks, kept, strict=True)],
    )
    with (directory / FILES).open("wb") as files:
        files.writelines(line for task in tasks for line in read_lines(task.parts["files"]))
    kinds: set[str] = {kind for task in tasks for kind in json.loads(task.parts["kinds"].read_text(encoding="utf-8"))}
    write_atomically(directory / KINDS, json.dumps(sorted(kinds)))
    return Joined({code: count for code, count in dropped.items() if count}, kept, num_faults)


class _Names:
    """New ids for samples of other files whose own ids were there already; none of them is taken."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._keys = keys
        self._taken: set[bytes] = set()

    def renamed(self, line: bytes, task: ReadTask) -> bytes:
        row = json.loads(line)
        parts = PurePath(task.shard).parts if task.shard else (task.name,)
        for depth in range(1, len(parts) + 1):
            candidate = f"{row['id']}@{'/'.join(parts[-depth:])}"
            if self._is_free(candidate):
                break
        number = 2
        while not self._is_free(candidate):
            candidate, number = f"{row['id']}@{task.shard or task.name}#{number}", number + 1
        self._taken.add(hashed(candidate))
        return Sample.model_validate({**row, "id": candidate}).model_dump_json().encode() + b"\n"

    def _is_free(self, candidate: str) -> bool:
        identity = hashed(candidate)
        if identity in self._taken:
            return False
        known = self._sorted
        key = np.frombuffer(identity, dtype=known.dtype)[0]
        place = int(np.searchsorted(known, key))
        return not (place < len(known) and known[place] == key)

    @cached_property
    def _sorted(self) -> NDArray[np.bytes_]:
        """The hashed ids in order, sorted once and only where a name is needed."""
        return np.sort(np.ascontiguousarray(self._keys).view(f"S{KEY_BYTES}").ravel())


def seen_before(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which keys (uint64 [n, k]) stood at an earlier place too, bool [n]."""
    order = np.lexsort(keys.T[::-1])  # stable: equal keys stay in their order
    ranked = keys[order]
    again = np.zeros(len(keys), dtype=bool)
    again[order[1:]] = (ranked[1:] == ranked[:-1]).all(axis=1)
    return again
