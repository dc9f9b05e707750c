"""The scoring steps of a run: parts of samples to a scorer, wherever the executor runs them, and into Parquet files."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infimed_core.components import JudgingScorer, MediaLoader, Scorer
from infimed_core.dataset import Dataset
from infimed_core.errors import DataError, InfimedError
from infimed_core.reading import executor_of
from infimed_core.record import digest
from infimed_core.scores import ScoreTable, has_errors, num_rows, part_path, write_part
from infimed_core.steps import Outcome, RunState
from infimed_core.types import Answer, JsonObject, Request, Sample, Score

PART_SIZE = 512
"""Samples of one part: what one task scores, what one file holds, and the most that a kill loses."""
CALL_SIZE = 128
"""Samples that a scorer is given at once."""
SCORER_FAILED = "scorer_failed"

HISTOGRAM_BINS = 20
NUM_SHOWN = 12
NUM_CORRELATED = 100_000
"""Most samples that the correlation between dimensions is computed over, evenly spaced."""


@dataclass(frozen=True)
class ScoreTask:
    """One part of the samples and where its scores go. Picklable."""

    scorer: Scorer
    dataset: Dataset
    start: int
    stop: int
    media: MediaLoader
    target: Path

    def __call__(self) -> int:
        """Score this part in this process."""
        return self.work(lambda samples: self.scorer.score(samples, self.media))

    def work(self, score: Callable[[list[Sample]], list[Score]]) -> int:
        """Score this part, unless it stands; return how many samples it has."""
        if num_rows(self.target) != self.stop - self.start:
            ids: list[str] = []
            scores: list[Score] = []
            for at in range(self.start, self.stop, CALL_SIZE):
                samples = self.dataset[at : min(at + CALL_SIZE, self.stop)]
                scores += scored(type(self.scorer).__name__, score, samples)
                ids += [sample.id for sample in samples]
            write_part(self.target, ids, scores, type(self.scorer).dimensions)
        return self.stop - self.start


def scored(name: str, score: Callable[[list[Sample]], list[Score]], samples: list[Sample]) -> list[Score]:
    """One score a sample, whatever happens: a sample that the scorer fails on is an error that says so.

    Raises:
        InfimedError: something that is no sample's fault (a setting, a missing package).
        ValueError: the scorer lost or invented a score, so that none can be told whose it is.
    """
    try:
        found = score(samples)
    except Exception as error:
        if isinstance(error, InfimedError) and not isinstance(error, DataError):
            raise
        if len(samples) > 1:
            return [found for sample in samples for found in scored(name, score, [sample])]
        note = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        return [Score(status="error", reasons=(SCORER_FAILED,), note=note)]
    if len(found) != len(samples):
        raise ValueError(f"{name} returned {len(found)} scores for {len(samples)} samples")
    return found


def _call(task: ScoreTask) -> int:
    return task()


def _judge(state: RunState, task: ScoreTask, identity: Mapping[str, str]) -> int:
    """Score a part by asking a model; every request says whether a person may be identifiable in it."""
    scorer = task.scorer
    assert isinstance(scorer, JudgingScorer)

    def score(samples: list[Sample]) -> list[Score]:
        tags = {s.id: {**s.tags, "identity": identity.get(s.id, "unchecked")} for s in samples}

        def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
            tagged = [r.model_copy(update={"tags": tags.get(r.sample_id, {"identity": "unchecked"})}) for r in requests]
            return state.named_models.ask(model or scorer.model, tagged)

        marked = [sample.model_copy(update={"tags": tags[sample.id]}) for sample in samples]
        return scorer.judge(marked, state.media, ask)

    if has_errors(task.target):
        task.target.unlink()  # a model that was not reached may be there now; what it answered is in its cache
    return task.work(score)


def _note_identity(scorer: Scorer, scores: Iterable[tuple[str, Score]], identity: dict[str, str]) -> None:
    """Keep what a scorer found out about people: one flag is enough, and a sample is clear only if it was looked at."""
    reasons = type(scorer).identity_reasons
    if not reasons:
        return
    for name, score in scores:
        if reasons & set(score.reasons):
            identity[name] = "flagged"
        elif identity.get(name) != "flagged" and score.parts.get(type(scorer).identity_part) is not None:
            identity[name] = "clear"


def score_samples(state: RunState, dataset: Dataset, made_from: str) -> tuple[list[ScoreTable], str]:
    """Score every sample with every scorer; parts that a killed run finished are not scored again."""
    section = state.plan.file.quality
    assert section is not None
    executor = executor_of(state)
    scorers: list[Scorer] = [state.plan.component(f"quality.scorers.{n}") for n in range(len(section.scorers))]
    tables: list[ScoreTable] = []
    hashes: list[str] = []
    identity: dict[str, str] = {}
    for index, (use, scorer) in enumerate(zip(section.scorers, scorers, strict=True)):
        name = "score" if index == 0 else f"score-{use.use.replace('/', '-')}"
        hashed = digest("score", 2, made_from, scorer.identity())
        if isinstance(scorer, JudgingScorer):
            # the tags decide what may be sent where, so they are part of what the scores are made from
            hashed = digest(hashed, state.named_models.identity(scorer.model), hashes)

        def work(directory: Path, scorer: Scorer = scorer, name: str = name, hashed: str = hashed) -> Outcome:
            scorer = scorer.fitted(dataset, state.media, directory)
            tasks = [
                ScoreTask(scorer, dataset, at, min(at + PART_SIZE, len(dataset)), state.media, part_path(directory, at))
                for at in range(0, len(dataset), PART_SIZE)
            ]
            done = 0
            if isinstance(scorer, JudgingScorer):
                counts: Iterable[int] = (_judge(state, task, identity) for task in tasks)
            else:
                counts = executor.map(_call, tasks)
            for count in counts:
                done += count
                state.tell("progress", name, {"done": done, "total": len(dataset), "unit": "sample"})
            for left in directory.glob(".part-*.tmp"):
                left.unlink(missing_ok=True)  # of a process that was killed
            table = ScoreTable(directory)
            details = describe_scores(type(scorer).dimensions, dataset, table)
            if len(dataset) and details["reasons"].get(SCORER_FAILED, 0) == len(dataset):
                raise InfimedError(f"{type(scorer).__name__} failed on every sample: {table[0][1].note}")
            details["digest"] = table.finish(hashed, details["status"])
            failed = 0
            if isinstance(scorer, JudgingScorer):
                details["asked"] = state.named_models.counts(scorer.model)
                failed = int(details["status"].get("error", 0))
                if failed:
                    text = f"{name}: {failed} of {len(table)} samples have no verdict (asked again next time)"
                    state.tell("message", name, {"text": text})
            return Outcome(num_in=len(dataset), num_out=len(table), details=details, complete=not failed)

        artifact = state.step(name, hashed, work, keep=True)
        tables.append(ScoreTable(artifact.directory))
        if any(isinstance(later, JudgingScorer) for later in scorers[index + 1 :]):
            _note_identity(scorer, tables[-1], identity)
        hashes.append(hashed)
    return tables, digest(hashes)


def describe_scores(dimensions: Sequence[str], dataset: Dataset, table: ScoreTable) -> JsonObject:
    """Distributions, reasons, correlations and the samples at both ends, for the report; one pass, nothing kept."""
    names = ("composite", *dimensions)
    histograms = {name: [0] * HISTOGRAM_BINS for name in names}
    sums, known = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    reasons: Counter[str] = Counter()
    status: Counter[str] = Counter()
    lowest: list[tuple[float, str, int]] = []
    highest: list[tuple[float, str, int]] = []
    unscored: list[tuple[str, int]] = []
    for start, rows in _chunks(table):
        for row, (identity, score) in enumerate(rows, start=start):
            reasons.update(score.reasons)
            status[score.status] += 1
            for name in names:
                value = score.value if name == "composite" else score.parts.get(name)
                if value is not None:
                    known[name] += 1
                    sums[name] += value
                    histograms[name][min(max(int(value * HISTOGRAM_BINS), 0), HISTOGRAM_BINS - 1)] += 1
            if score.value is None:
                unscored.append((identity, row))
            else:
                lowest.append((score.value, identity, row))
                highest.append((score.value, identity, row))
        lowest = heapq.nsmallest(NUM_SHOWN, lowest)
        highest = heapq.nlargest(NUM_SHOWN, highest)
        unscored = heapq.nsmallest(4, unscored)

    def show(rows: Iterable[int]) -> list[dict[str, object]]:
        return [
            {"sample": dataset[row].model_dump(mode="json"), "score": table[row][1].model_dump(mode="json")}
            for row in rows
        ]

    return {
        "dimensions": {
            name: {
                "histogram": histograms[name],
                "num_null": len(table) - known[name],
                "mean": sums[name] / known[name] if known[name] else None,
            }
            for name in names
        },
        "reasons": dict(reasons.most_common()),
        "status": dict(status),
        "correlations": correlations(dimensions, table),
        "worst": show([*(row for _, row in unscored), *(row for _, _, row in lowest)]),
        "best": show(row for _, _, row in highest),
    }


def _chunks(table: ScoreTable) -> Iterator[tuple[int, list[tuple[str, Score]]]]:
    """(place of the first, rows) of 4,096 rows at a time."""
    start, rows = 0, []
    for row in table:
        rows.append(row)
        if len(rows) == 4096:
            yield start, rows
            start, rows = start + len(rows), []
    yield start, rows


def correlations(dimensions: Sequence[str], table: ScoreTable) -> JsonObject:
    """Spearman's rank correlation between dimensions, over samples that have both; ``None`` where one is constant."""
    step = max(1, math.ceil(len(table) / NUM_CORRELATED))
    columns = table.columns(dimensions, step)
    matrix = [
        [_spearman(columns[:, first], columns[:, second]) for second in range(len(dimensions))]
        for first in range(len(dimensions))
    ]
    return {"dimensions": list(dimensions), "matrix": matrix, "num_samples": len(columns)}


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    both = np.isfinite(first) & np.isfinite(second)
    if int(both.sum()) < 3:
        return None
    ranks = [_ranks(values[both]) for values in (first, second)]
    if min(float(np.ptp(values)) for values in ranks) == 0:
        return None
    return round(float(np.asarray(np.corrcoef(np.stack(ranks)))[0, 1]), 4)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks, equal values sharing the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = last - (counts - 1) / 2
    return means[places]
