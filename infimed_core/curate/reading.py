"""The first step of a run: every source read into one file of samples; a row that is none is a counted fault."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from infimed_core.api.component import found_now, with_versions
from infimed_core.api.data import Executor, Fault
from infimed_core.contracts import checked_shards
from infimed_core.curate.joining import FILES, KINDS, Joined, join_parts
from infimed_core.curate.lost_workers import REST_UNREAD, each_part
from infimed_core.curate.read_task import ReadTask
from infimed_core.errors import InfimedError, NoSampleError
from infimed_core.runfile.sections import SplitSection
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import TOLD_FAULTS, Dataset
from infimed_core.store.files import read_lines
from infimed_core.store.steps import Outcome, RunState

_THREADS, _AT_ONCE = 16, 16384
"""Threads that ask for the sizes of files, and how many names are held at once."""
MANY_FAULTS = 0.1
"""Share of a source's rows at fault from which on the whole source is suspect."""


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
        "read",
        5,
        [[use.use, with_versions(r, r.fingerprint())] for use, r in zip(section.sources, readers, strict=True)],
        *([section.split.model_dump()] if section.split else []),
    )

    def work(directory: Path) -> Outcome:
        tasks: list[ReadTask] = []
        for number, (use, reader) in enumerate(zip(section.sources, readers, strict=True)):
            for shard in checked_shards(reader):
                target = directory / f"part-{len(tasks):05d}"
                tasks.append(ReadTask(reader, use.use, shard, target, state.media_directory, number, section.split))
        for done, _ in enumerate(each_part(executor, tasks, directory), start=1):
            state.tell("progress", "read", {"done": done, "total": len(tasks), "unit": "shard"})
        joined = join_parts(directory, tasks)
        for name in ("samples", "places"):
            len(Dataset(directory / f"{name}.jsonl"))  # its offsets are written, to be sealed with it
        for task in tasks:  # not before the whole is written: a run killed here finds every part
            for path in reversed(task.parts.values()):  # what says that the part stands goes first
                path.unlink()
        for left in (*directory.glob("part-*"), *directory.glob(".*.tmp")):
            left.unlink(missing_ok=True)  # of a process that was killed
        told = list(_told_faults(directory / "faults.jsonl", joined.dropped))
        doubts, empty = _doubtful([use.use for use in section.sources], tasks, joined, directory / "faults.jsonl")
        for text in (*told, *doubts):
            state.say(text, "read")
        num_out, num_faults = sum(joined.num_kept), sum(joined.num_faults)
        if not num_out:
            raise NoSampleError(f"data.sources: no sample in any source; {told[0] if told else 'they hold no row'}")
        if empty:
            raise NoSampleError(empty)
        if section.split is not None:
            state.say(_told_split(Dataset(directory / "samples.jsonl"), section.split), "read")
        return Outcome(num_in=num_out + num_faults, num_out=num_out, dropped=joined.dropped)

    artifact = state.step("read", inputs_digest, work, keep=True)
    kinds = json.loads((artifact.directory / KINDS).read_text(encoding="utf-8"))
    # another version of what opens the media may open them otherwise
    opened = state.opened_by(kinds)
    hashed = digest(inputs_digest, _sizes(artifact.directory / FILES), *([opened] if opened else []))
    return Dataset(artifact.directory / "samples.jsonl"), hashed


def _told_split(dataset: Dataset, split: SplitSection) -> str:
    """How many samples are held out.

    Raises:
        InfimedError: none has the tag that divides them.
    """
    with dataset.path.open("rb") as lines:
        num_held = sum(b'"split":"held-out"' in line for line in lines)
    if not num_held and split.by and not any(split.by in sample.tags for sample in dataset):
        known = ", ".join(sorted({tag for sample in islice(dataset, 1000) for tag in sample.tags} - {"split"}))
        raise InfimedError(f"data.split.by: no sample has the tag '{split.by}'; samples have the tags: {known}")
    more = "" if num_held else "; raise held_out: no value of it falls to that side" if split.by else "; raise held_out"
    by = f" by '{split.by}'" if split.by else ""
    return f"data.split{by}: {len(dataset) - num_held:,} samples to train on, {num_held:,} held out{more}"


def _told_faults(path: Path, dropped: Mapping[str, int]) -> Iterator[str]:
    """A line for each kind of fault with its first row, the kinds that came up most often first."""
    first: dict[str, Fault] = {}
    for line in read_lines(path) if dropped else ():
        fault = Fault.model_validate_json(line)
        first.setdefault(fault.code, fault)
        if len(first) == len(dropped):
            break
    ordered = sorted(first.values(), key=lambda fault: (fault.code != REST_UNREAD, -dropped[fault.code]))
    for fault in ordered[:TOLD_FAULTS]:
        more = f"; {dropped[fault.code]:,} such rows" if dropped[fault.code] > 1 else ""
        yield f"left out: {fault.where}: sample '{fault.sample_id}': {fault.code}: {fault.detail}{more}"
    if sum(dropped.values()) > 1:
        yield f"all {sum(dropped.values()):,} rows that were left out are in {path}"


def _doubtful(names: Sequence[str], tasks: Sequence[ReadTask], joined: Joined, path: Path) -> tuple[list[str], str]:
    """A line for each source of which more than a tenth of the rows are at fault, and one on those without a sample.

    A run without one of its sources would be another run.
    """
    lines, empty, before = [], [], 0
    for number, name in enumerate(names):
        parts = [place for place, task in enumerate(tasks) if task.source == number]
        kept, faults = (sum(counts[place] for place in parts) for counts in (joined.num_kept, joined.num_faults))
        said = f"data.sources.{number}: the reader '{name}'"
        if not kept:
            line = next(islice(read_lines(path), before, None), b"") if faults else b""
            fault = Fault.model_validate_json(line) if line else None
            told = f"{fault.where}: {fault.code}: {fault.detail}" if fault else "it holds no row"
            empty.append(f"{said} gave NO SAMPLE ({told}); mend or remove the source")
        elif faults > MANY_FAULTS * (kept + faults):
            share = f"{faults:,} of {kept + faults:,} rows ({faults / (kept + faults):.0%})"
            lines.append(f"{said} left out {share}; look at its settings and its data")
        before += faults
    return lines, "; ".join(empty)


def _sizes(files: Path) -> str:
    """Digest of the sizes of the files that are named, none where one is missing.

    Sizes, not times: a copy or another mount must not undo a training of days.
    """
    found = hashlib.sha256()
    lines = read_lines(files)
    with ThreadPoolExecutor(_THREADS) as pool:  # waiting for a file system, mostly
        while names := list(islice(lines, _AT_ONCE)):
            share = -(-len(names) // _THREADS)
            parts = (names[start : start + share] for start in range(0, len(names), share))
            found.update(b"".join(pool.map(_sizes_of, parts)))
    return found.hexdigest()


def _sizes_of(names: Sequence[bytes]) -> bytes:
    """int64 bytes, -1 where there is no such file."""
    sizes = []
    for name in names:
        try:
            sizes.append(os.stat(found_now(json.loads(name))).st_size)
        except (OSError, ValueError, RecursionError):
            sizes.append(-1)
    return np.array(sizes, dtype=np.int64).tobytes()
