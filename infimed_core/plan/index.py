"""The index of a dataset: text tokens, image sizes and tags of every sample, by tokenising and reading headers."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import canonical_json
from infimed_core.api.data import Fault, Media, MediaLoader, Sample
from infimed_core.api.models import Encoder
from infimed_core.api.training import Mix
from infimed_core.errors import DataError
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import replaced

_BATCH = 1024


@dataclass(frozen=True)
class Index:
    """What planning needs to know of ``n`` samples with ``m`` used images in all; made without decoding one.

    Attributes:
        text: int64 [n], tokens without image placeholders.
        supervised: int64 [n], labels that carry loss.
        image_offsets: int64 [n + 1]; the images of sample ``i`` are ``[image_offsets[i], image_offsets[i + 1])``.
        sizes: int64 [m, 2], height and width, in reading order.
        usable: bool [n], false where ``faults`` says why.
        tag_codes: tag -> int32 [n], position in ``tag_values[tag]`` or -1 where the sample lacks the tag.
        keys: uint64 [n, 2], digest of each sample's line and of the state of the files it names.
        encoder: identity of the encoder that counted.
        digest: of the dataset and the encoder; independent of any resolution cap.
    """

    text: NDArray[np.int64]
    supervised: NDArray[np.int64]
    image_offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    usable: NDArray[np.bool_]
    tag_codes: dict[str, NDArray[np.int32]]
    tag_values: dict[str, list[str]]
    faults: tuple[Fault, ...]
    digest: str
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.uint64))
    encoder: str = ""

    def __len__(self) -> int:
        return len(self.text)

    def matching(self, mix: Mix) -> NDArray[np.bool_]:
        """Which samples ``mix`` matches, bool [n]; as ``mix.matches`` of each sample's tags."""
        matches = np.ones(len(self), dtype=bool)
        for tag, wanted in mix.where.items():
            values = self.tag_values.get(tag, [])
            codes = [values.index(one) for one in ((wanted,) if isinstance(wanted, str) else wanted) if one in values]
            matches &= np.isin(self.tag_codes[tag], codes) if codes else False
        return matches

    def told_faults(self) -> str:
        """What the index left out, as reasons with counts and one example; "" where nothing was."""
        if not self.faults:
            return ""
        counts = sorted(Counter(fault.code for fault in self.faults).items(), key=lambda item: (-item[1], item[0]))
        told, first = ", ".join(f"{code}: {count}" for code, count in counts), self.faults[0]
        example = f"first '{first.sample_id}' ({first.where}): {first.detail}"
        return f"the index left out {len(self.faults)} of {len(self)} samples ({told}; {example})"

    def save(self, path: Path) -> None:
        """Write as npz without pickle, by temporary file and rename."""
        faults = [fault.model_dump() for fault in self.faults]
        facts = {"tags": self.tag_values, "faults": faults, "digest": self.digest, "encoder": self.encoder}
        codes = {f"tag{number}": self.tag_codes[tag] for number, tag in enumerate(self.tag_values)}
        names = ("text", "supervised", "image_offsets", "sizes", "usable", "keys")
        save_arrays(path, facts, {**{name: getattr(self, name) for name in names}, **codes})

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read what ``save`` wrote."""
        facts, arrays = load_arrays(path)
        codes = {tag: arrays.pop(f"tag{number}") for number, tag in enumerate(facts["tags"])}
        faults = tuple(Fault.model_validate(fault) for fault in facts["faults"])
        values: dict[str, Any] = {**arrays, "tag_codes": codes, "tag_values": facts["tags"], "faults": faults}
        return cls(**values, digest=facts["digest"], encoder=facts.get("encoder", ""))


def save_arrays(path: Path, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write JSON facts and arrays into one npz, by temporary file and rename."""
    coded = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    with replaced(path, "wb") as stream:
        np.savez(stream, allow_pickle=False, facts=coded, **arrays)


