"""the filter ``contamination``: training samples that hold a benchmark's pictures or questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from infimed_core import DatasetFilter, Executor, FilterResult, MediaLoader, Sample, is_person_tag
from infimed_plugins.filters.hamming import MAX_DISTANCE, close_pairs
from infimed_plugins.filters.pictures import Classes, Print, faults_told, fingerprints
from infimed_plugins.filters.texts import exact_print, ngrams, text_of, words_of
from infimed_plugins.filters.walking import Places, walk

_Overlaps = dict[int, dict[int, int]]
"""Media of questions that a training medium equals (0) or is near to (bits, at least 1)."""

PICTURE, NEAR_PICTURE, TEXT = "benchmark_picture", "benchmark_near_picture", "benchmark_text"


@dataclass(frozen=True)
class _Thin:
    identity: str
    study: str
    people: tuple[tuple[str, str], ...] = ()
    """Its tags of a patient, subject or study, which a question must not share."""
    hits: tuple[tuple[int, float], ...] = ()
    """Questions whose text is in the sample, each with the share of its word runs that is."""


@dataclass(frozen=True)
class _Questions:
    """The texts of all benchmarks' questions, as runs of words. Small: it travels to every worker.

    ``grams`` is sorted; ``owners[offsets[i]:offsets[i + 1]]`` are the questions that hold ``grams[i]``.
    """

    length: int
    least_share: float
    least_words: int
    exact: Mapping[bytes, int]
    grams: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    owners: NDArray[np.int64]
    num_grams: NDArray[np.int64]

    def hits(self, sample: Sample) -> tuple[tuple[int, float], ...]:
        """A text-only sample may hold any question; one with pictures only long ones, for short ones are templates."""
        found: dict[int, float] = {}
        if not sample.media:
            for turn in sample.turns:
                number = self.exact.get(exact_print(turn.text))
                if number is not None:
                    found[number] = 1.0
        words = words_of(text_of(sample))
        own = ngrams(words, self.length)
        if len(own) and (not sample.media or len(words) >= self.least_words):
            at = np.searchsorted(self.grams, own)
            inside = at < len(self.grams)
            at, own = at[inside], own[inside]
            held: Counter[int] = Counter()
            for place in at[self.grams[at] == own].tolist():
                held.update(self.owners[self.offsets[place] : self.offsets[place + 1]].tolist())
            for number, count in held.items():
                share = count / int(self.num_grams[number])
                if share >= self.least_share:
                    found[number] = max(found.get(number, 0.0), round(share, 4))
        return tuple(sorted(found.items()))


@dataclass(frozen=True)
class _MakeThin:
    study_tag: str
    questions: _Questions

    def __call__(self, sample: Sample) -> _Thin:
        return _Thin(sample.id, sample.tags.get(self.study_tag, ""), _people(sample), self.questions.hits(sample))


def _people(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple((tag, value) for tag, value in sorted(sample.tags.items()) if value and is_person_tag(tag))


class Contamination(DatasetFilter):
    """Keeps what the benchmarks ask out of training.

    A training sample is contaminated by a benchmark when it holds one of its pictures (equal decoded pixels, or
    perceptual hashes within ``near_distance`` bits), or the text of a question: the same text, where both are without
    pictures, or at least ``overlap`` of the question's runs of ``ngram`` words. Runs that ``template_questions`` or
    more questions of the benchmark share are its template and count for nothing. Where there are pictures, only texts
    of ``long_text_words`` words or more are looked at: the same short question about another picture is no
    contamination.
    """

    packages: ClassVar[Mapping[str, str]] = {"cv2": "infimed[score]"}

    near_distance: int = Field(
        default=14,
        ge=0,
        le=MAX_DISTANCE,
        description="Most differing bits, of 256, of near pictures; 0 for equal hashes.",
    )
    ngram: int = Field(default=8, ge=2, le=64, description="Words in a run.")
    overlap: float = Field(default=0.8, gt=0.0, le=1.0, description="Least share of a question's runs in a sample.")
    long_text_words: int = Field(default=40, ge=8, description="Fewest words of a question about a picture.")
    template_questions: int = Field(default=4, ge=2, description="Questions that share a run which is a template.")
    study_tag: str = Field(default="study", description="Tag whose equal values mean the same study; only reported.")
    remove: bool = Field(default=True, description="Keep contaminated samples out of training; false only reports.")
    max_pairs: int = Field(default=200, ge=0, description="Most pairs listed in the record.")

    def check(
        self,
        samples: Sequence[Sample],
        benchmarks: Mapping[str, Sequence[Sample]],
        media: MediaLoader,
        executor: Executor,
    ) -> FilterResult:
        """Reject training samples that overlap with any benchmark; without benchmarks nothing is rejected."""
        asked = [(name, sample) for name, questions in benchmarks.items() for sample in questions]
        if not asked:
            return FilterResult(details={"num_samples": len(samples), "num_questions": 0, "removed": self.remove})
        places = Places()
        studies = {sample.tags[self.study_tag] for _, sample in asked if sample.tags.get(self.study_tag)}
        num_same_study = 0
        asked_of = {pair for _, sample in asked for pair in _people(sample)}
        shared: dict[str, Counter[str]] = {}
        trained = []
        for thin, own in walk(samples, _MakeThin(self.study_tag, self._index(benchmarks)), places, executor):
            num_same_study += thin.study in studies
            for tag, value in thin.people:
                if (tag, value) in asked_of:
                    shared.setdefault(tag, Counter())[value] += 1
            if own or thin.hits:  # nothing else can turn out to be contaminated
                trained.append((thin, own))
        num_trained = len(places.media)
        owners: dict[int, list[int]] = {}
        flat = [sample for _, sample in asked]
        for number, (_, own) in enumerate(walk(flat, _identity, places, executor)):
            for place in own:
                owners.setdefault(place, []).append(number)
        prints = fingerprints(places.media, media, executor)
        used = {place for _, own in trained for place in own}
        overlaps = self._pictures(prints, sorted(used), sorted(owners))
        filtered = self._told(asked, trained, owners, overlaps, prints)
        counts: dict[str, JsonValue] = {
            "num_samples": len(samples),
            "num_training_media": num_trained,
            "num_samples_of_a_benchmark_study": num_same_study,
            "on_both_sides": {
                tag: {"num_values": len(found), "num_samples": found.total()} for tag, found in sorted(shared.items())
            },
        }
        return filtered.model_copy(update={"details": {**counts, **filtered.details}})

    def _index(self, benchmarks: Mapping[str, Sequence[Sample]]) -> _Questions:
        exact: dict[bytes, int] = {}
        kept: list[NDArray[np.uint64]] = []
        for questions in benchmarks.values():
            first = len(kept)
            for number, sample in enumerate(questions, start=first):
                text = "\n".join(turn.text for turn in sample.turns)
                words = words_of(text)
                if not sample.media:
                    exact.setdefault(exact_print(text), number)
                long_enough = not sample.media or len(words) >= self.long_text_words
                kept.append(ngrams(words if long_enough else [], self.ngram))
            own = kept[first:]
            values, counts = np.unique(np.concatenate(own) if own else np.zeros(0, np.uint64), return_counts=True)
            template = values[counts >= self.template_questions]
            kept[first:] = [grams[~np.isin(grams, template)] for grams in own]
        sizes = np.array([len(grams) for grams in kept], dtype=np.int64)
        grams = np.concatenate(kept) if kept else np.zeros(0, np.uint64)
        numbers = np.repeat(np.arange(len(kept)), sizes)
        order = np.argsort(grams, kind="stable")
        values, starts = np.unique(grams[order], return_index=True)
        return _Questions(
            length=self.ngram,
            least_share=self.overlap,
            least_words=self.long_text_words,
            exact=exact,
            grams=values,
            offsets=np.append(starts, len(grams)).astype(np.int64),
            owners=numbers[order],
            num_grams=np.maximum(sizes, 1),
        )

    def _pictures(
        self, prints: Sequence[Print], trained: Sequence[int], asked: Sequence[int]
    ) -> dict[int, dict[int, int]]:
        """Media of questions that a training medium equals (0) or is near (bits, at least 1)."""
        found: _Overlaps = {}
        pixels: dict[bytes, list[int]] = {}
        hashes = Classes()
        by_hash: dict[int, list[int]] = {}
        for place in asked:
            made = prints[place]
            if made.pixels is not None:
                pixels.setdefault(made.pixels, []).append(place)
            if made.near is not None:
                by_hash.setdefault(hashes.of(made.near), []).append(place)
        mine = Classes()
        by_mine: dict[int, list[int]] = {}
        for place in trained:
            made = prints[place]
            if made.near is not None:
                by_mine.setdefault(mine.of(made.near), []).append(place)
        for one, two, bits in zip(*close_pairs(mine.array(), hashes.array(), self.near_distance), strict=True):
            for place in by_mine[int(one)]:
                for other in by_hash[int(two)]:
                    found.setdefault(place, {})[other] = max(1, int(bits))
        for place in trained:
            for other in pixels.get(prints[place].pixels or b"", ()):
                found.setdefault(place, {})[other] = 0
        return found

    def _told(
        self,
        asked: Sequence[tuple[str, Sample]],
        trained: Sequence[tuple[_Thin, tuple[int, ...]]],
        owners: Mapping[int, Sequence[int]],
        overlaps: _Overlaps,
        prints: Sequence[Print],
    ) -> FilterResult:
        rejected: dict[str, tuple[str, ...]] = {}
        touched: dict[str, set[int]] = {name: set() for name, _ in asked}
        counts: dict[str, Counter[str]] = {name: Counter() for name, _ in asked}
        pairs: list[JsonValue] = []
        for thin, own in trained:
            reasons: dict[str, dict[str, tuple[int, dict[str, float]]]] = {}
            for place in own:
                for other, bits in overlaps.get(place, {}).items():
                    for number in owners[other]:
                        name = asked[number][0]
                        touched[name].add(number)
                        reason = NEAR_PICTURE if bits else PICTURE
                        reasons.setdefault(reason, {}).setdefault(name, (number, {"distance": bits}))
            for number, share in thin.hits:
                name = asked[number][0]
                touched[name].add(number)
                reasons.setdefault(TEXT, {}).setdefault(name, (number, {"overlap": share}))
            if not reasons:
                continue
            rejected[thin.identity] = tuple(reason for reason in (PICTURE, NEAR_PICTURE, TEXT) if reason in reasons)
            for reason, by_name in sorted(reasons.items()):
                for name, (number, detail) in sorted(by_name.items()):
                    counts[name][reason] += 1
                    if len(pairs) < self.max_pairs:
                        named = {"id": thin.identity, "benchmark": name, "question": asked[number][1].id}
                        pairs.append({**named, "reason": reason, **detail})
        num_unreadable, told = faults_told(prints)
        num_questions = Counter(name for name, _ in asked)
        details: dict[str, JsonValue] = {
            "num_questions": len(asked),
            "num_media": len(prints),
            "num_unreadable_media": num_unreadable,
            "unreadable": list(told),
            "num_contaminated": len(rejected),
            "by_benchmark": {
                name: {
                    "num_questions": num_questions[name],
                    "num_questions_met": len(touched[name]),
                    "reasons": dict(sorted(counts[name].items())),
                }
                for name in touched
            },
            "removed": self.remove,
            "pairs": pairs,
        }
        return FilterResult(rejected=rejected if self.remove else {}, details=details)


def _identity(sample: Sample) -> str:
    return sample.id
