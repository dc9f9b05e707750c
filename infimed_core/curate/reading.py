"""The first step of a run: every source read into one file of samples; a row that is none is a counted fault."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.data import Executor, Fault, Reader, Sample
from infimed_core.curate.score_shards import Shard, write_shards
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import TOLD_FAULTS, Dataset, store_media
from infimed_core.store.files import replaced
from infimed_core.store.steps import Outcome, RunState

KEY_BYTES = 16
"""Of a sample's id, hashed: enough to tell a billion apart, and thin enough to hold them all."""
_FILES = "files.jsonl"
_AGAIN = "a sample before it has this id; give every sample an id of its own, or none"
_THREADS, _AT_ONCE = 16, 16384
"""Threads that ask for the sizes of files, and how many names are held at once."""


@dataclass(frozen=True)
class _ReadTask:
    reader: Reader
    name: str
    shard: str
    target: Path
    media_directory: Path
    source: int = 0
    """Place of the reader among ``data.sources``."""

    @property
    def parts(self) -> dict[str, Path]:
        """The files of this part: samples, faults, names of media files, and the hashed ids of the samples."""
        return {name: self.target.with_suffix(f".{name}") for name in ("samples", "faults", "files", "keys")}

    def __call__(self) -> None:
        """Read this part, unless it stands; the last file to be renamed says that it does."""
        if self.parts["keys"].exists():
            return
        with ExitStack() as stack:
            # closed, and so renamed, in the opposite order: the keys, which say that the part is there, come last
            keys = stack.enter_context(replaced(self.parts["keys"], "wb"))
            samples, faults, files = (
                stack.enter_context(replaced(self.parts[name])) for name in ("samples", "faults", "files")
            )
            for row in self.reader.read(self.shard):
                fault = row if isinstance(row, Fault) else check_sample(row)
                if fault is None and isinstance(row, Sample):
                    tags = {"source": self.name, **row.tags}
                    row = store_media(row.model_copy(update={"tags": tags}), self.media_directory)
                    samples.write(row.model_dump_json() + "\n")
                    files.writelines(json.dumps(item.uri) + "\n" for item in row.media if item.uri and not item.sha256)
                    keys.write(_key(row.id))
                elif fault is not None:
                    where = fault.where or self.reader.place() or self.shard
                    fault = fault.model_copy(update={"where": where})
                    faults.write(fault.model_dump_json() + "\n")


def _key(identity: str) -> bytes:
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def _call(task: _ReadTask) -> None:
    task()


def check_sample(sample: Sample) -> Fault | None:
    """Why a sample cannot be trained on, or ``None``: no turns, an empty text, a media index that points nowhere."""

    def fault(code: str, detail: str) -> Fault:
        return Fault(sample_id=sample.id, code=code, detail=detail)

    if not sample.turns:
        return fault("no_turns", "the sample has no turns; give it at least a user and an assistant turn")
    for number, turn in enumerate(sample.turns, start=1):
        if not turn.text.strip() and (turn.role == "assistant" or not turn.media_indices):
            return fault("empty_text", f"turn {number} ({turn.role}) has no text; fill it in or remove the sample")
        for index in turn.media_indices:
            if not 0 <= index < len(sample.media):
                return fault("no_such_media", f"turn {number} names media {index}, the sample has {len(sample.media)}")
    if sample.turns[-1].role != "assistant":
        return fault("no_answer", "the last turn is not the assistant's; there is nothing to learn from it")
    return None


def executor_of(state: RunState) -> Executor:
    """The executor that the run file names, or the default one."""
    section = state.plan.file.data
    assert section is not None
    found = state.plan.components.get("data.executor")
    if found is None:
        found = state.registry.find("executor", section.executor.use).model_validate(section.executor.settings)
    return cast(Executor, found)


def read_sources(state: RunState, executor: Executor) -> tuple[Dataset, str]:
    """Read every source into one file of samples; rows that are none go to ``faults.jsonl`` with their reason.

    Returns:
        The samples, and a digest of the sources and of the sizes of the media files that the samples name: a file that
        was put right in place since an earlier run is seen by the steps that follow.
    """
    section = state.plan.file.data
    assert section is not None
    readers = [state.plan.component(f"data.sources.{index}") for index in range(len(section.sources))]
    inputs_digest = digest(
        "read", 3, [[use.use, r.fingerprint()] for use, r in zip(section.sources, readers, strict=True)]
    )

    def work(directory: Path) -> Outcome:
        tasks: list[_ReadTask] = []
        for number, (use, reader) in enumerate(zip(section.sources, readers, strict=True)):
            for shard in reader.shards():
                target = directory / f"part-{len(tasks):05d}"
                tasks.append(_ReadTask(reader, use.use, shard, target, state.media_directory, number))
        for done, _ in enumerate(executor.map(_call, tasks), start=1):
            state.tell("progress", "read", {"done": done, "total": len(tasks), "unit": "shard"})
        num_out, dropped, kept = _join(directory, tasks)
        for text in _told_faults(directory / "faults.jsonl", dropped):
            state.tell("message", "read", {"text": text})
        for number, use in enumerate(section.sources):
            if not any(count for task, count in zip(tasks, kept, strict=True) if task.source == number):
                text = (
                    f"data.sources.{number}: the reader '{use.use}' gave NO SAMPLE; look at its settings and its data"
                )
                state.tell("message", "read", {"text": text})
        return Outcome(num_in=num_out + sum(dropped.values()), num_out=num_out, dropped=dropped)

    artifact = state.step("read", inputs_digest, work, keep=True)
    return Dataset(artifact.directory / "samples.jsonl"), digest(inputs_digest, _sizes(artifact.directory / _FILES))


