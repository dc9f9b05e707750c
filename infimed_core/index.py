"""The index of a dataset: text tokens, image sizes and tags of every sample, by tokenising and reading headers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.components import Encoder, MediaLoader
from infimed_core.dataset import Dataset
from infimed_core.errors import DataError
from infimed_core.types import Fault, Media, Mix, Sample, canonical_json

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

    def __len__(self) -> int:
        return len(self.text)

    def matching(self, mix: Mix) -> NDArray[np.bool_]:
        """Which samples ``mix`` matches, bool [n]; as ``mix.matches`` of each sample's tags."""
        found = np.ones(len(self), dtype=bool)
        for tag, wanted in mix.where.items():
            values = self.tag_values.get(tag, [])
            codes = [
                values.index(value) for value in ((wanted,) if isinstance(wanted, str) else wanted) if value in values
            ]
            found &= np.isin(self.tag_codes[tag], codes) if codes else False
        return found

    def save(self, path: Path) -> None:
        """Write as npz without pickle, by temporary file and rename."""
        facts = {
            "tags": self.tag_values,
            "faults": [fault.model_dump() for fault in self.faults],
            "digest": self.digest,
        }
        codes = {f"tag{number}": self.tag_codes[tag] for number, tag in enumerate(self.tag_values)}
        arrays = {name: getattr(self, name) for name in ("text", "supervised", "image_offsets", "sizes", "usable")}
        save_arrays(path, facts, {**arrays, **codes})

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read what ``save`` wrote."""
        facts, arrays = load_arrays(path)
        codes = {tag: arrays.pop(f"tag{number}") for number, tag in enumerate(facts["tags"])}
        faults = tuple(Fault.model_validate(fault) for fault in facts["faults"])
        return cls(**arrays, tag_codes=codes, tag_values=facts["tags"], faults=faults, digest=facts["digest"])


def save_arrays(path: Path, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write JSON facts and arrays into one npz, by temporary file and rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    coded = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    np.savez(temporary, allow_pickle=False, facts=coded, **arrays)
    temporary.replace(path)


def load_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what ``save_arrays`` wrote; never unpickles."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads(arrays.pop("facts").tobytes()), arrays


def build_index(
    dataset: Dataset,
    encoder: Encoder,
    media_loader: MediaLoader,
    progress: Callable[[int, int], None] = lambda done, total: None,
    num_threads: int = 8,
) -> Index:
    """Count text tokens and read image headers of every sample; equal media are probed once.

    A sample that cannot be counted or probed stays in the index, not usable, with its fault.
    """
    builder = _Builder(encoder, media_loader)
    with ThreadPoolExecutor(num_threads) as pool:  # waiting for files, mostly
        for start in range(0, len(dataset), _BATCH):
            stop = min(start + _BATCH, len(dataset))
            builder.add(dataset[start:stop], pool)
            progress(stop, len(dataset))
    digest = hashlib.sha256(f"{dataset.digest}|{encoder.identity}".encode()).hexdigest()
    return builder.finish(digest)


class _Builder:
    def __init__(self, encoder: Encoder, media_loader: MediaLoader) -> None:
        self._encoder, self._loader = encoder, media_loader
        self._probed: dict[str, tuple[int, int] | Fault] = {}
        self._text: list[NDArray[np.int64]] = []
        self._supervised: list[NDArray[np.int64]] = []
        self._offsets, self._sizes = [0], list[tuple[int, int]]()
        self._usable: list[bool] = []
        self._faults: list[Fault] = []
        self._tags: list[dict[str, str]] = []

    def add(self, samples: list[Sample], pool: ThreadPoolExecutor) -> None:
        used = [[sample.media[i] for turn in sample.turns for i in turn.media_indices] for sample in samples]
        new = {_media_key(item): item for items in used for item in items}
        new = {key: item for key, item in new.items() if key not in self._probed}
        self._probed.update(zip(new, pool.map(self._probe, new.values()), strict=True))
        text_faults = self._count(samples)
        for sample, items, fault in zip(samples, used, text_faults, strict=True):
            for item in items:
                found = self._probed[_media_key(item)]
                if isinstance(found, Fault):
                    fault = fault or found.model_copy(update={"sample_id": sample.id})
                    found = (1, 1)  # keeps the columns aligned; a sample with a fault is never planned
                self._sizes.append(found)
            self._offsets.append(len(self._sizes))
            self._usable.append(fault is None)
            self._tags.append(sample.tags)
            if fault is not None:
                self._faults.append(fault)

    def _probe(self, item: Media) -> tuple[int, int] | Fault:
        where = item.uri or "inline media"
        try:
            size = self._loader.probe(item)
        except DataError as error:
            return Fault(sample_id="", code=error.code, detail=str(error), where=where)
        if len(size) != 2 or min(size) < 1:
            return Fault(sample_id="", code="not_an_image", detail=f"{where}: has size {size}, no image", where=where)
        return int(size[0]), int(size[1])

    def _count(self, samples: list[Sample]) -> list[Fault | None]:
        """Token counts of a batch; where the batch fails, each sample alone, so that one does not take the others."""
        try:
            lengths = self._encoder.text_lengths(samples)
        except DataError as error:
            if len(samples) == 1:
                self._text.append(np.zeros(1, dtype=np.int64))
                self._supervised.append(np.zeros(1, dtype=np.int64))
                return [Fault(sample_id=samples[0].id, code=error.code, detail=str(error))]
            return [fault for sample in samples for fault in self._count([sample])]
        self._text.append(lengths.tokens)
        self._supervised.append(lengths.supervised)
        return [None] * len(samples)

    def finish(self, digest: str) -> Index:
        values: dict[str, list[str]] = {}
        codes: dict[str, NDArray[np.int32]] = {}
        for tag in sorted({tag for tags in self._tags for tag in tags}):
            values[tag] = sorted({tags[tag] for tags in self._tags if tag in tags})
            code = {value: number for number, value in enumerate(values[tag])}
            codes[tag] = np.array([code[tags[tag]] if tag in tags else -1 for tags in self._tags], dtype=np.int32)
        empty = [np.zeros(0, dtype=np.int64)]
        return Index(
            text=np.concatenate(self._text or empty).astype(np.int64),
            supervised=np.concatenate(self._supervised or empty).astype(np.int64),
            image_offsets=np.array(self._offsets, dtype=np.int64),
            sizes=np.array(self._sizes, dtype=np.int64).reshape(-1, 2),
            usable=np.array(self._usable, dtype=bool),
            tag_codes=codes,
            tag_values=values,
            faults=tuple(self._faults),
            digest=digest,
        )


def _media_key(item: Media) -> str:
    place = item.sha256 or item.uri or hashlib.sha256(item.data or b"").hexdigest()
    return canonical_json([item.kind, place, item.options])
