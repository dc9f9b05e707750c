"""The first step of a run: every source read into one file of samples; a row that is none is a counted fault."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from infimed_core.api.component import found_now, with_versions
from infimed_core.api.data import Executor, Fault, Reader, Sample
from infimed_core.contracts import CheckedExecutor, checked_rows, checked_shards
from infimed_core.curate.joining import FILES, KINDS, Joined, join_parts, key_of
from infimed_core.errors import NoSampleError
from infimed_core.runfile.sections import HELD_OUT_SPLIT, SplitSection
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import TOLD_FAULTS, Dataset, store_media
from infimed_core.store.files import replaced
from infimed_core.store.places import written
from infimed_core.store.steps import Outcome, RunState

_THREADS, _AT_ONCE = 16, 16384
"""Threads that ask for the sizes of files, and how many names are held at once."""
MANY_FAULTS = 0.1
"""Share of a source's rows at fault from which on the whole source is suspect."""


@dataclass(frozen=True)
class _ReadTask:
    reader: Reader
    name: str
    shard: str
    target: Path
    media_directory: Path
    source: int = 0
    """Place of the reader among ``data.sources``."""
    split: SplitSection | None = None

    @property
    def parts(self) -> dict[str, Path]:
        """The files of this part: samples and their places, faults, files and kinds of media, hashes of the samples."""
        names = ("samples", "places", "faults", "files", "kinds", "keys")
        return {name: self.target.with_suffix(f".{name}") for name in names}

    def __call__(self) -> None:
        """Read this part, unless it stands; the last file to be renamed says that it does."""
        if self.parts["keys"].exists():
            return
        kinds: set[str] = set()
        with ExitStack() as stack:
            # closed, and so renamed, in the opposite order: the keys, which say that the part is there, come last
            keys = stack.enter_context(replaced(self.parts["keys"], "wb"))
            names = [name for name in self.parts if name != "keys"]
            streams = {name: stack.enter_context(replaced(self.parts[name])) for name in names}
            for row in checked_rows(self.reader, self.shard):
                fault = row if isinstance(row, Fault) else self._write(row, streams, keys, kinds)
                if fault is not None:
                    where = fault.where or self.reader.place() or self.shard
                    body = fault.model_copy(update={"where": where}).model_dump()
                    streams["faults"].write(json.dumps({name: _whole(text) for name, text in body.items()}) + "\n")
            streams["kinds"].write(json.dumps(sorted(kinds)))

    def _write(self, row: Sample, streams: Mapping[str, IO[Any]], keys: IO[Any], kinds: set[str]) -> Fault | None:
        """Write a sample, or say why it is none."""
        if (fault := check_sample(row)) is not None:
            return fault
        row = row.model_copy(update={"tags": {"source": self.name, **row.tags, **split_tag(row, self.split)}})
        try:
            row = written(store_media(row, self.media_directory), self.media_directory.parent)
            line = row.model_dump_json()
        except ValueError as error:  # half of a surrogate pair, which no file of UTF-8 holds
            return Fault(sample_id=row.id, code="bad_text", detail=f"cannot be written: {error}")
        streams["samples"].write(line + "\n")
        streams["places"].write(json.dumps(self.reader.place()) + "\n")
        streams["files"].writelines(json.dumps(item.uri) + "\n" for item in row.media if item.uri and not item.sha256)
        keys.write(key_of(row))
        kinds.update(item.kind for item in row.media)
        return None


def split_tag(sample: Sample, split: SplitSection | None) -> dict[str, str]:
    """The tag ``split`` by a hash of another tag's value; a sample without that tag is trained on."""
    if split is None:
        return {}
    value = sample.tags.get(split.by, "")
    share = int.from_bytes(hashlib.sha256(value.encode("utf-8", "backslashreplace")).digest()[:8], "big") / 2**64
    return {"split": HELD_OUT_SPLIT if value and share < split.held_out else "train"}