def _told_faults(path: Path, dropped: Mapping[str, int]) -> Iterator[str]:
    """A line for each kind of fault with its first row, the kinds that came up most often first."""
    first: dict[str, Fault] = {}
    for line in _lines(path) if dropped else ():
        fault = Fault.model_validate_json(line)
        first.setdefault(fault.code, fault)
        if len(first) == len(dropped):
            break
    ordered = sorted(first.values(), key=lambda fault: -dropped[fault.code])
    for fault in ordered[:TOLD_FAULTS]:
        more = f"; {dropped[fault.code]:,} such rows" if dropped[fault.code] > 1 else ""
        yield f"left out: {fault.where}: sample '{fault.sample_id}': {fault.code}: {fault.detail}{more}"
    if sum(dropped.values()) > 1:
        yield f"all {sum(dropped.values()):,} rows that were left out are in {path}"


def _join(directory: Path, tasks: Sequence[_ReadTask]) -> tuple[int, dict[str, int], list[int]]:
    """Join the parts in order; a second sample with an id that was there already is a fault.

    Returns:
        Samples kept, faults by code, and samples kept of every part.
    """
    keys = [np.fromfile(task.parts["keys"], dtype=np.uint64).reshape(-1, KEY_BYTES // 8) for task in tasks]
    again = _seen_before(np.concatenate(keys) if keys else np.zeros((0, 2), dtype=np.uint64))
    dropped: Counter[str] = Counter()
    row = 0
    shards: list[Shard] = []
    with (
        (directory / "samples.jsonl").open("w", encoding="utf-8") as samples,
        (directory / "faults.jsonl").open("w", encoding="utf-8") as faults,
    ):
        for task in tasks:
            num_kept = 0
            for line in _lines(task.parts["samples"]):
                if again[row]:
                    identity = json.loads(line)["id"]
                    where = f"{task.name} {task.shard}".rstrip()
                    fault = Fault(sample_id=identity, code="duplicate_id", detail=_AGAIN, where=where)
                    faults.write(fault.model_dump_json() + "\n")
                    dropped["duplicate_id"] += 1
                else:
                    samples.write(line)
                    num_kept += 1
                row += 1
            shards.append(Shard(f"{task.name} {task.shard}", num_kept))
            for line in _lines(task.parts["faults"]):
                faults.write(line)
                dropped[json.loads(line)["code"]] += 1
    write_shards(directory / "samples.jsonl", shards)
    with (directory / _FILES).open("w", encoding="utf-8") as files:
        files.writelines(line for task in tasks for line in _lines(task.parts["files"]))
    for task in tasks:  # not before the whole is written: a run killed here finds every part
        for path in reversed(task.parts.values()):  # the keys first: without them the part is read again
            path.unlink()
    for left in directory.glob(".part-*.tmp"):
        left.unlink(missing_ok=True)  # of a process that was killed
    kept = [shard.num_samples for shard in shards]
    return sum(kept), {code: count for code, count in dropped.items() if count}, kept


def _sizes(files: Path) -> str:
    """Digest of the sizes of the files that are named, none where one is missing.

    Sizes, not times: a copy or another mount must not undo a training of days.
    """
    found = hashlib.sha256()
    lines = _lines(files)
    with ThreadPoolExecutor(_THREADS) as pool:  # waiting for a file system, mostly
        while names := list(islice(lines, _AT_ONCE)):
            share = -(-len(names) // _THREADS)
            parts = (names[start : start + share] for start in range(0, len(names), share))
            found.update(b"".join(pool.map(_sizes_of, parts)))
    return found.hexdigest()


def _sizes_of(names: Sequence[str]) -> bytes:
    """int64 bytes, -1 where there is no such file."""
    sizes = []
    for name in names:
        try:
            sizes.append(os.stat(json.loads(name)).st_size)
        except (OSError, ValueError):
            sizes.append(-1)
    return np.array(sizes, dtype=np.int64).tobytes()


def _seen_before(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which keys (uint64 [n, 2]) stood at an earlier place too, bool [n]."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: equal keys stay in their order
    ranked = keys[order]
    again = np.zeros(len(keys), dtype=bool)
    again[order[1:]] = (ranked[1:] == ranked[:-1]).all(axis=1)
    return again


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        yield from stream
