"""Benchmarks, solvers and metrics, and the results they give."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infimed_core.api.component import Component, ComponentRef, as_named
from infimed_core.api.data import Fault, Sample, Score
from infimed_core.api.models import Answer, Ask
from infimed_core.named_files import digest_of_files


class Solver(Component):
    """How a model is asked the questions of a benchmark."""

    def models(self) -> Sequence[str]:
        """Names of the run file's ``models:`` that this solver asks besides the one that is graded."""
        return ()

    @abstractmethod
    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order. ``ask`` may be called any number of times; ``generation`` is the
        benchmark's ``Generation`` or the run file's override."""


class Benchmark(Component):
    """A set of questions with a way to grade the answers."""

    scorings: ClassVar[tuple[str, ...]] = ("strict",)
    """Ways of grading, the first is the one that counts."""
    group_by: ClassVar[tuple[str, ...]] = ()
    """Tags by which results are shown in parts."""
    baseline_by: ClassVar[tuple[str, ...]] = ()
    """Tags that define a kind of question for the most-common-answer baseline."""
    cluster_by: ClassVar[str] = ""
    """Tag whose equal values are not independent (an image, a study); intervals resample these. "" is the sample."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metric components that summarise the scores; the default metric where there is none."""
    judging: ClassVar[str] = ""
    """What ``judge`` leaves to rules and what it asks the judge; stands in the protocol of a judged run."""

    @abstractmethod
    def samples(self) -> Iterator[Sample | Fault]:
        """Every question, in a fixed order."""

    @abstractmethod
    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """Grade one answer. What cannot be read is unscored (``None``), with a reason; never a guess."""

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score] | None:
        """Grade by asking a judge (``ask`` without a name), one score per sample; ``None``: no use for a judge here.

        Each judge of ``evaluation.judges`` gives a scoring of its own, ``judge:NAME``. A verdict that is missing or
        unreadable is unscored.
        """
        return None

    def compared_texts(self, sample: Sample, answer: Answer) -> dict[str, tuple[str, str]]:
        """Section -> (reference, answer) for metrics of texts; ``""`` is the whole. Sections without a reference are
        left out; an answer that lacks a section has ``""`` there."""
        return {"": (sample.references[0], answer.text or "")} if sample.references else {}

    def is_open(self, sample: Sample) -> bool:
        """Whether the answer is free text, so that measures of open answers take it in."""
        return True

    def wording(self, sample: Sample) -> str:
        """What is asked, without what every question is given (options, instructions), for baselines by wording."""
        return next((turn.text for turn in reversed(sample.turns) if turn.role == "user"), "")

    def solver(self) -> ComponentRef | None:
        """The solver this benchmark wants unless the run file names another; ``None`` for the default one."""
        return None

    def generation(self) -> Any:
        """The ``Generation`` this benchmark wants; ``None`` for the default."""
        return None

    def fingerprint(self) -> str:
        """A digest that changes when the questions or their grading change.

        Unless overridden: the settings, the version, and every file and folder that the settings name.
        """
        files = digest_of_files(dict(self), as_named)
        return hashlib.sha256(f"{self.identity()}|{self.version}|{files}".encode()).hexdigest()

    def summarise(
        self, samples: Sequence[Sample], answers: Sequence[Answer], scoring: str
    ) -> dict[str, JsonValue] | None:
        """Anything to record beside the metrics (another harness's result format ...)."""
        return None


class Baseline(Component):
    """Answers a benchmark without a model: what every model is compared with."""

    def applies(self, samples: Sequence[Sample]) -> bool:
        """Whether it has anything to answer to these questions."""
        return True

    @abstractmethod
    def answers(
        self, benchmark: Benchmark, samples: Sequence[Sample], training: Iterable[Sample]
    ) -> tuple[list[Answer], dict[str, JsonValue]]:
        """One answer per question, in order, and what the record says of them; ``training`` is the run's own data."""


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """A question, what a model answered, and the score of that answer under one scoring."""

    sample: Sample
    answer: Answer
    score: Score

    @property
    def has_result(self) -> bool:
        """Whether the question got an answer that counts: ``False`` where a model or a judge could not be reached.

        An answer that cannot be read, or on which a grader fails, has a result: it is not right, and it counts.
        """
        failed = self.score.status == "error" and "grading_failed" not in self.score.reasons
        return self.answer.error is None and not failed


