"""The reader ``demo-volumes``: blocks of real volumes with questions that one slice of them does not answer."""

from __future__ import annotations

import functools
import gzip
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Fault, Media, Reader, Sample, Turn
from infimed_plugins.demo import blocks, pictures, sources
from infimed_plugins.demo.blocks import Split
from infimed_plugins.demo.questions import check_names

DATA_VERSION = "1"
"""Raised whenever the same settings give other samples."""
NUM_SLICES = 8
"""Of every block."""
REDUCED = 4
"""Millimetres of a pixel in a block's slices: it is kept small, as its question is."""
SHOWS, EMPTY = 0.02, 0.002
"""Share of brain tissue from which on a slice shows it, and up to which it does not; none between is asked about."""
TRIES = 400
HELD_OUT = {0: "test", 1: "validation"}
"""Of five parts of the blocks, by a hash of where they lie."""


class DemoVolumes(Reader):
    """Blocks of eight slices of the MNI template as NIfTI, and pairs of slices; not a clinical data set.

    ``count``: how many slices of a block show brain; ``end``: at which end of a block the brain stops; ``higher``:
    which of two slices lies higher; ``both``: whether two views both show brain. Every answer is computed from the
    tissue maps and asked equally often. Wrapped in ``volumes``, a block becomes the slices that the sampler chooses.
    Blocks are held out by where they lie, not by the head: what is learned is to compare and to count, not anatomy.
    """

    split: Split = Field(default="train", description="Which part of the blocks and slices to read.")
    num_samples: int = Field(default=1200, ge=1, description="Samples, the same number of every kind.")
    kinds: tuple[str, ...] = Field(default=(), description="count, end, higher, both; all if empty.")
    seed: int = Field(default=0, description="Seed of what is drawn.")

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Every sample, kind after kind.

        Raises:
            InfimedError: an unknown kind.
            DataError: a package of the extra ``demo`` is missing.
        """
        check_names(self.kinds, tuple(_KINDS), "kind")
        kinds = self.kinds or tuple(_KINDS)
        for place, kind in enumerate(kinds):
            answers, draw = _KINDS[kind]
            count = self.num_samples // len(kinds) + (place < self.num_samples % len(kinds))
            for number in range(count):
                chance = random.Random(pictures.stable_hash(self.seed, self.split, kind, str(number)))
                yield _drawn(f"{kind}-{self.split}-{number}", kind, answers[number % len(answers)], draw, self, chance)

    def fingerprint(self) -> str:
        """Changes with the settings, the version of the rules and the versions of the packages that carry the data."""
        return hashlib.sha256(f"{self.identity()}|{DATA_VERSION}|{sources.versions()}".encode()).hexdigest()


Asked = tuple[tuple[str | int, ...], tuple[Media, ...]]
"""What the user says and shows."""
Drawn = tuple[str, Callable[[], Asked]]
"""An answer, and what makes the question whose answer it is."""


def _drawn(
    identity: str,
    kind: str,
    wanted: str,
    draw: Callable[[Split, random.Random], Drawn | None],
    reader: DemoVolumes,
    chance: random.Random,
) -> Sample:
    """A sample with the wanted answer, or with the last answer drawn where that one does not come up."""
    drawn: Drawn | None = None
    for _ in range(TRIES):
        fresh = draw(reader.split, chance)
        drawn = fresh or drawn
        if fresh is not None and fresh[0] == wanted:
            break
    if drawn is None:
        raise RuntimeError(f"no question of the kind '{kind}' in the split '{reader.split}'")
    answer, ask = drawn
    content, media = ask()
    return Sample(
        id=identity,
        turns=(Turn(role="user", content=content), Turn(role="assistant", content=(answer,))),
        media=media,
        tags={"kind": kind, "modality": "MR", "task_type": "quantification", "split": reader.split, "language": "en"},
        licence=sources.LICENCES["nilearn"],
    )


def _count(split: Split, chance: random.Random) -> Drawn | None:
    block = _block(split, chance)
    if block is None:
        return None
    return str(sum(block.shows)), lambda: ((0, "How many slices show brain tissue?"), (block.medium(),))


def _end(split: Split, chance: random.Random) -> Drawn | None:
    block = _block(split, chance)
    if block is None or not any(block.shows):
        return None
    ends = block.shows[0], block.shows[-1]
    answer = {(True, True): "neither", (False, True): "first", (True, False): "last"}.get(ends)
    question = "Which slice lies outside the brain: first, last or neither?"
    return None if answer is None else (answer, lambda: ((0, question), (block.medium(),)))


def _higher(split: Split, chance: random.Random) -> Drawn | None:
    known = [at for at in blocks.places() if at.plane == "axial" and (at.split == "train") == (split == "train")]
    indices = [place.index for place in chance.sample(known, 2)]
    own = split if split == "train" else _split_of("higher", *map(str, indices))
    if abs(indices[0] - indices[1]) < 10 or (own == "validation") != (split == "validation"):
        return None

    def ask() -> Asked:
        content = ("First image: ", 0, "\nSecond image: ", 1, "\nWhich image is higher in the head?")
        return content, tuple(_slice("axial", index) for index in indices)

    return "first" if indices[0] > indices[1] else "second", ask


def _both(split: Split, chance: random.Random) -> Drawn | None:
    planes = chance.sample(blocks.PLANES, 2)
    indices = [chance.randrange(len(_tissue(plane))) for plane in planes]
    shows = [_shows(plane, index) for plane, index in zip(planes, indices, strict=True)]
    seen = [f"{plane} {index}" for plane, index, show in zip(planes, indices, shows, strict=True) if show]
    if None in shows or _split_of("both", *sorted(seen)) != split:  # slices that show nothing look alike
        return None

    def ask() -> Asked:
        content = (f"{planes[0]} view: ", 0, f"\n{planes[1]} view: ", 1, "\nDo both views show brain tissue?")
        return content, tuple(_slice(plane, index) for plane, index in zip(planes, indices, strict=True))

    return "yes" if all(shows) else "no", ask


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[Split, random.Random], Drawn | None]]] = {
    "count": (tuple(map(str, range(1, NUM_SLICES + 1))), _count),
    "end": (("first", "last", "neither"), _end),
    "higher": (("first", "second"), _higher),
    "both": (("yes", "no"), _both),
}


@dataclass(frozen=True)
class _Block:
    """Slices of a plane at equal distances, and which of them show brain."""

    plane: str
    start: int
    step: int
    shows: tuple[bool, ...]

    def medium(self) -> Media:
        """The block as NIfTI; what lies outside of the template is black."""
        axis, inside = blocks.PLANES.index(self.plane), _reduced(self.plane)
        layers = [self.start + number * self.step for number in range(NUM_SLICES)]
        black = np.zeros(inside.shape[1:], np.uint8)
        stack = np.stack([inside[at] if 0 <= at < len(inside) else black for at in layers], axis=axis)
        sizes = [float(REDUCED)] * 3
        sizes[axis] = float(self.step)
        return _nifti(stack, sizes, axis, self.start)


def _block(split: Split, chance: random.Random) -> _Block | None:
    """A block; ``None`` where one of its slices is in doubt, or it is of another split."""
    plane, step = chance.choice(blocks.PLANES), chance.randrange(4, 15)
    start = chance.randrange(-6 * step, len(_tissue(plane)))
    layers = [start + number * step for number in range(NUM_SLICES)]
    shows = [_shows(plane, layer) for layer in layers]
    if _split_of(plane, *(str(layer) for layer, show in zip(layers, shows, strict=True) if show)) != split:
        return None
    known = tuple(show for show in shows if show is not None)
    return _Block(plane, start, step, known) if len(known) == NUM_SLICES else None


def _nifti(stack: NDArray[np.uint8], sizes: list[float], axis: int, start: int) -> Media:
    import nibabel

    affine = np.diag([*sizes, 1.0])
    affine[axis, 3] = start
    data = gzip.compress(nibabel.Nifti1Image(stack, affine).to_bytes(), mtime=0)
    window: list[int | float] = [127.5, 255]
    return Media(kind="nifti", data=data, options={"window": window, "axis": axis, "square_pixels": False})


@functools.lru_cache(maxsize=3)
def _reduced(plane: str) -> NDArray[np.uint8]:
    """The T1 template as slices [n, h, w] of a plane, each reduced within itself; the axes stay in their order."""
    slices = np.moveaxis(sources.volume("t1"), blocks.PLANES.index(plane), 0)
    height, width = (size // REDUCED * REDUCED for size in slices.shape[1:])
    cut = slices[:, :height, :width].reshape(len(slices), height // REDUCED, REDUCED, width // REDUCED, REDUCED)
    return np.asarray(cut.mean(axis=(2, 4)).round(), np.uint8)


@functools.lru_cache(maxsize=3)
def _tissue(plane: str) -> NDArray[np.float64]:
    """Of every slice of a plane, the share of its pixels that are grey or white matter."""
    inside = sources.volume("gm").astype(np.uint16) + sources.volume("wm") > 127
    return np.asarray(np.moveaxis(inside, blocks.PLANES.index(plane), 0).mean(axis=(1, 2)))


def _shows(plane: str, index: int) -> bool | None:
    """Whether a slice shows brain; ``None`` where so little that it could be overlooked."""
    share = float(_tissue(plane)[index]) if 0 <= index < len(_tissue(plane)) else 0.0
    return True if share >= SHOWS else False if share <= EMPTY else None


@functools.lru_cache(maxsize=512)
def _slice(plane: str, index: int) -> Media:
    return pictures.encode(pictures.fit(pictures.mni_slice("t1", plane, index), pictures.MNI_WINDOW // REDUCED))


def _split_of(*place: str) -> str:
    return HELD_OUT.get(pictures.stable_hash("volumes", *place) % 5, "train")
