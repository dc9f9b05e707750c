"""Asking a model the questions of a benchmark, grading the answers, and summing up with intervals."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infimed_core import statistics
from infimed_core.answer_cache import AnswerCache
from infimed_core.components import Benchmark, LoadedModel, MediaLoader, Metric, Solver, TextMetric
from infimed_core.dataset import store_media
from infimed_core.errors import PluginError
from infimed_core.types import (
    Answer,
    Fault,
    Generation,
    MetricValue,
    Request,
    ResultRow,
    Sample,
    Score,
)

AskNamed = Callable[[str, Sequence[Request]], list[Answer]]
"""Asks a model of the run file's ``models:`` by name."""


@dataclass(frozen=True)
class Graded:
    """One question with its answer and its score under each scoring of the benchmark."""

    sample: Sample
    answer: Answer
    scores: dict[str, Score]

    def as_json(self) -> str:
        """One line of an answers file."""
        body = {
            "sample": self.sample.model_dump(mode="json"),
            "answer": self.answer.model_dump(mode="json"),
            "scores": {name: score.model_dump(mode="json") for name, score in self.scores.items()},
        }
        return json.dumps(body, ensure_ascii=False)


def read_graded(path: Path) -> Iterator[Graded]:
    """The lines of an answers file."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            body = json.loads(line)
            scores = {name: Score.model_validate(score) for name, score in body["scores"].items()}
            yield Graded(Sample.model_validate(body["sample"]), Answer.model_validate(body["answer"]), scores)


def read_questions(
    benchmark: Benchmark, media_directory: Path, limit: int | None, only: Collection[str] | None = None
) -> tuple[list[Sample], list[Fault]]:
    """The questions of a benchmark with inline media stored beside the run, and the rows that are none.

    ``only`` keeps the questions with these ids, ``limit`` the first of those.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    for row in benchmark.samples():
        if isinstance(row, Fault):
            faults.append(row)
            continue
        if row.id in seen:  # answers are told apart by it
            faults.append(Fault(sample_id=row.id, code="duplicate_id", detail="a question before it has this id"))
            continue
        seen.add(row.id)
        if only is not None and row.id not in only:
            continue
        if limit is not None and len(samples) >= limit:
            break
        samples.append(store_media(row, media_directory))
    return samples, faults


def ask_and_grade(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    model: LoadedModel,
    solver: Solver,
    generation: Generation,
    media: MediaLoader,
    cache: AnswerCache,
    progress: Callable[[int], None],
    ask_named: AskNamed,
    blind: bool = False,
) -> list[Graded]:
    """Put every question to the model and grade every answer; one row out for each sample in.

    ``ask_named`` asks a model of the run file's ``models:`` for a solver that wants one; ``blind`` asks without images.
    """
    tags = {sample.id: sample.tags for sample in samples}
    graded_model = model

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        tagged = [request.model_copy(update={"tags": tags.get(request.sample_id, {})}) for request in requests]
        if blind:
            tagged = [without_images(request) for request in tagged]
        if model is not None:
            return ask_named(model, tagged)
        return cache.ask(graded_model, media, tagged, progress)

    answers = solver.solve(samples, ask, generation)
    return grade(benchmark, samples, answers)


def without_images(request: Request) -> Request:
    """The same question with its images taken out and every word left as it is."""
    turns = tuple(
        turn.model_copy(update={"content": tuple(part for part in turn.content if isinstance(part, str)) or ("",)})
        for turn in request.turns
    )
    return request.model_copy(update={"turns": turns, "media": ()})


def judge(
    benchmark: Benchmark, rows: Sequence[Graded], name: str, ask_named: AskNamed
) -> tuple[list[Graded], dict[str, Any] | None]:
    """The rows with the scoring ``judge:NAME``, and counts of verdicts; ``None`` where no judge is of use.

    A question without an answer is not put before the judge, and stays unscored.
    """
    tags = {row.sample.id: row.sample.tags for row in rows}
    failures: list[str] = []

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        tagged = [request.model_copy(update={"tags": tags.get(request.sample_id, {})}) for request in requests]
        replies = ask_named(model or name, tagged)
        failures.extend(reply.error for reply in replies if reply.error is not None)
        return replies

    answered = [row for row in rows if row.answer.error is None]
    verdicts = benchmark.judge([row.sample for row in answered], [row.answer for row in answered], ask)
    if verdicts is None:
        return list(rows), None
    if len(verdicts) != len(answered):
        raise PluginError(f"{type(benchmark).__name__}.judge gave {len(verdicts)} scores for {len(answered)} answers")
    found = iter(verdicts)
    judged = []
    for row in rows:
        if row.answer.error is not None:
            score = Score(status="error", reasons=("no_answer",), note=row.answer.error)
        else:
            score = next(found)
        judged.append(Graded(row.sample, row.answer, row.scores | {f"judge:{name}": score}))
    num_judged = sum(row.scores[f"judge:{name}"].value is not None for row in judged)
    facts: dict[str, Any] = {
        "judged": num_judged,
        "unscored": len(judged) - num_judged,
        "failed": len(failures),
        "split": benchmark.judging,
    }
    if failures:
        facts["first_failure"] = failures[0]
    return judged, facts


def grade(benchmark: Benchmark, samples: Sequence[Sample], answers: Sequence[Answer]) -> list[Graded]:
    """Grade under every scoring. An answer that is an error, or that a grader fails on, is unscored and says why."""
    rows = []
    for sample, answer in zip(samples, answers, strict=True):
        scores = {}
        for scoring in benchmark.scorings:
            if answer.error is not None:
                scores[scoring] = Score(status="error", reasons=("no_answer",), note=answer.error)
                continue
            try:
                scores[scoring] = benchmark.grade(sample, answer, scoring)
            except Exception as error:
                note = f"{type(error).__name__}: {error}"
                scores[scoring] = Score(status="error", reasons=("grading_failed",), note=note)
        rows.append(Graded(sample, answer, scores))
    return rows


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


