"""The two fingerprints of a picture: a digest of its pixels, and a hash that survives re-encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Executor, Media, MediaLoader, WorkerDiedError, canonical_json
from infimed_plugins.filters.keypoints import Marks, marks

BATCH = 32
SIDE = 64
LOW = 16
LEAST_SPREAD = 2.0
"""Grey levels of standard deviation under which a picture is flat: its hash would be that of noise."""


@dataclass(frozen=True)
class Print:
    """Fingerprints of a picture.

    ``pixels`` is a digest of shape and pixels, ``None`` where it could not be opened (``fault`` says why);
    ``near`` the 32 bytes of the perceptual hash, ``None`` for a flat picture; ``marks`` its details, where asked for.
    """

    pixels: bytes | None
    near: bytes | None = None
    fault: str = ""
    marks: Marks | None = None


def media_key(media: Media) -> bytes:
    """16 bytes, equal for media that hold the same file and the same part of it."""
    content = media.sha256
    if content is None and media.data is not None:
        content = hashlib.sha256(media.data).hexdigest()
    named = canonical_json([media.kind, content or media.uri, media.options])
    return hashlib.blake2b(named.encode(), digest_size=16).digest()


def perceptual_hash(pixels: NDArray[np.uint8]) -> bytes | None:
    """256 bits of a picture, uint8 [h, w, 3]: the signs, about their median, of its 16 x 16 lowest frequencies.

    From 64 x 64 grey pixels by a cosine transform (as pHash, Zauner 2010, with more bits). ``None`` for a flat picture.
    """
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < LEAST_SPREAD:
        return None
    low = cv2.dct(small)[:LOW, :LOW].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes()


def fingerprint(media: Media, loader: MediaLoader, altered: bool = False) -> Print:
    """Decode once; a picture that cannot be opened is told, never raised."""
    try:
        pixels = loader.load(media)
    except DataError as error:
        return Print(None, fault=str(error))
    except Exception as error:  # a modality from elsewhere may raise anything
        return Print(None, fault=f"{media.uri or 'inline picture'}: {type(error).__name__}: {error}")
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    near = perceptual_hash(pixels) if pixels.ndim == 3 and pixels.shape[2] == 3 else None
    return Print(digest.digest(), near, marks=marks(pixels) if altered and near is not None else None)


@dataclass(frozen=True)
class _Batch:
    media: tuple[Media, ...]
    loader: MediaLoader
    altered: bool

    def __call__(self) -> list[Print]:
        return [fingerprint(item, self.loader, self.altered) for item in self.media]


def _call(batch: _Batch) -> list[Print]:
    return batch()


def fingerprints(media: Sequence[Media], loader: MediaLoader, executor: Executor, altered: bool = False) -> list[Print]:
    """The fingerprints of every medium, in order, each opened once; with ``altered`` also the marks of its details."""
    batches = [_Batch(tuple(media[at : at + BATCH]), loader, altered) for at in range(0, len(media), BATCH)]
    made: list[Print] = []
    while batches:
        num_done = 0
        try:
            for done in executor.map(_call, batches):
                num_done += 1
                made += done
            break
        except WorkerDiedError:  # one of the batch is fatal: each of it is opened apart
            fatal, batches = batches[num_done].media, batches[num_done + 1 :]
            if not fatal:  # it dies without a picture, too
                raise
            if len(fatal) == 1:
                made.append(Print(None, fault=f"{fatal[0].uri or 'inline picture'}: the worker died that opened it"))
            else:
                batches = [*(_Batch((item,), loader, altered) for item in fatal), *batches]
            batches.append(_Batch((), loader, altered))  # an executor may do a single batch in this process
    return made


class Classes:
    """Numbers for the distinct values of a column, in order of first sight."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, value: bytes) -> int:
        """The number of ``value``, a new one where it is new."""
        return self.numbers.setdefault(value, len(self.numbers))

    def array(self) -> NDArray[np.uint8]:
        """The values, uint8 [n, 32], in order; all must be 32 bytes."""
        joined = np.frombuffer(b"".join(self.numbers), dtype=np.uint8)
        return joined.reshape(len(self.numbers), -1) if len(self.numbers) else np.zeros((0, 32), dtype=np.uint8)


def faults_told(prints: Iterable[Print], most: int = 5) -> tuple[int, list[str]]:
    """How many media could not be opened, and what was wrong with the first few."""
    faults = [made.fault for made in prints if made.pixels is None]
    return len(faults), faults[:most]