def _whole(text: str) -> str:
    """The text with halves of characters as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _call(task: _ReadTask) -> None:
    task()


def check_sample(sample: Sample) -> Fault | None:
    """Why a sample cannot be trained on, or ``None``.

    It has no turns, an empty text, a medium that is nowhere or in an answer, no answer at its end, or none to learn.
    """

    def fault(code: str, detail: str) -> Fault:
        return Fault(sample_id=sample.id, code=code, detail=detail)

    if not sample.turns:
        return fault("no_turns", "the sample has no turns; give it at least a user and an assistant turn")
    for number, turn in enumerate(sample.turns, start=1):
        silent = not turn.text.strip() and not turn.tool_calls
        if silent and (turn.role == "assistant" or not turn.media_indices):
            return fault("empty_text", f"turn {number} ({turn.role}) has no text; fill it in or remove the sample")
        if turn.role == "assistant" and turn.media_indices:
            return fault("image_in_answer", f"turn {number}: an answer is text; an image in it cannot be learned")
        for index in turn.media_indices:
            if not 0 <= index < len(sample.media):
                return fault("no_such_media", f"turn {number} names media {index}, the sample has {len(sample.media)}")
    if sample.turns[-1].role != "assistant":
        return fault("no_answer", "the last turn is not the assistant's; there is nothing to learn from it")
    if not any(turn.supervised for turn in sample.turns if turn.role == "assistant"):
        return fault("nothing_to_learn", "no assistant turn is supervised")
    return None


def executor_of(state: RunState) -> Executor:
    """The executor of the run, its results checked."""
    return CheckedExecutor(inner=state.plan.component("data.executor"))


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
        tasks: list[_ReadTask] = []
        for number, (use, reader) in enumerate(zip(section.sources, readers, strict=True)):
            for shard in checked_shards(reader):
                target = directory / f"part-{len(tasks):05d}"
                tasks.append(_ReadTask(reader, use.use, shard, target, state.media_directory, number, section.split))
        for done, _ in enumerate(executor.map(_call, tasks), start=1):
            state.tell("progress", "read", {"done": done, "total": len(tasks), "unit": "shard"})
        joined = join_parts(directory, tasks)
        len(Dataset(directory / "samples.jsonl"))  # its offsets are written, to be sealed with it
        for task in tasks:  # not before the whole is written: a run killed here finds every part
            for path in reversed(task.parts.values()):  # what says that the part stands goes first
                path.unlink()
        for left in directory.glob(".*.tmp"):
            left.unlink(missing_ok=True)  # of a process that was killed
        for text in _told_faults(directory / "faults.jsonl", joined.dropped):
            state.say(text, "read")
        for text in _suspect([use.use for use in section.sources], tasks, joined):
            state.say(text, "read")
        num_out, num_faults = sum(joined.num_kept), sum(joined.num_faults)
        if not num_out:
            told = next(_told_faults(directory / "faults.jsonl", joined.dropped), "they hold no row")
            raise NoSampleError(f"data.sources: no sample in any source; {told}")
        if told := "; ".join(_empty([use.use for use in section.sources], tasks, joined, directory / "faults.jsonl")):
            raise NoSampleError(told)
        return Outcome(num_in=num_out + num_faults, num_out=num_out, dropped=joined.dropped)

    artifact = state.step("read", inputs_digest, work, keep=True)
    kinds = json.loads((artifact.directory / KINDS).read_text(encoding="utf-8"))
    # another version of what opens the media may open them otherwise
    opened = state.opened_by(kinds)
    hashed = digest(inputs_digest, _sizes(artifact.directory / FILES), *([opened] if opened else []))
    return Dataset(artifact.directory / "samples.jsonl"), hashed


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


def _suspect(names: Sequence[str], tasks: Sequence[_ReadTask], joined: Joined) -> Iterator[str]:
    """A line for each source of which more than a tenth of the rows are at fault, and that gave a sample."""
    for number, name in enumerate(names):
        kept, faults = _counts(number, tasks, joined)
        if kept and faults > MANY_FAULTS * (kept + faults):
            share = f"{faults:,} of {kept + faults:,} rows ({faults / (kept + faults):.0%})"
            yield f"data.sources.{number}: the reader '{name}' left out {share}; look at its settings and its data"


def _empty(names: Sequence[str], tasks: Sequence[_ReadTask], joined: Joined, faults: Path) -> Iterator[str]:
    """A line for each source that gave no sample, with its first fault: a run without it would be another run."""
    for number, name in enumerate(names):
        kept, num_faults = _counts(number, tasks, joined)
        if not kept:
            before = sum(joined.num_faults[place] for place, task in enumerate(tasks) if task.source < number)
            line = next(islice(_lines(faults), before, None), "") if num_faults else ""
            fault = Fault.model_validate_json(line) if line else None
            told = f"{fault.where}: {fault.code}: {fault.detail}" if fault else "it holds no row"
            yield f"data.sources.{number}: the reader '{name}' gave NO SAMPLE ({told}); mend or remove the source"


def _counts(source: int, tasks: Sequence[_ReadTask], joined: Joined) -> tuple[int, int]:
    """Samples and faults of a source."""
    parts = [place for place, task in enumerate(tasks) if task.source == source]
    return sum(joined.num_kept[place] for place in parts), sum(joined.num_faults[place] for place in parts)


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
            sizes.append(os.stat(found_now(json.loads(name))).st_size)
        except (OSError, ValueError):
            sizes.append(-1)
    return np.array(sizes, dtype=np.int64).tobytes()


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        yield from stream
