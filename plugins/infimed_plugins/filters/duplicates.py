"""the filter ``duplicates``: samples that repeat an earlier one, exactly or nearly."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from infimed_core import DatasetFilter, Executor, FilterResult, MediaLoader, Sample
from infimed_plugins.filters.copies import altered_pairs
from infimed_plugins.filters.hamming import MAX_DISTANCE, close_pairs
from infimed_plugins.filters.pictures import Classes, Print, faults_told, fingerprints
from infimed_plugins.filters.texts import bands, exact_print, similarity, text_of, words_of
from infimed_plugins.filters.walking import Places, walk

ALTERED = 256
"""Distance of pictures that are one by their details, whatever their hashes."""
EXACT, NEAR_PICTURE, NEAR_TEXT = "duplicate", "near_duplicate_picture", "near_duplicate_text"


MAX_COMPARED = 200
"""Most kept texts of one bucket that a text is compared with; what goes beyond is counted in the record."""


@dataclass(frozen=True)
class _Thin:
    """What is kept of each sample while the others are read: ``texts`` is its exact key, then its MinHash bands."""

    identity: str
    study: str
    texts: NDArray[np.uint64]


@dataclass(frozen=True)
class _MakeThin:
    study_tag: str
    least_words: int

    def __call__(self, sample: Sample) -> _Thin:
        text = text_of(sample)
        words = words_of(text)
        exact = np.frombuffer(exact_print(text)[:8], dtype=np.uint64)
        near = [bands(words)] if len(words) >= self.least_words else []
        return _Thin(sample.id, sample.tags.get(self.study_tag, ""), np.concatenate([exact, *near]))


class Duplicates(DatasetFilter):
    """Keeps the first of samples that are the same.

    A sample repeats an earlier one when its pictures, in order, are equal or near and its text is equal or near
    (``compare: pictures-and-text``), or when its pictures are, whatever the text (``compare: pictures``). Pictures
    are equal when their decoded pixels are; near when their perceptual hashes are within ``near_distance`` and they
    are not from the same study, whose neighbouring slices are no copies of each other. Texts of ``near_text_words``
    words or more are near from ``near_text`` on; a shorter one may differ in the one word that matters, and must be
    equal.
    """

    packages: ClassVar[Mapping[str, str]] = {"cv2": "infimed[score]"}

    compare: Literal["pictures-and-text", "pictures"] = Field(
        default="pictures-and-text", description="Whether another text about the same pictures is another sample."
    )
    near_distance: int = Field(
        default=14,
        ge=0,
        le=MAX_DISTANCE,
        description="Most differing bits, of 256, of near pictures; 0 for equal hashes.",
    )
    altered: bool = Field(
        default=True,
        description="Find copies by their details too: cropped, turned a little, mirrored, inverted, bordered.",
    )
    near_text: float = Field(
        default=0.85, gt=0.0, le=1.0, description="Least Jaccard similarity of the word triples of near texts."
    )
    near_text_words: int = Field(default=20, ge=3, description="Fewest words of a text that may be near another.")
    study_tag: str = Field(default="study", description="Tag whose equal values mean the same study.")
    remove: bool = Field(default=True, description="Keep repetitions out of training; false only reports them.")
    max_pairs: int = Field(default=200, ge=0, description="Most pairs listed in the record.")

    def check(
        self,
        samples: Sequence[Sample],
        benchmarks: Mapping[str, Sequence[Sample]],
        media: MediaLoader,
        executor: Executor,
    ) -> FilterResult:
        """Reject every sample that repeats an earlier, kept one; the benchmarks play no part."""
        places = Places()
        walked = list(walk(samples, _MakeThin(self.study_tag, self.near_text_words), places, executor))
        prints = fingerprints(places.media, media, executor, self.altered)
        search = _Search(self, samples, walked, _Pictures(prints, self.near_distance))
        for row in range(len(walked)):
            search.judge(row)
        num_unreadable, told = faults_told(prints)
        reasons = Counter(pair[0] for pair in search.pairs)
        details: dict[str, JsonValue] = {
            "num_samples": len(walked),
            "num_media": len(places.media),
            "num_distinct_pictures": search.pictures.num_distinct,
            "num_near_picture_pairs": search.pictures.num_near_pairs,
            "num_altered_picture_pairs": search.pictures.num_altered_pairs,
            "num_unreadable_media": num_unreadable,
            "unreadable": list(told),
            "num_duplicates": len(search.pairs),
            "num_texts_not_compared": search.num_not_compared,
            "reasons": dict(sorted(reasons.items())),
            "removed": self.remove,
            "pairs": [
                {"id": walked[row][0].identity, "kept": walked[kept][0].identity, "reason": reason, **detail}
                for reason, row, kept, detail in search.pairs[: self.max_pairs]
            ],
        }
        rejected = {walked[row][0].identity: (reason,) for reason, row, _, _ in search.pairs}
        return FilterResult(rejected=rejected if self.remove else {}, details=details)


class _Pictures:
    """Which media are equal or near: by number, from their fingerprints."""

    def __init__(self, prints: Sequence[Print], distance: int) -> None:
        pixels, hashes = Classes(), Classes()
        self.pixels: list[int] = []
        self.hashes: list[int] = []
        for number, made in enumerate(prints):
            # What cannot be opened equals itself and nothing else.
            own = b"" if made.pixels is None else made.pixels
            self.pixels.append(pixels.of(own) if own else -1 - number)
            # Without a hash near itself alone: by its pixels (below 0), or unread, by its number (below all of those).
            alone = -1 - self.pixels[-1] if own else -1 - len(prints) - number
            self.hashes.append(alone if made.near is None else hashes.of(made.near))
        self.num_distinct = len(pixels)
        left, right, bits = close_pairs(hashes.array(), None, distance)
        self.num_near_pairs = len(left)
        self.near: dict[int, dict[int, int]] = defaultdict(dict)
        for one, two, apart in zip(left.tolist(), right.tolist(), bits.tolist(), strict=True):
            self.near[one][two] = self.near[two][one] = apart
        self.num_altered_pairs = 0
        distinct = {number: made for number, made in zip(self.hashes, prints, strict=True) if made.marks is not None}
        numbers = list(distinct)
        for first, second, _ in altered_pairs([distinct[number].marks for number in numbers]):
            one, two = numbers[first], numbers[second]
            self.num_altered_pairs += two not in self.near[one]
            self.near[one].setdefault(two, ALTERED)
            self.near[two].setdefault(one, ALTERED)

    def around(self, number: int) -> list[int]:
        """The hash classes that are near that of a medium, its own first."""
        own = self.hashes[number]
        return [own, *self.near.get(own, ())]

    def distance(self, one: int, two: int) -> int | None:
        """0 for equal pixels, the distance in bits (at least 1) of near pictures, else ``None``."""
        if self.pixels[one] == self.pixels[two]:
            return 0
        left, right = self.hashes[one], self.hashes[two]
        if left == right:
            return 1
        return self.near.get(left, {}).get(right)


class _Search:
    """Puts every sample before the kept ones that could be like it.

    A bucket joins the hash class of the first picture with the text's exact key or with one of its bands. Only text
    keys that come twice have buckets, so what is compared grows with the likenesses and not with the pairs.
    """

    def __init__(
        self,
        filter_: Duplicates,
        samples: Sequence[Sample],
        rows: Sequence[tuple[_Thin, tuple[int, ...]]],
        pictures: _Pictures,
    ) -> None:
        self.filter_, self.samples, self.rows, self.pictures = filter_, samples, rows, pictures
        keys = [thin.texts for thin, _ in rows]
        values, counts = np.unique(np.concatenate(keys) if keys else np.zeros(0, np.uint64), return_counts=True)
        self.repeated = values[counts > 1]
        self.buckets: dict[tuple[int | None, int], list[int]] = defaultdict(list)
        self.held: set[tuple[int | None, int, str, int | None]] = set()
        self.pairs: list[tuple[str, int, int, dict[str, float]]] = []
        self.num_not_compared = 0

    def _keys(self, row: int) -> list[tuple[int, bool]]:
        """The text keys under which a sample may meet another, each with whether it stands for the exact text."""
        thin, own = self.rows[row]
        if self.filter_.compare == "pictures" and own:
            return [(0, True)]
        at = np.searchsorted(self.repeated, thin.texts)
        again = at < len(self.repeated)
        again[again] = self.repeated[at[again]] == thin.texts[again]
        return [(int(thin.texts[index]), index == 0) for index in np.flatnonzero(again)]

    def judge(self, row: int) -> None:
        """Keep the sample, or pair it with the kept one that it repeats; an exact repetition is preferred."""
        thin, own = self.rows[row]
        keys = self._keys(row)
        around: list[int] | list[None] = self.pictures.around(own[0]) if own else [None]
        best: tuple[str, int, dict[str, float]] | None = None
        tried: set[int] = set()
        for text, _ in keys:
            for place in around:
                bucket = self.buckets.get((place, text), ())
                self.num_not_compared += max(0, len(bucket) - MAX_COMPARED)
                for other in bucket[:MAX_COMPARED]:
                    if other not in tried:
                        tried.add(other)
                        found = self._alike(row, other)
                        if found and (best is None or (found[0] == EXACT and best[0] != EXACT)):
                            best = (found[0], other, found[1])
            if best:
                self.pairs.append((best[0], row, best[1], best[2]))
                return
        pixels = self.pictures.pixels[own[0]] if own else None
        for text, exact in keys:
            if exact and len(own) <= 1:
                # One of each study and picture is enough: it stands for the others.
                same = (around[0], text, thin.study, pixels)
                if same in self.held:
                    continue
                self.held.add(same)
            self.buckets[around[0], text].append(row)

    def _alike(self, row: int, other: int) -> tuple[str, dict[str, float]] | None:
        (thin, own), (kept, theirs) = self.rows[row], self.rows[other]
        if len(own) != len(theirs):
            return None
        apart = 0
        for one, two in zip(own, theirs, strict=True):
            distance = self.pictures.distance(one, two)
            if distance is None or (distance > 0 and thin.study and thin.study == kept.study):
                return None
            apart = max(apart, distance)
        detail: dict[str, float] = {"distance": apart} if own else {}
        if (self.filter_.compare == "pictures" and own) or thin.texts[0] == kept.texts[0]:
            return (NEAR_PICTURE if apart else EXACT), detail
        if len(thin.texts) == 1 or len(kept.texts) == 1:
            return None
        alike = similarity(words_of(text_of(self.samples[row])), words_of(text_of(self.samples[other])))
        return (NEAR_TEXT, {**detail, "similarity": round(alike, 4)}) if alike >= self.filter_.near_text else None