def measure_texts(benchmark: Benchmark, rows: Sequence[Graded], metrics: Sequence[TextMetric]) -> list[Graded]:
    """The rows with what every metric of texts measured, among the parts of each scoring that has a value.

    All answers of the benchmark are measured at once; an answer that counts nowhere is not measured, but its reference
    belongs to the corpus that a metric such as CIDEr weights its words by.
    """
    measured = [dict[str, float | None]() for _ in rows]
    texts = [benchmark.compared_texts(row.sample, row.answer) for row in rows]
    for metric in metrics:
        places = [index for index, pairs in enumerate(texts) if metric.section in pairs]
        counted = [any(score.value is not None for score in rows[index].scores.values()) for index in places]
        given = [texts[i][metric.section][1] if counts else None for i, counts in zip(places, counted, strict=True)]
        found = metric.measure([texts[index][metric.section][0] for index in places], given)
        if len(found) != len(places):
            raise PluginError(f"{type(metric).__name__}.measure gave {len(found)} values for {len(places)} answers")
        for index, value in zip(places, found, strict=True):
            measured[index][metric.part] = value
    return [
        Graded(
            row.sample,
            row.answer,
            {
                name: score.model_copy(update={"parts": score.parts | parts}) if score.value is not None else score
                for name, score in row.scores.items()
            },
        )
        for row, parts in zip(rows, measured, strict=True)
    ]


def cluster_ids(benchmark: Benchmark, rows: Sequence[Graded]) -> list[str]:
    """For every row the unit that intervals resample: ``cluster_by`` tag, or the sample itself."""
    tag = benchmark.cluster_by
    return [row.sample.tags.get(tag) or row.sample.id if tag else row.sample.id for row in rows]


def summarise(
    name: str, benchmark: Benchmark, model: str, rows: Sequence[Graded], metrics: Mapping[str, Metric], seed: int
) -> list[ResultRow]:
    """Every metric under every scoring: over all rows, by each ``group_by`` tag, and by modality x task type."""
    clusters = cluster_ids(benchmark, rows)
    parts: dict[tuple[tuple[str, str], ...], list[int]] = {(): list(range(len(rows)))}
    groupings: list[tuple[str, ...]] = [(tag,) for tag in dict.fromkeys(benchmark.group_by)]
    if ("modality", "task_type") not in groupings:
        groupings.append(("modality", "task_type"))
    for tags in groupings:
        for index, row in enumerate(rows):
            group = tuple((tag, row.sample.tags.get(tag, "unlabelled")) for tag in tags)
            parts.setdefault(group, []).append(index)
    could = {metric_name: could_take_part(metric, benchmark, rows) for metric_name, metric in metrics.items()}
    results = []
    for scoring in rows[0].scores if rows else benchmark.scorings:
        for group, members in sorted(parts.items()):
            units = [clusters[index] for index in members]
            scores = [rows[index].scores[scoring] for index in members]
            values = {
                metric_name: measure(metric, scores, units, seed, [could[metric_name][index] for index in members])
                for metric_name, metric in metrics.items()
            }
            results.append(
                ResultRow(
                    benchmark=name,
                    version=benchmark.version,
                    model=model,
                    scoring=scoring,
                    group=dict(group),
                    metrics=values,
                )
            )
    return results


def could_take_part(metric: Metric, benchmark: Benchmark, rows: Sequence[Graded]) -> list[bool]:
    """For every row whether its question is one that the metric measures, scored or not."""
    if isinstance(metric, TextMetric):
        return [metric.section in benchmark.compared_texts(row.sample, row.answer) for row in rows]
    return [not metric.of_open_answers or benchmark.is_open(row.sample) for row in rows]


def measure(
    metric: Metric, scores: Sequence[Score], clusters: Sequence[str], seed: int, could: Sequence[bool]
) -> MetricValue:
    """A metric over the scored of ``scores`` with its interval; what is in one cluster is resampled together.

    ``num_scored`` are those that take part: of a measure of open answers, the open ones. ``num_unscored`` are those
    that ``could`` have.
    """
    scored = [index for index, score in enumerate(scores) if score.value is not None]
    kept = [scores[index] for index in scored]
    values = metric.values(kept) if kept else None
    taking = np.flatnonzero(np.isfinite(values)) if values is not None else np.arange(len(kept))
    num_unscored = sum(score.value is None and own for score, own in zip(scores, could, strict=True))
    counts = {"num_scored": len(taking), "num_unscored": num_unscored}
    value = metric.compute(kept) if kept else None
    if value is None:
        return MetricValue(value=None, **counts)
    units = [clusters[index] for index in scored]
    if values is not None:
        low, high = statistics.interval(values[taking], clusters=[units[index] for index in taking], seed=seed)
    else:
        low, high = statistics.interval(
            np.arange(len(kept)),
            clusters=units,
            seed=seed,
            num_resamples=200,
            statistic=lambda chosen: _or_nan(metric.compute([kept[int(index)] for index in chosen])),
        )
    return MetricValue(value=value, low=low, high=high, **counts)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def protocol(
    benchmark: Benchmark,
    solver: Solver,
    generation: Generation,
    limit: int | None,
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """What two results must share to be comparable."""
    return {
        "benchmark": benchmark.model_dump(mode="json"),
        "version": benchmark.version,
        "solver": solver.model_dump(mode="json") | {"use": type(solver).__name__},
        "generation": generation.model_dump(mode="json"),
        "limit": limit,
    } | ({} if only is None else {"samples": sorted(only)})
