"""Answers of constant baselines."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from infimed_core.api.data import Sample
from infimed_core.api.evaluation import Benchmark
from infimed_core.api.models import Answer


def most_common_answers(benchmark: Benchmark, samples: Sequence[Sample]) -> list[Answer]:
    """For every sample the most common first reference among the samples of its kind (``baseline_by`` tags).

    The answers are counted on the graded questions themselves, so no constant can do better by looking elsewhere.
    """
    kinds = [tuple(sample.tags.get(tag, "") for tag in benchmark.baseline_by) for sample in samples]
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for kind, sample in zip(kinds, samples, strict=True):
        if sample.references:
            counts[kind][sample.references[0]] += 1
    best = {kind: max(sorted(found), key=found.__getitem__) for kind, found in counts.items()}
    return [
        Answer(sample_id=sample.id, text=best.get(kind, ""), num_calls=0)
        for kind, sample in zip(kinds, samples, strict=True)
    ]


def constant_letter(samples: Sequence[Sample]) -> str:
    """The letter that is most often right among multiple-choice questions with one right letter; "" without any."""
    letters = [sample.references[0] for sample in samples if sample.options and sample.references]
    counts = Counter(letter for letter in letters if len(letter) == 1)
    return max(sorted(counts), key=counts.__getitem__) if counts else ""
