"""The scoring steps of a run: parts of samples to a scorer, wherever the executor runs them, and into Parquet files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from infimed_core.api.component import JsonObject
from infimed_core.api.data import Executor, Sample, Score
from infimed_core.api.models import Answer, Request
from infimed_core.api.quality import JudgingScorer, Scorer
from infimed_core.contracts import checked_scores, named, wrong, wrong_score
from infimed_core.curate.lost_workers import DIED, PartTask, each_part
from infimed_core.curate.score_shards import ScoringJob, read_shards, spans
from infimed_core.errors import DataError, InfimedError
from infimed_core.models.model_pool import asking
from infimed_core.plugin_loading import told_error
from infimed_core.runfile.sections import names_in_run
from infimed_core.stopping import stop_signal
from infimed_core.store.artifacts import digest
from infimed_core.store.broadcast import Broadcast
from infimed_core.store.dataset import Dataset
from infimed_core.store.scores import ScoreTable, begun_rows, has_errors, write_part
from infimed_core.store.steps import Outcome, RunState

CALL_SIZE, JUDGED_SIZE = 32, 128
"""Samples that a scorer, and a judge, is given at once; between two calls a part is kept as far as it is."""
SAVE_SECONDS = 2.0
"""After so long what is scored of a part is written, so that a kill loses no more."""
SCORER_FAILED = "scorer_failed"
LEFT_OUT = Score(status="unscored", reasons=("left_out_by_filter",))
"""Of a sample that a filter rejected: it is not scored."""


class Done(NamedTuple):
    """A finished part: its file, its samples, and how many of them were scored for it just now."""

    name: str
    num_samples: int
    num_scored: int


@dataclass(frozen=True)
class ScoreTask(PartTask[Done]):
    """One part of the samples. Picklable."""

    job: Broadcast[ScoringJob]
    start: int
    stop: int

    def __call__(self) -> Done:
        """Score this part in this process."""
        job = self.job.value
        return self.work(lambda samples: job.scorer.score(samples, job.media))

    def work(
        self,
        score: Callable[[list[Sample]], list[Score]],
        tag: Callable[[Sample], str] = lambda sample: "",
        good: Callable[[Path], bool] = lambda path: True,
        size: int = CALL_SIZE,
    ) -> Done:
        """Score this part, unless it is complete, or what a killed process has left of it.

        ``tag`` is what else a sample's score depends on; ``size``: how many samples the scorer is given at once.
        """
        job = self.job.value
        target = job.target(self.start, self.stop, tag)
        num_samples = self.stop - self.start
        if job.is_complete(target, num_samples, good):
            return Done(target.name, num_samples, 0)
        begun, dimensions = target.with_name(f".{target.name}.begun"), job.scorer.given_dimensions()
        ids, scores = begun_rows(begun)
        num_kept, saved = len(scores), time.monotonic()
        size, fatal = 1 if self.note else size, Score(status="error", reasons=(SCORER_FAILED,), note=DIED)
        for at in range(self.start + num_kept, self.stop, size):
            samples = job.dataset[at : min(at + size, self.stop)]
            skipped = job.left_out[at : at + len(samples)].ljust(len(samples), b"\0")
            wanted = [sample for sample, skip in zip(samples, skipped, strict=True) if not skip]
            self.begin_row(at)
            found = iter([fatal] if at in self.fatal else scored(job.scorer, score, wanted) if wanted else ())
            scores += [LEFT_OUT if skip else next(found) for skip in skipped]
            ids += [sample.id for sample in samples]
            if time.monotonic() - saved >= SAVE_SECONDS:
                write_part(begun, ids, scores, dimensions)
                saved = time.monotonic()
        write_part(target, ids, scores, dimensions)
        begun.unlink(missing_ok=True)
        return Done(target.name, num_samples, sum(score is not LEFT_OUT for score in scores[num_kept:]))


def scored(scorer: Scorer, score: Callable[[list[Sample]], list[Score]], samples: list[Sample]) -> list[Score]:
    """One score a sample, whatever happens: a sample that the scorer fails on is an error that says so.

    Raises:
        InfimedError: something that is no sample's fault (a setting, a missing package).
        ComponentError: what came back are no scores, or not one for each, so that none can be told whose it is.
    """
    try:
        scores = score(samples)
    except Exception as error:
        if isinstance(error, InfimedError) and not isinstance(error, DataError):
            raise
        if stop_signal() is not None:  # the scorer made another error of it
            raise KeyboardInterrupt from error
        if len(samples) > 1:
            return [row for sample in samples for row in scored(scorer, score, [sample])]
        note = told_error(error)[:500]
        return [Score(status="error", reasons=(SCORER_FAILED,), note=note)]
    method = "judge" if isinstance(scorer, JudgingScorer) else "score"
    dimensions = scorer.given_dimensions()
    return [
        Score(status="error", reasons=(SCORER_FAILED,), note=reason)
        if (reason := wrong_score(row, dimensions))
        else row
        for row in checked_scores(scorer, method, scores, len(samples))
    ]


def _judge(state: RunState, task: ScoreTask, identity: Mapping[str, str]) -> Done:
    """Score a part by asking a model; every request says whether a person may be identifiable in it."""
    scorer = task.job.value.scorer
    assert isinstance(scorer, JudgingScorer)

    def state_of(sample: Sample) -> str:
        return identity.get(sample.id, "unchecked")

    def ask_judge(requests: Sequence[Request]) -> list[Answer]:
        return state.model_pool.ask(scorer.model, requests)

    def score(samples: list[Sample]) -> list[Score]:
        marked = [
            sample.model_copy(update={"tags": {**sample.tags, "identity": state_of(sample)}}) for sample in samples
        ]
        return scorer.judge(marked, state.media, asking(marked, ask_judge, state.model_pool.ask, with_identity))

    # A model that was not reached may be there now; what it answered is in its cache.
    return task.work(score, state_of, lambda path: not has_errors(path), JUDGED_SIZE)


def with_identity(request: Request) -> Request:
    """The request, saying so where nothing is known of the identity in its sample."""
    return request.model_copy(update={"tags": {"identity": "unchecked", **request.tags}})


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


def score_samples(
    state: RunState, dataset: Dataset, inputs_digest: str, executor: Executor, left_out: bytes = b""
) -> tuple[dict[str, ScoreTable], str]:
    """Score every sample that no filter left out with every scorer; return tables by scorer, in order, and a digest.

    Parts that a killed run finished are not scored again, and neither are those of an earlier run of this directory
    whose samples, media and scorer are the same: a file added to a source costs its own rows.
    """
    section = state.plan.file.quality
    assert section is not None
    scorers: list[Scorer] = [state.plan.component(f"quality.scorers.{n}") for n in range(len(section.scorers))]
    tables: dict[str, ScoreTable] = {}
    hashes: list[str] = []
    identity: dict[str, str] = {}
    for index, (title, scorer) in enumerate(zip(names_in_run(section.scorers), scorers, strict=True)):
        name = "score" if index == 0 else f"score-{title}"
        identity_digest = scorer.identity()
        hashed = digest("score", 4, inputs_digest, identity_digest, *([left_out.hex()] if left_out else []))
        if isinstance(scorer, JudgingScorer):
            identity_digest = digest(identity_digest, state.model_pool.identity(scorer.model))
            # the tags decide what may be sent where, so they are part of what the scores are made from
            hashed = digest(hashed, identity_digest, hashes)

        def work(
            directory: Path,
            scorer: Scorer = scorer,
            name: str = name,
            hashed: str = hashed,
            identity_digest: str = identity_digest,
        ) -> Outcome:
            fitted = scorer.fitted(dataset, state.media, directory)
            # A scorer that knows a reference made from the data scores other data otherwise.
            parts_from = digest("part", 2, identity_digest, "" if fitted is scorer else inputs_digest)
            job = Broadcast(ScoringJob(fitted, dataset, state.media, directory, parts_from, left_out))
            tasks = [ScoreTask(job, start, stop) for start, stop in spans(read_shards(dataset))]
            num_done = num_scored = 0
            if isinstance(fitted, JudgingScorer):
                done: Iterable[Done] = (_judge(state, task, identity) for task in tasks)
            else:
                done = each_part(executor, tasks, directory)
            kept_names = set()
            for part in done:
                kept_names.add(part.name)
                num_done, num_scored = num_done + part.num_samples, num_scored + part.num_scored
                state.tell("progress", name, {"done": num_done, "total": len(dataset), "unit": "sample"})
            _sweep(directory, kept_names)
            table = ScoreTable(directory)
            status, reasons = table.counts()
            num_failed = reasons[SCORER_FAILED]
            if num_failed and num_failed == len(dataset) - left_out.count(1):
                note = table[0][1].note
                _sweep(directory, set())  # nothing in it is worth keeping, and its cause may be gone next time
                method = "judge" if isinstance(scorer, JudgingScorer) else "score"
                raise wrong(scorer, method, f"failed on every sample: {note}")
            if num_failed:
                first = next(row for row in table if SCORER_FAILED in row[1].reasons)
                counts = f"{num_failed:,} of {len(dataset):,}"
                text = f"{named(scorer, 'score')} failed on {counts} samples, which have no score"
                state.say(f"{text}; the first is '{first[0]}': {first[1].note}", name)
            details: JsonObject = {
                "reasons": dict(reasons.most_common()),
                "status": dict(status),
                "digest": table.finish(hashed, status),
                "num_scored": num_scored,
            }
            failed = 0
            if isinstance(scorer, JudgingScorer):
                details["asked"] = state.model_pool.counts(scorer.model)
                if failed := status["error"]:
                    state.say(f"{name}: {failed} of {len(table)} samples have no verdict (asked again next time)", name)
            return Outcome(num_in=len(dataset), num_out=len(table), details=details, complete=not failed)

        artifact = state.step(name, hashed, work, kind="score", subject={"scorer": title}, keep=True)
        tables[title] = ScoreTable(artifact.directory)
        if any(isinstance(later, JudgingScorer) for later in scorers[index + 1 :]):
            _note_identity(scorer, tables[title], identity)
        hashes.append(hashed)
    return tables, digest(hashes)


def _sweep(directory: Path, kept_names: set[str]) -> None:
    """Remove the parts that are not of this step (their media have changed), and what a killed process left."""
    for path in [*directory.glob("part-*.parquet"), *directory.glob(".*.tmp"), *directory.glob(".part-*")]:
        if path.name not in kept_names:
            path.unlink(missing_ok=True)
