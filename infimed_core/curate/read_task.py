"""One shard of a source, read into files: piece by piece, so that a kill costs seconds and not the shard."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import IO, Any

from infimed_core.api.data import Fault, Reader, Sample
from infimed_core.contracts import checked_rows
from infimed_core.curate.lost_workers import DIED, REST_UNREAD, PartTask
from infimed_core.runfile.sections import HELD_OUT_SPLIT, SplitSection
from infimed_core.store.dataset import line_of, store_media
from infimed_core.store.files import replaced
from infimed_core.store.places import written
from infimed_core.texts import whole

KEY_BYTES = 16
"""Of a sample's id, and of what it says, hashed: enough to tell a billion apart, thin enough to hold them all."""
NAMES = ("samples", "places", "faults", "files", "kinds", "keys")
MOST_FATAL = 8
"""So many rows in a row at which workers die: what dies is what skips them, and nothing after them can be read."""
FIRST_SECONDS, MOST_SECONDS = 1.0, 16.0
"""Seconds of the first piece; each takes twice those of the one before it, up to the most that a kill may cost."""


def _num_rows(piece: Mapping[str, Path]) -> int:
    """Samples and faults of a piece."""
    return piece["keys"].stat().st_size // (2 * KEY_BYTES) + piece["faults"].read_bytes().count(b"\n")


@dataclass(frozen=True)
class ReadTask(PartTask[None]):
    """One shard of a reader, and where it is read to. Picklable."""

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
        return {name: self.target.with_suffix(f".{name}") for name in NAMES}

    def _piece(self, number: int) -> dict[str, Path]:
        """The files of what was read between two clocks."""
        return {name: self.target.with_suffix(f".{number}.{name}") for name in NAMES}

    def __call__(self) -> None:
        """Read this part, unless it stands, from the last piece on that an earlier process has read."""
        if self.parts["keys"].exists():
            return
        pieces: list[dict[str, Path]] = []
        while (piece := self._piece(len(pieces)))["keys"].exists():
            pieces.append(piece)
        if not pieces or pieces[0]["samples"].exists():  # else it was killed while its one piece became the part
            rows = self._rows(sum(map(_num_rows, pieces)))
            seconds, is_over = FIRST_SECONDS, False
            while not is_over:
                piece = self._piece(len(pieces))
                is_over = self._read_piece(rows, piece, time.monotonic() + seconds)
                pieces.append(piece)
                seconds = min(2 * seconds, MOST_SECONDS)
        if len(pieces) > 1:
            self._join(pieces)
        else:
            for name in NAMES:  # the keys last
                if pieces[0][name].exists():
                    pieces[0][name].replace(self.parts[name])

    def _rows(self, start: int) -> Iterator[Sample | Fault]:
        """The rows from number ``start`` on; a fault in the place of each at which a worker has died."""
        can_skip = type(self.reader).read_from is not Reader.read_from
        for row in sorted(fatal for fatal in self.fatal if fatal >= start):
            yield from islice(self._noted(start), row - start)
            is_last = not can_skip or {*range(row, row + MOST_FATAL)} <= {*self.fatal}
            where, after = self.shard or self.name, self.reader.place() if row > start else ""
            yield Fault(
                sample_id=f"{PurePath(where).stem}-{row}",
                code=REST_UNREAD if is_last else "worker_died",
                detail=f"{DIED}{'; what comes after it was not read' if is_last else ''}",
                where=f"{where}: row {row + 1}{after and f', the one after {after}'}",
            )
            if is_last:
                return
            start = row + 1
        yield from self._noted(start)

    def _noted(self, start: int) -> Iterator[Sample | Fault]:
        rows = checked_rows(self.reader, self.shard, start)
        self.begin_row(start)
        for row, found in enumerate(rows, start + 1):
            yield found
            self.begin_row(row)
        self.begin_row("")

    def _read_piece(self, rows: Iterator[Sample | Fault], piece: Mapping[str, Path], until: float) -> bool:
        """Write rows until the clock says so; whether there are no more."""
        kinds: set[str] = set()
        with ExitStack() as stack:
            # closed, and so renamed, in the opposite order: the keys, which say that the piece is there, come last
            keys = stack.enter_context(replaced(piece["keys"], "wb"))
            streams = {name: stack.enter_context(replaced(piece[name])) for name in NAMES if name != "keys"}
            while (row := next(rows, None)) is not None:
                fault = self._write(row, streams, keys, kinds) if isinstance(row, Sample) else row
                if fault is not None:
                    where = fault.where or self.reader.place() or self.shard
                    body = fault.model_copy(update={"where": where}).model_dump()
                    streams["faults"].write(json.dumps({name: whole(text) for name, text in body.items()}) + "\n")
                if time.monotonic() > until:
                    break
            streams["kinds"].write(json.dumps(sorted(kinds)))
        return row is None

    def _join(self, pieces: Sequence[Mapping[str, Path]]) -> None:
        """Make one part of pieces."""
        with ExitStack() as stack:
            streams = {name: stack.enter_context(replaced(self.parts[name], "wb")) for name in reversed(NAMES)}
            for name in NAMES:
                for piece in pieces if name != "kinds" else ():
                    with piece[name].open("rb") as stream:
                        shutil.copyfileobj(stream, streams[name])
            kinds = {kind for piece in pieces for kind in json.loads(piece["kinds"].read_bytes())}
            streams["kinds"].write(json.dumps(sorted(kinds)).encode())
        for path in (piece[name] for piece in pieces for name in reversed(NAMES)):
            path.unlink()

    def _write(self, row: Sample, streams: Mapping[str, IO[Any]], keys: IO[Any], kinds: set[str]) -> Fault | None:
        """Write a sample, or say why it is none."""
        if (fault := check_sample(row)) is not None:
            return fault
        row = row.model_copy(update={"tags": {"source": self.name, **row.tags, **split_tag(row, self.split)}})
        try:
            row = written(store_media(row, self.media_directory), self.media_directory.parent)
            line = line_of(row)
        except ValueError as error:
            return Fault(sample_id=row.id, code="bad_text", detail=f"cannot be written: {error}")
        streams["samples"].write(line + "\n")
        streams["places"].write(json.dumps(self.reader.place()) + "\n")
        streams["files"].writelines(json.dumps(item.uri) + "\n" for item in row.media if item.uri and not item.sha256)
        keys.write(key_of(row))
        kinds.update(item.kind for item in row.media)
        return None


def split_tag(sample: Sample, split: SplitSection | None) -> dict[str, str]:
    """The tag ``split`` by a hash of another tag's value, or of its id; a sample without that tag is trained on."""
    if split is None:
        return {}
    value = sample.tags.get(split.by, "") if split.by else sample.id
    seeded = f"{split.seed or ''}{value}".encode("utf-8", "backslashreplace")
    share = int.from_bytes(hashlib.sha256(seeded).digest()[:8], "big") / 2**64
    return {"split": HELD_OUT_SPLIT if value and share < split.held_out else "train"}


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


def key_of(sample: Sample) -> bytes:
    """The hashes of a sample's id and of what it says."""
    said = json.dumps(
        [
            [[turn.role, turn.supervised, turn.content] for turn in sample.turns],
            [[item.uri, item.sha256, item.options] for item in sample.media],
            [sample.options, sample.references, sample.tools],
            [part.model_dump() for turn in sample.turns for part in (*turn.tool_calls, *turn.regions)],
        ]
    )
    return hashed(sample.id) + hashed(said)


def hashed(text: str) -> bytes:
    """The hash of a text, ``KEY_BYTES`` long."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()
