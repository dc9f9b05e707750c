"""The benchmarks ``demo-vqa`` (held-out pictures) and ``demo-text`` (held-out disease categories)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from infimed_core import Answer, Benchmark, Component, Fault, Generation, Sample, Score, modality_of
from infimed_plugins.demo import samples, sources
from infimed_plugins.demo.anatomy import DATA_VERSION, some_pictures
from infimed_plugins.demo.grading import grade


def _asked(sample: Sample) -> Sample:
    """The question without its answer, its modality in the vocabulary of the results."""
    tags = sample.tags | {"modality": modality_of(sample.tags.get("modality"))}
    return sample.model_copy(update={"turns": sample.turns[:-1], "tags": tags})


def _spread(found: list[Sample], at_most: int | None) -> list[Sample]:
    """At most ``at_most`` samples at even distances, so that every kind stays."""
    if at_most is None or len(found) <= at_most:
        return found
    return [found[index * len(found) // at_most] for index in range(at_most)]


class _Demo(Benchmark):
    version: ClassVar[str] = DATA_VERSION
    scorings: ClassVar[tuple[str, ...]] = ("strict",)
    group_by: ClassVar[tuple[str, ...]] = ("kind", "form")
    baseline_by: ClassVar[tuple[str, ...]] = ("kind", "form")
    cluster_by: ClassVar[str] = "image"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    needs: ClassVar[tuple[str, ...]] = tuple(sources.DISTRIBUTIONS)

    split: Literal["test", "validation"] = Field(default="test", description="Which held-out part to ask about.")
    max_samples: int | None = Field(default=None, ge=1, description="At most this many questions; all if empty.")
    seed: int = Field(default=0, description="Seed of phrasings and options.")

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """Exact match after normalising, a letter, or yes/no; ``None`` with a reason where nothing could be read."""
        return grade(sample, answer)

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Packages of the extra ``demo`` that are missing."""
        return sources.missing_packages(self.needs)

    def generation(self) -> Generation:
        """Greedy; the longest answer is a chapter of ICD-10-CM."""
        return Generation(max_new_tokens=32)

    def fingerprint(self) -> str:
        """Changes with the settings, the version and the packages that carry the data."""
        parts = f"{self.identity()}|{self.version}|{sources.versions()}|vocabulary"
        return hashlib.sha256(parts.encode()).hexdigest()


class DemoVqa(_Demo):
    """Questions about pictures that no training sample shows; shown by kind and form. Not a clinical benchmark."""

    side: int = Field(default=128, ge=32, le=192, description="Side of every picture in pixels.")
    include_text: bool = Field(default=False, description="Add the questions of demo-text.")

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question, kind by kind."""
        pictures = some_pictures(self.split, self.side, None)
        found = samples.held_out(pictures, samples.ALL_KINDS, samples.ALL_FORMS, self.seed)
        if self.include_text:
            found += samples.text_samples(self.split, samples.ALL_FORMS, samples.STAGES, self.seed)
        yield from map(_asked, _spread(found, self.max_samples))


class DemoText(_Demo):
    """Text-only questions about ICD-10-CM categories that no training sample names, reported apart."""

    needs: ClassVar[tuple[str, ...]] = ("simple_icd_10_cm",)

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question, category by category."""
        found = samples.text_samples(self.split, samples.ALL_FORMS, samples.STAGES, self.seed)
        yield from map(_asked, _spread(found, self.max_samples))