def load_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what ``save_arrays`` wrote, mapped into memory and read-only: pages come when they are used.

    Raises:
        ValueError: an array holds pickled objects; they are never opened.
    """
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = read(file)
                header = file.tell()
            if dtype.hasobject:
                raise ValueError(f"{path}: '{name}' holds pickled objects, which are never opened")
            if member.compress_type != zipfile.ZIP_STORED or not math.prod(shape):
                with archive.open(member) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
                continue
            # The local header repeats the name; its lengths may differ from the directory's.
            with path.open("rb") as whole:
                whole.seek(member.header_offset + 26)
                lengths = np.frombuffer(whole.read(4), dtype="<u2")
            start = member.header_offset + 30 + int(lengths.sum(dtype=np.int64)) + header
            arrays[name] = np.memmap(path, dtype, "r", start, shape, order="F" if fortran else "C")
    return json.loads(arrays.pop("facts").tobytes()), arrays


def build_index(
    dataset: Dataset,
    encoder: Encoder,
    media_loader: MediaLoader,
    progress: Callable[[int, int], None] = lambda done, total: None,
    num_threads: int = 8,
    earlier: Sequence[Index] = (),
) -> Index:
    """Count text tokens and read image headers of every sample; equal media are probed once.

    A sample that cannot be counted or probed stays in the index, not usable, with its fault. What an ``earlier`` index
    of the same encoder says of a usable sample is taken from there, while its line and its files are unchanged.
    """
    builder = _Builder(encoder, media_loader, [index for index in earlier if index.encoder == encoder.identity])
    with ThreadPoolExecutor(num_threads) as pool:  # waiting for files, mostly
        for start in range(0, len(dataset), _BATCH):
            stop = min(start + _BATCH, len(dataset))
            builder.add(dataset[start:stop], [dataset.line(row) for row in range(start, stop)], pool)
            progress(stop, len(dataset))
    digest = hashlib.sha256(f"{dataset.digest}|{encoder.identity}".encode()).hexdigest()
    index = builder.finish(digest)
    places = map(dataset.place, np.flatnonzero(~index.usable).tolist())
    faults = (one.model_copy(update={"where": where}) for one, where in zip(index.faults, places, strict=True))
    return replace(index, faults=tuple(faults))


class _EarlierRows:
    """Usable rows of earlier indexes, found by their keys; 28 bytes a row."""

    def __init__(self, indexes: Sequence[Index]) -> None:
        self._indexes = list(indexes)
        rows = [np.flatnonzero(index.usable[: len(index.keys)]) for index in self._indexes]
        keys = [_as_bytes(index.keys[usable]) for index, usable in zip(self._indexes, rows, strict=True)]
        owners = [np.full(len(usable), number, dtype=np.int32) for number, usable in enumerate(rows)]
        joined = np.concatenate([*keys, np.zeros(0, dtype="S16")])
        order = np.argsort(joined, kind="stable")
        self._keys = joined[order]
        self._rows = np.concatenate([*rows, np.zeros(0, dtype=np.int64)])[order]
        self._owners = np.concatenate([*owners, np.zeros(0, dtype=np.int32)])[order]

    def find(self, keys: NDArray[np.uint64]) -> list[tuple[Index, int] | None]:
        """For every key (uint64 [n, 2]) the index and the row that has it: of the last index, where several have."""
        wanted = _as_bytes(keys)
        at = np.searchsorted(self._keys, wanted, side="right") - 1
        is_known = (at >= 0) & (self._keys[at] == wanted) if len(self._keys) else np.zeros(len(at), dtype=bool)
        return [
            (self._indexes[int(self._owners[row])], int(self._rows[row])) if known else None
            for row, known in zip(at.tolist(), is_known.tolist(), strict=True)
        ]


def _as_bytes(keys: NDArray[np.uint64]) -> NDArray[np.bytes_]:
    """Keys (uint64 [n, 2]) as texts of 16 bytes, which sort and compare as a whole."""
    texts: NDArray[np.bytes_] = np.ascontiguousarray(keys).view("S16").ravel()
    return texts


class _TagColumns:
    """Tags as one code a row and tag, with each distinct value kept once."""

    def __init__(self) -> None:
        self._codes: dict[str, array[int]] = {}
        self._values: dict[str, dict[str, int]] = {}
        self._num_rows = 0

    def add(self, tags: Mapping[str, str]) -> None:
        """One row more."""
        for tag, value in tags.items():
            if tag not in self._codes:
                self._codes[tag] = array("i", [-1]) * self._num_rows
                self._values[tag] = {}
            known = self._values[tag]
            self._codes[tag].append(known.setdefault(value, len(known)))
        self._num_rows += 1
        for codes in self._codes.values():
            if len(codes) < self._num_rows:
                codes.append(-1)

    def finish(self) -> tuple[dict[str, NDArray[np.int32]], dict[str, list[str]]]:
        """(codes, values) by tag, the values sorted."""
        codes: dict[str, NDArray[np.int32]] = {}
        values: dict[str, list[str]] = {}
        for tag in sorted(self._codes):
            known = list(self._values[tag])
            order = sorted(range(len(known)), key=known.__getitem__)
            ranks = np.full(len(known) + 1, -1, dtype=np.int32)  # the last is what code -1 picks
            ranks[order] = np.arange(len(known))
            values[tag] = [known[code] for code in order]
            codes[tag] = ranks[np.frombuffer(self._codes.pop(tag), dtype=np.int32)]
        return codes, values


class _Builder:
    def __init__(self, encoder: Encoder, media_loader: MediaLoader, earlier: Sequence[Index]) -> None:
        self._earlier = _EarlierRows(earlier)
        self._encoder, self._loader = encoder, media_loader
        self._probed: dict[str, tuple[int, int] | Fault] = {}
        self._text, self._supervised, self._offsets = array("q"), array("q"), array("q", [0])
        self._keys, self._sizes, self._usable = array("Q"), array("q"), array("b")
        self._faults: list[Fault] = []
        self._tags = _TagColumns()

    def add(self, samples: list[Sample], lines: list[bytes], pool: ThreadPoolExecutor) -> None:
        used = [[sample.media[i] for turn in sample.turns for i in turn.media_indices] for sample in samples]
        keys = np.array(list(pool.map(_sample_key, lines, used)), dtype=np.uint64).reshape(-1, 2)
        known = self._earlier.find(keys)
        fresh = [number for number, match in enumerate(known) if match is None]
        new = {_media_key(item): item for number in fresh for item in used[number]}
        new = {key: item for key, item in new.items() if key not in self._probed}
        self._probed.update(zip(new, pool.map(self._probe, new.values()), strict=True))
        counted: list[Fault | None] = [None] * len(samples)
        text, supervised = np.zeros(len(samples), dtype=np.int64), np.zeros(len(samples), dtype=np.int64)
        if fresh:
            faults, text[fresh], supervised[fresh] = self._count([samples[number] for number in fresh])
            for number, fault in zip(fresh, faults, strict=True):
                counted[number] = fault
        for number, (sample, items, fault, match) in enumerate(zip(samples, used, counted, known, strict=True)):
            if match is not None:
                index, row = match
                text[number], supervised[number] = index.text[row], index.supervised[row]
                span = slice(int(index.image_offsets[row]), int(index.image_offsets[row + 1]))
                self._sizes.extend(index.sizes[span].ravel().tolist())
            else:
                fault = self._put_sizes(sample, items, fault)
            self._offsets.append(len(self._sizes) // 2)
            self._usable.append(fault is None)
            self._tags.add(sample.tags)
            if fault is not None:
                self._faults.append(fault)
        self._keys.frombytes(keys.tobytes())
        self._text.frombytes(text.tobytes())
        self._supervised.frombytes(supervised.tobytes())

    def _put_sizes(self, sample: Sample, items: list[Media], fault: Fault | None) -> Fault | None:
        for item in items:
            size = self._probed[_media_key(item)]
            if isinstance(size, Fault):
                fault = fault or size.model_copy(update={"sample_id": sample.id})
                size = (1, 1)  # keeps the columns aligned; a sample with a fault is never planned
            self._sizes.extend(size)
        return fault

    def _probe(self, item: Media) -> tuple[int, int] | Fault:
        try:
            size = self._loader.probe(item)
        except DataError as error:
            return Fault(sample_id="", code=error.code, detail=str(error))
        if len(size) != 2 or min(size) < 1:
            return Fault(sample_id="", code="not_an_image", detail=f"{item.uri or 'inline media'}: no image ({size})")
        return int(size[0]), int(size[1])

    def _count(self, samples: list[Sample]) -> tuple[list[Fault | None], NDArray[np.int64], NDArray[np.int64]]:
        """Token counts of a batch; where the batch fails, each sample alone, so that one does not take the others."""
        try:
            lengths = self._encoder.text_lengths(samples)
        except DataError as error:
            if len(samples) == 1:
                fault = Fault(sample_id=samples[0].id, code=error.code, detail=str(error))
                return [fault], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
            alone = [self._count([sample]) for sample in samples]
            faults = [fault for counted, _, _ in alone for fault in counted]
            return faults, np.concatenate([t for _, t, _ in alone]), np.concatenate([s for _, _, s in alone])
        refused = ((sample.id, lengths.refused.get(number)) for number, sample in enumerate(samples))
        counted = [Fault(sample_id=one, code=why.code, detail=str(why)) if why else None for one, why in refused]
        return counted, lengths.tokens, lengths.supervised

    def finish(self, digest: str) -> Index:
        codes, tags = self._tags.finish()
        text, supervised, offsets = (np.frombuffer(p, np.int64) for p in (self._text, self._supervised, self._offsets))
        sizes, keys = (np.frombuffer(part, part.typecode).reshape(-1, 2) for part in (self._sizes, self._keys))
        return Index(
            text, supervised, offsets, sizes, np.frombuffer(self._usable, dtype=bool),
            codes, tags, tuple(self._faults), digest, keys, self._encoder.identity,
        )  # fmt: skip


def _media_key(item: Media) -> str:
    content = item.sha256 or item.uri or hashlib.sha256(item.data or b"").hexdigest()
    return canonical_json([item.kind, content, item.options])


def _sample_key(line: bytes, items: list[Media]) -> tuple[int, int]:
    """Digest of a sample's line and of size and time of its files, so that a file replaced in place is seen."""
    digest = hashlib.blake2b(line.rstrip(b"\n"), digest_size=16)
    for item in items:
        if item.uri and item.sha256 is None:
            try:
                state = os.stat(item.uri)
                digest.update(f"|{state.st_size}:{state.st_mtime_ns}".encode())
            except OSError:
                digest.update(b"|missing")
    made = digest.digest()
    return int.from_bytes(made[:8], "little"), int.from_bytes(made[8:], "little")
