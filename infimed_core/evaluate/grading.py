"""Asking a model the questions of a benchmark, grading the answers, and summing up with intervals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from infimed_core.api.data import MediaLoader, Sample, Score
from infimed_core.api.evaluation import Benchmark, Solver
from infimed_core.api.models import Answer, Generation, LoadedModel, Request
from infimed_core.contracts import checked_answers, checked_scores, named, wrong, wrong_score
from infimed_core.evaluate.graded import Graded
from infimed_core.models.answer_cache import AnswerCache
from infimed_core.models.model_pool import asking
from infimed_core.plugin_loading import told_error

GRADING_FAILED = "grading_failed"
"""Reason of a score where the benchmark could not grade an answer."""
AskNamed = Callable[[str, Sequence[Request]], list[Answer]]
"""Asks a model of the run file's ``models:`` by name."""


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

    def ask(requests: Sequence[Request]) -> list[Answer]:
        if model.answers_by_id:
            found = {answer.sample_id: answer for answer in model.answer(requests, media)}
            progress(len(requests))
            return [found[request.sample_id] for request in requests]
        return cache.ask(model, media, requests, progress)

    asked = asking(samples, ask, ask_named, without_images if blind else lambda request: request)
    answers = checked_answers(solver, solver.solve(samples, asked, generation), [sample.id for sample in samples])
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
    failures: list[str] = []

    def asked(other: str, requests: Sequence[Request]) -> list[Answer]:
        replies = ask_named(other, requests)
        failures.extend(reply.error for reply in replies if reply.error is not None)
        return replies

    ask = asking([row.sample for row in rows], lambda requests: asked(name, requests), asked)
    answered = [row for row in rows if row.answer.error is None]
    verdicts = benchmark.judge([row.sample for row in answered], [row.answer for row in answered], ask)
    if verdicts is None:
        return list(rows), None
    for verdict in checked_scores(benchmark, "judge", verdicts, len(answered)):
        if reason := wrong_score(verdict):
            raise wrong(benchmark, "judge", f"gave a score that cannot stand: {reason}")
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
                note = wrong_score(scores[scoring])
            except Exception as error:
                note = told_error(error)
            if note:
                scores[scoring] = Score(status="error", reasons=(GRADING_FAILED,), note=note)
        rows.append(Graded(sample, answer, scores))
    return rows


def told_failures(benchmark: Benchmark, rows: Sequence[Graded]) -> str:
    """How many answers the benchmark could not grade, with the first one and its reason; "" where it graded all."""
    failed = [
        (row.sample.id, score.note) for row in rows for score in row.scores.values() if GRADING_FAILED in score.reasons
    ]
    if not failed:
        return ""
    num_grades = sum(len(row.scores) for row in rows)
    text = f"{named(benchmark, 'grade')} failed on {len(failed):,} of {num_grades:,} grades, which count as unscored"
    return f"{text}; the first is '{failed[0][0]}': {failed[0][1]}"


def protocol(
    benchmark: Benchmark, solver: Solver, generation: Generation, limit: int | None, only: Collection[str] | None = None
) -> dict[str, Any]:
    """What two results must share to be comparable."""
    return {
        "benchmark": benchmark.model_dump(mode="json"),
        "version": benchmark.version,
        "solver": solver.model_dump(mode="json") | {"use": type(solver).__name__},
        "generation": generation.model_dump(mode="json"),
        "limit": limit,
    } | ({} if only is None else {"samples": sorted(only)})
