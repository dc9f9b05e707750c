"""One walk over all samples, in ranges handed to an executor; what comes back of each sample is thin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from infimed_core import Executor, Media, Sample
from infimed_plugins.filters.pictures import media_key

RANGE = 1024
NUM_RANGES_HERE = 16
"""So few are read sooner in this process than another is started."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Range(Generic[T]):
    samples: Sequence[Sample]
    start: int
    stop: int
    thin: Callable[[Sample], T]

    def __call__(self) -> tuple[list[T], dict[bytes, Media], list[tuple[bytes, ...]]]:
        media: dict[bytes, Media] = {}
        keys: list[tuple[bytes, ...]] = []
        made: list[T] = []
        for row in range(self.start, self.stop):
            sample = self.samples[row]
            own = tuple(media_key(item) for item in sample.media)
            media.update(zip(own, sample.media, strict=True))
            keys.append(own)
            made.append(self.thin(sample))
        return made, media, keys


def _call(part: _Range[T]) -> tuple[list[T], dict[bytes, Media], list[tuple[bytes, ...]]]:
    return part()


class Places:
    """The distinct media of all samples that were walked over, numbered in order of first sight."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self.media: list[Media] = []

    def add(self, key: bytes, media: Media) -> int:
        """The number of a medium."""
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.media)
            self.media.append(media)
        return number


def walk(
    samples: Sequence[Sample], thin: Callable[[Sample], T], places: Places, executor: Executor
) -> Iterator[tuple[T, tuple[int, ...]]]:
    """For each sample, in order, what ``thin`` makes of it and the numbers of its media in ``places``.

    ``thin`` is picklable: it may run in another process.
    """
    held = isinstance(samples, list | tuple)
    parts = []
    for start in range(0, len(samples), RANGE):
        stop = min(start + RANGE, len(samples))
        if held:  # only this part of a list travels
            parts.append(_Range(samples[start:stop], 0, stop - start, thin))
        else:
            parts.append(_Range(samples, start, stop, thin))
    done = executor.map(_call, parts) if len(parts) > NUM_RANGES_HERE else map(_call, parts)
    for made, media, keys in done:
        for one, own in zip(made, keys, strict=True):
            yield one, tuple(places.add(key, media[key]) for key in own)