class Metric(Component):
    """Reduces scores to one value."""

    higher_is_better: ClassVar[bool] = True
    """Whether a larger value is the better one; reports say which of two models is better by it."""
    counts_unread: ClassVar[bool] = False
    """Whether answers that could not be read take part; their ``Score.value`` is ``None``."""
    shown_with: ClassVar[tuple[str, ...]] = ()
    """Names of metrics that a result always shows beside this one."""
    of_open_answers: ClassVar[bool] = False
    """Whether only free text takes part (``Benchmark.is_open``); what is then unscored are such answers alone."""

    def missing(self) -> str:
        """What must be installed first, with the command that does; asked before any model is. "" for nothing."""
        return ""

    @abstractmethod
    def compute(self, scores: Sequence[Score]) -> float | None:
        """The metric over scored samples (``value`` not ``None``); ``None`` where it is undefined."""

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64] | None:
        """One value per score such that ``compute`` is their mean, float64 [n]; ``None`` where the metric is no mean.

        NaN where a score takes no part in it (a closed question in a measure of open answers). A mean gets its interval
        in closed form; any other metric is computed anew on each of many resamples.
        """
        return None

    def interval(self, rows: Sequence[GradedAnswer], clusters: Sequence[str]) -> tuple[float, float] | None:
        """The 95% interval of a metric that is no mean and knows a better one than resampling; ``None``: resample."""
        return None

    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        """``compute`` for a metric that sees more than scores (``AnswerMetric``)."""
        return self.compute([row.score for row in rows])

    def smallest_part(self, rows: Sequence[GradedAnswer]) -> int:
        """How many questions the least known part of the metric stands on (its rarest class): few give no interval."""
        return len(rows)

    def answer_values(self, rows: Sequence[GradedAnswer]) -> NDArray[np.float64] | None:
        """``values`` for a metric that sees more than scores."""
        return self.values([row.score for row in rows])


class AnswerMetric(Metric):
    """A metric that sees the question and the answer beside the score: an F1, balanced accuracy, calibration.

    Overrides ``compute_answers``, and ``answer_values`` where it is a mean.
    """

    @abstractmethod
    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        """The metric over ``rows``; ``None`` where it is undefined."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        """Not for this kind of metric: ``compute_answers`` is called instead."""
        raise TypeError(f"{type(self).__name__} needs questions and answers: call compute_answers()")


class TextMetric(Metric):
    """Measures every answer's text against its reference; the metric is the mean over all scored answers.

    The core calls ``measure`` once for each model and benchmark and keeps the values in ``Score.parts``.
    """

    key: ClassVar[str]
    """Name of the part in ``Score.parts``; a section's name goes before it (``findings_cider``)."""
    section: ClassVar[str] = ""
    """Which of the benchmark's ``compared_texts`` is measured; "" is the whole."""

    @property
    def part(self) -> str:
        """The name in ``Score.parts``."""
        return f"{self.section}_{self.key}" if self.section else self.key

    @abstractmethod
    def measure(self, references: Sequence[str], texts: Sequence[str | None]) -> list[float | None]:
        """One value per pair, in order; ``None`` where it cannot be measured.

        A text is ``None`` where the answer is unscored: it gets no value, but its reference belongs to the corpus.
        """

    def compute(self, scores: Sequence[Score]) -> float | None:
        """The mean of the part over the scores that have it."""
        values = [value for score in scores if (value := score.parts.get(self.part)) is not None]
        return sum(values) / len(values) if values else None

    def values(self, scores: Sequence[Score]) -> NDArray[np.float64] | None:
        """The part of every score, NaN where a score lacks it."""
        return np.array([score.parts.get(self.part) for score in scores], dtype=np.float64)
