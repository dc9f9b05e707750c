"""Reading a run, finished or under way: its record, samples, scores, answers, results and events, all typed.

run = open_run("runs/full")
for answer in run.answers("demo-vqa", "medical"):
    print(answer.sample.id, answer.scores["strict"].value)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infimed_core.api.data import Fault, Sample, Score
from infimed_core.api.reporting import (
    RECORD_FORMAT,
    Comparison,
    MetricValue,
    PluginInfo,
    ResultRow,
    RunRecord,
    StepRecord,
)
from infimed_core.errors import InfimedError
from infimed_core.evaluate.graded import Graded, answers_path, parse_graded
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.runfile.sections import (
    BASELINE,
    CONSTANT_LETTER,
    IMAGE_BLIND,
    BenchmarkRef,
    benchmark_name,
    is_baseline,
)
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import first_mistake, read_lines
from infimed_core.store.places import run_above
from infimed_core.store.record import is_gone, read_record
from infimed_core.store.scores import ScoreTable

__all__ = [
    "BASELINE", "CONSTANT_LETTER", "IMAGE_BLIND", "RECORD_FORMAT", "BadLine", "BenchmarkRef", "Comparison", "Fault",
    "Graded", "MetricValue", "PluginInfo", "RecordedEvent", "ResultRow", "Run", "RunRecord", "SampleRow", "ScoreTable",
    "StagePlan", "StepRecord", "is_baseline", "open_run", "parse_graded", "read_answers",
]  # fmt: skip

MOST_EVENT_BYTES = 8_000_000
"""Read from the end of ``events.jsonl``: about 40,000 training steps."""


@dataclass(frozen=True)
class SampleRow:
    """One sample of a run's data and what became of it.

    Attributes:
        kept: whether the run may train on it: no filter and no selector turned it away.
        filtered: reasons of the filters of the data as a whole; empty where none turned it away.
        rejected: reasons of the selector; empty where it was kept, or never reached the selector.
        scores: by the scorer's name; empty for a run without ``quality:``.
    """

    sample: Sample
    kept: bool
    filtered: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    scores: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedEvent:
    """A line of ``events.jsonl``: a ``RunEvent`` with the time it was written."""

    time: str
    kind: str
    step: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class BadLine:
    """A line of an answers file that is no graded answer: its file, its number (from 1), and why."""

    path: Path
    number: int
    reason: str


def open_run(path: str | Path) -> Run:
    """Open a run: ``path`` is its directory, or the run.json in it.

    Raises:
        InfimedError: there is no run, or another version of InfiMed made it; the message names the remedy.
    """
    path = Path(path)
    return Run(path if path.is_dir() else path.parent, read_record(path))


@dataclass(frozen=True)
class Run:
    """A run as it was when it was opened; what is large (samples, scores, answers) is read as it is asked for."""

    directory: Path
    record: RunRecord

    @property
    def name(self) -> str:
        """The run's name."""
        return self.record.name

    @property
    def status(self) -> str:
        """``running``, ``done``, ``failed`` or ``interrupted``; ``done`` also while its reports are being written."""
        last = self.record.steps[-1] if self.record.steps else None
        is_reporting = last is not None and (last.kind, last.status) == ("report", "running")
        return "done" if self.record.status == "running" and is_reporting else self.record.status

    @property
    def is_abandoned(self) -> bool:
        """Whether it calls itself running and no living process of this machine works on it."""
        return is_gone(self.directory, self.record)

    def steps(self, kind: str | None = None, **subject: str) -> list[StepRecord]:
        """Steps in order: of one kind, and of a subject: ``run.steps("evaluate", model="base")``.

        ``StepRecord`` lists the kinds and what their subjects name.
        """
        return [
            step
            for step in self.record.steps
            if (kind is None or step.kind == kind) and subject.items() <= step.subject.items()
        ]

    def step(self, kind: str, **subject: str) -> StepRecord | None:
        """The last step of that kind and subject; ``None`` where there is none."""
        matches = self.steps(kind, **subject)
        return matches[-1] if matches else None

    def artifact(self, step: StepRecord | None) -> Path | None:
        """The directory a finished step left; ``None`` where there is none (yet)."""
        if step is None or step.artifact is None or step.status not in ("done", "reused"):
            return None
        directory = self.directory / step.artifact
        return directory if os.path.isdir(directory) else None  # False too for what can be no name

    @cached_property
    def dataset(self) -> Sequence[Sample]:
        """Every sample that was read and then those made from them, in order, each without reading the others.

        Raises:
            InfimedError: the run has read no data (yet), or they were moved.
        """
        for directory in map(self.artifact, (self.step("reasoning"), self.step("read"))):
            if directory is not None and (directory / "samples.jsonl").is_file():
                return Dataset(directory / "samples.jsonl")
        raise InfimedError(f"{self.directory}: holds no samples; it is {self.status} and may have no 'data:'")

    def stage_plan(self, stage: str) -> StagePlan | None:
        """Which samples share a row and a step of a stage; ``None`` where the run has not planned it (yet)."""
        directory = self.artifact(self.step("plan", stage=stage))
        return StagePlan.load(directory / "plan.npz") if directory is not None else None

    def faults(self) -> Iterator[Fault]:
        """Every row of the sources that is no sample, with its place and its reason."""
        directory = self.artifact(self.step("read"))
        if directory is not None:
            for line in read_lines(directory / "faults.jsonl"):
                yield Fault.model_validate_json(line)

    @property
    def scorers(self) -> tuple[str, ...]:
        """Names of the scorers whose scores are there, in order; selection uses the first one's value."""
        return tuple(step.subject["scorer"] for step in self.steps("score") if self.artifact(step) is not None)

    def scores(self, scorer: str | None = None) -> ScoreTable:
        """The scores of a scorer (default: the first), a sequence of (sample id, score) in the order of ``dataset``.

        Raises:
            InfimedError: the run has no scores of that name.
        """
        names = self.scorers
        if not names or (scorer is not None and scorer not in names):
            wanted = f"no scores of '{scorer}'" if scorer is not None else "no scores"
            raise InfimedError(f"{self.directory}: holds {wanted}; it has those of: {', '.join(names) or 'none'}")
        directory = self.artifact(self.step("score", scorer=scorer or names[0]))
        assert directory is not None  # else the name were not there
        return ScoreTable(directory)

    def samples(self) -> Iterator[SampleRow]:
        """Every sample in order: whether it is kept, what turned it away, and its scores.

        Raises:
            InfimedError: the run has read no data (yet).
        """
        filtered, rejected = self._filtered(), self._rejected()
        tables = {name: iter(self.scores(name)) for name in self.scorers}
        for sample in self.dataset:
            by_filters, by_selector = filtered.get(sample.id, ()), rejected.get(sample.id)
            yield SampleRow(
                sample,
                kept=sample.id not in filtered and by_selector is None,
                filtered=by_filters,
                rejected=by_selector or (),
                # what was made later has no scores
                scores={name: found[1] for name, table in tables.items() if (found := next(table, None))},
            )

    def _filtered(self) -> dict[str, tuple[str, ...]]:
        reasons: dict[str, tuple[str, ...]] = {}
        for step in self.steps("filter"):
            directory = self.artifact(step)
            if directory is not None:
                for identity, more in json.loads((directory / "rejected.json").read_text(encoding="utf-8")).items():
                    reasons[identity] = (*reasons.get(identity, ()), *more)
        return reasons

    def _rejected(self) -> dict[str, tuple[str, ...]]:
        directory = self.artifact(self.step("select"))
        rows = map(json.loads, read_lines(directory / "selection.jsonl")) if directory is not None else ()
        return {row["id"]: tuple(row["reasons"]) for row in rows if not row["kept"]}

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Names of the benchmarks that were graded, in order."""
        return tuple(dict.fromkeys(benchmark for benchmark, _ in self.answered()))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that were graded, baselines (``is_baseline``) included, in order."""
        return tuple(dict.fromkeys(model for _, model in self.answered()))

    @property
    def last_model(self) -> str:
        """The model that the run ends with: that of its last stage, or ``base`` where nothing was trained."""
        stages = self.steps("train")
        return stages[-1].subject["stage"] if stages else "base"

    def answered(self) -> list[tuple[str, str]]:
        """(benchmark, model) of everything that was graded: in the order of the results, then of the steps."""
        pairs = dict.fromkeys((row.benchmark, row.model) for row in self.record.results)
        for step in self.record.steps:
            benchmark, model = step.subject.get("benchmark"), step.subject.get("model")
            if step.kind in ("evaluate", "baseline") and step.status in ("done", "reused") and benchmark and model:
                pairs[benchmark, model] = None
        return list(pairs)

    def answers_file(self, benchmark: str, model: str) -> Path:
        """Where the graded answers of a model lie; whether they are there is not asked."""
        return answers_path(self.directory, benchmark, model)

    def answers(self, benchmark: str, model: str, bad: list[BadLine] | None = None) -> Iterator[Graded]:
        """A model's graded answers on a benchmark, in the order of the questions.

        ``bad`` gets the lines that are no graded answer (of a file that was edited, say); without it they are an error.

        Raises:
            InfimedError: the run has no such answers, or (without ``bad``) a line is no graded answer.
        """
        path = self.answers_file(benchmark, model)
        if not path.is_file():
            pairs = ", ".join(f"'{model}' on '{benchmark}'" for benchmark, model in self.answered())
            raise InfimedError(
                f"{self.directory}: holds no answers of '{model}' on '{benchmark}'; it has those of: {pairs or 'none'}"
            )
        return read_answers(path, bad)

    def cluster_by(self, benchmark: str) -> str:
        """The tag whose equal values are not independent there (an image, a study); "" where the sample is the unit."""
        step = self.step("evaluate", benchmark=benchmark)
        return str(step.details.get("cluster_by") or "") if step is not None else ""

    @cached_property
    def benchmark_refs(self) -> dict[str, BenchmarkRef]:
        """What the run file says of each benchmark, by its name in the run: ``use``, ``settings``, ``solver`` ..."""
        section = self.record.config.get("evaluation")
        uses = section.get("benchmarks") if isinstance(section, dict) else None
        refs = [BenchmarkRef.model_validate(use) for use in uses] if isinstance(uses, list) else []
        return {benchmark_name(refs, index): ref for index, ref in enumerate(refs)}

    def results(
        self, benchmark: str | None = None, model: str | None = None, scoring: str | None = None
    ) -> list[ResultRow]:
        """Rows of results, in order: of a benchmark, a model, a scoring; over all questions and by group."""
        return [
            row
            for row in self.record.results
            if (benchmark is None or row.benchmark == benchmark)
            and (model is None or row.model == model)
            and (scoring is None or row.scoring == scoring)
        ]

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every paired difference between two models of the run."""
        return self.record.comparisons

    def events(self, most_bytes: int | None = MOST_EVENT_BYTES) -> Iterator[RecordedEvent]:
        """What the run told, oldest first: the last ``most_bytes`` of it, ``None`` for all.

        A line that cannot be read (the one being written) is left out; a run without ``events.jsonl`` has none.
        """
        path = self.directory / "events.jsonl"
        try:
            with path.open("rb") as stream:
                if most_bytes is not None:
                    stream.seek(max(0, path.stat().st_size - most_bytes))
                lines = stream.read().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                body = json.loads(line)
            except (ValueError, RecursionError):
                continue  # the first line where the file was cut into, or the last while it is being written
            if isinstance(body, dict):
                known = {key: str(body.pop(key, "")) for key in ("time", "kind", "step")}
                yield RecordedEvent(payload={key.removeprefix("payload_"): body[key] for key in body}, **known)


def read_answers(path: Path, bad: list[BadLine] | None = None) -> Iterator[Graded]:
    """The graded answers of a file, wherever it lies; see ``Run.answers``.

    Raises:
        InfimedError: there is no such file, or (without ``bad``) a line is no graded answer.
    """
    if not path.is_file():
        raise InfimedError(f"{path}: no such file; it is written when the model has been asked")
    run = run_above(path)
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = parse_graded(line, run)
        except ValueError as error:
            reason = first_mistake(error) if isinstance(error, ValidationError) else str(error)
            if bad is None:
                raise InfimedError(f"{path}:{number}: not a graded answer ({reason})") from None
            bad.append(BadLine(path, number, reason))
            continue
        yield row
