"""Baselines that answer with constants: what a model must beat that looks at no picture and knows nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from pydantic import JsonValue

from infimed_core import Answer, Baseline, Benchmark, Sample

FEWEST_ALIKE = 5
"""Graded questions of one wording from which their own most common answer is a constant and not the answer itself."""


class MostCommonAnswer(Baseline):
    """The constant that suits each question's wording and kind; see docs/benchmarks.md."""

    def answers(
        self, benchmark: Benchmark, samples: Sequence[Sample], training: Iterable[Sample]
    ) -> tuple[list[Answer], dict[str, JsonValue]]:
        """The answers, and how many constants were chosen by what."""
        found, chosen = most_common_answers(benchmark, samples, training)
        return found, {"chosen_by": dict(chosen)}


class ConstantLetter(Baseline):
    """The letter that is most often right in the benchmark, given to every question."""

    def applies(self, samples: Sequence[Sample]) -> bool:
        """Only to multiple choice with one right letter."""
        return bool(constant_letter(samples))

    def answers(
        self, benchmark: Benchmark, samples: Sequence[Sample], training: Iterable[Sample]
    ) -> tuple[list[Answer], dict[str, JsonValue]]:
        """The letter as often as there are questions."""
        letter = constant_letter(samples)
        return [Answer(sample_id=sample.id, text=letter, num_calls=0) for sample in samples], {"letter": letter}


def most_common_answers(
    benchmark: Benchmark, samples: Sequence[Sample], training: Iterable[Sample] = ()
) -> tuple[list[Answer], Counter[str]]:
    """For every sample the constant that its wording and kind suggest, and how many were chosen by what.

    ``training``: the most common answer that the training data give to the very same words. ``wording``: the most
    common first reference among at least ``FEWEST_ALIKE`` graded questions of these words. ``kind``: that of its kind,
    the ``baseline_by`` tags and whether it has options. What a graded question's own answer is like is no part of it.
    """
    wordings = [_plain(benchmark.wording(sample)) for sample in samples]
    kinds = [(bool(s.options), *(s.tags.get(tag, "") for tag in benchmark.baseline_by)) for s in samples]
    references = [sample.references[0] if sample.references else "" for sample in samples]
    learned = _best(
        (wording, row.turns[-1].text.strip())
        for row, wording in ((row, _plain(row.turns[-2].text)) for row in training if len(row.turns) > 1)
        if row.turns[-1].role == "assistant"
    )
    asked = Counter(wordings)
    alike = _best((w, r) for w, r in zip(wordings, references, strict=True) if asked[w] >= FEWEST_ALIKE)
    by_kind = _best(zip(kinds, references, strict=True))
    chosen: Counter[str] = Counter()
    answers = []
    for sample, wording, kind in zip(samples, wordings, kinds, strict=True):
        by = "training" if wording in learned else "wording" if wording in alike else "kind"
        chosen[by] += 1
        text = learned.get(wording) or alike.get(wording) or by_kind.get(kind, "")
        answers.append(Answer(sample_id=sample.id, text=text, num_calls=0))
    return answers, chosen


def _best(pairs: Iterable[tuple[Hashable, str]]) -> dict[Hashable, str]:
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for key, text in pairs:
        if text:
            counts[key][text] += 1
    return {key: max(sorted(found), key=found.__getitem__) for key, found in counts.items()}


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def constant_letter(samples: Sequence[Sample]) -> str:
    """The letter that is most often right among multiple-choice questions with one right letter; "" without any."""
    letters = [sample.references[0] for sample in samples if sample.options and sample.references]
    counts = Counter(letter for letter in letters if len(letter) == 1)
    return max(sorted(counts), key=counts.__getitem__) if counts else ""
