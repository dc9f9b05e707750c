"""What all benchmarks share that ask the questions of another one in another way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import (
    Answer,
    Ask,
    Benchmark,
    Component,
    ComponentRef,
    DataError,
    Fault,
    Generation,
    Sample,
    Score,
    load_plugins,
)


class OfAnother(Benchmark):
    """A benchmark whose questions come from another one, and are asked in the way that one wants."""

    nested: ClassVar[Mapping[str, str]] = {"benchmark": "benchmark"}

    benchmark: ComponentRef = Field(description="The benchmark whose questions are asked, and its settings.")

    @cached_property
    def inner(self) -> Benchmark:
        """The benchmark that is asked in another way."""
        made: Any = load_plugins().make("benchmark", self.benchmark.use, self.benchmark.settings)
        return made  # type: ignore[no-any-return]

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Those of the benchmark that is asked."""
        return {f"benchmark.with.{key}": text for key, text in self.inner.problems(run).items()}

    def generation(self) -> Generation | None:
        """As the benchmark wants."""
        found: Generation | None = self.inner.generation()
        return found

    def solver(self) -> ComponentRef | None:
        """As the benchmark wants."""
        return self.inner.solver()

    def fingerprint(self) -> str:
        """Changes with the settings and with the benchmark."""
        return f"{self.identity()}|{self.version}|{self.inner.version}|{self.inner.fingerprint()}"


class Wrapped(OfAnother):
    """The questions of ``benchmark``, altered one by one; graded, grouped and summed up as there."""

    @property
    def scorings(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the benchmark."""
        return self.inner.scorings

    @property
    def group_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the benchmark."""
        return self.inner.group_by

    @property
    def baseline_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the benchmark."""
        return self.inner.baseline_by

    @property
    def cluster_by(self) -> str:  # type: ignore[override]
        """As the benchmark."""
        return self.inner.cluster_by

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the benchmark."""
        return self.inner.metrics

    @property
    def judging(self) -> str:  # type: ignore[override]
        """As the benchmark."""
        return self.inner.judging

    def altered(self, sample: Sample) -> Sample:
        """The question as it is asked here.

        Raises:
            DataError: it cannot be asked so.
        """
        raise NotImplementedError

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question, altered; what cannot be is left out with its reason."""
        for row in self.inner.samples():
            if isinstance(row, Fault):
                yield row
                continue
            try:
                yield self.altered(row)
            except DataError as error:
                yield Fault(sample_id=row.id, code=error.code, detail=str(error))

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """As the benchmark grades it."""
        return self.inner.grade(sample, answer, scoring)

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score] | None:
        """As the benchmark does."""
        return self.inner.judge(samples, answers, ask)

    def compared_texts(self, sample: Sample, answer: Answer) -> dict[str, tuple[str, str]]:
        """As the benchmark."""
        return self.inner.compared_texts(sample, answer)

    def is_open(self, sample: Sample) -> bool:
        """As the benchmark."""
        return self.inner.is_open(sample)

    def wording(self, sample: Sample) -> str:
        """As the benchmark."""
        return self.inner.wording(sample)
