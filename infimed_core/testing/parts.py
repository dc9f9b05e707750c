"""Checks of everything that is no model: from readers and scorers to metrics and reporters."""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import contracts
from infimed_core.api.data import (
    DatasetFilter,
    Executor,
    Fault,
    FilterResult,
    Media,
    MediaLoader,
    Modality,
    Reader,
    Sample,
    Score,
)
from infimed_core.api.evaluation import Baseline, Benchmark, GradedAnswer, Metric, Solver
from infimed_core.api.models import Answer, Generation, Request
from infimed_core.api.planning import Packer, Packs, ResolutionScheduler
from infimed_core.api.quality import Candidate, Curriculum, PlannedSample, Scorer, Selector
from infimed_core.api.reporting import MetricValue, Reporter, ResultRow, RunRecord
from infimed_core.api.synthesis import SynthesisContext, Synthesizer
from infimed_core.plugins import load_plugins
from infimed_core.records import Run, open_run
from infimed_core.reports import written_files
from infimed_core.testing.made import R, check_component, make_sample, require, some_samples, twice, unique


def check_reader(reader: Reader) -> list[Sample]:
    """Reading twice gives the same rows, ids are unique, and no row is anything but a sample or a fault."""
    shards = contracts.checked_shards(reader)
    rows = twice(reader, "read", lambda: [row for shard in shards for row in contracts.checked_rows(reader, shard)])
    require(reader.fingerprint() == reader.fingerprint(), reader, "fingerprint", "is another the second time")
    return unique(reader, "read", [row for row in rows if isinstance(row, Sample)])


def check_modality(modality: Modality, media: Media) -> NDArray[np.uint8]:
    """The header's size is the decoded size; pixels are uint8; an ``at_most`` hint never delivers less than asked."""
    check_component(modality)
    size = modality.probe(media)
    array = modality.load(media)
    require(array.dtype == np.uint8, modality, "load", f"returned {array.dtype} values; return uint8")
    what = f"says {tuple(size)} and load gave {array.shape}; both say the size as it is loaded"
    require(tuple(array.shape[: len(size)]) == tuple(size), modality, "probe", what)
    if len(size) == 2:
        what = f"returned shape {array.shape}; return [height, width, 3]"
        require(array.ndim == 3 and array.shape[2] == 3, modality, "load", what)
        wanted = (max(1, size[0] // 4), max(1, size[1] // 4))
        smaller = modality.load(media, at_most=wanted)
        what = f"gave {smaller.shape[:2]} for at_most={wanted}; give at least that, or ignore it"
        require(smaller.shape[0] >= wanted[0] and smaller.shape[1] >= wanted[1], modality, "load", what)
    return array


class _Here(Executor):
    """Maps in this process."""

    def map(self, function: Callable[[Any], R], items: Sequence[Any]) -> Iterator[R]:
        """One after the other."""
        return map(function, items)


def check_filter(
    filter_: DatasetFilter,
    samples: Sequence[Sample] | None = None,
    benchmarks: Mapping[str, Sequence[Sample]] | None = None,
) -> FilterResult:
    """Every reject is a sample of the data set and has a reason, details can be recorded, and all is the same twice."""
    samples, media = some_samples(samples), load_plugins().media_loader()
    result = twice(
        filter_,
        "check",
        lambda: contracts.checked_filtered(filter_, filter_.check(samples, benchmarks or {}, media, _Here())),
    )
    strange = sorted(result.rejected.keys() - {sample.id for sample in samples})
    require(not strange, filter_, "check", f"rejects {strange[:3]}, which are no samples of the data set")
    return result


def check_executor(executor: Executor) -> None:
    """Results come one for each item, in order, and an exception is raised as it was."""
    check_component(executor)
    checked = contracts.CheckedExecutor(inner=executor)
    with checked.opened():
        for count in (9, 0):
            results = list(checked.map(operator.neg, range(count)))
            require(results == [-n for n in range(count)], executor, "map", f"gave {results} for {count} items")
        try:
            list(checked.map(int, ["three"]))
        except ValueError as error:
            require("'three'" in str(error), executor, "map", f"raised {error!r}, not what int('three') raised")
        else:
            require(False, executor, "map", "loses the exception of the function; raise it as it was")


def check_scorer(
    scorer: Scorer, samples: Sequence[Sample] | None = None, media: MediaLoader | None = None
) -> list[Score]:
    """One score a sample, in order; the same alone as in company; every dimension is named in every score."""
    samples, media = some_samples(samples), media or load_plugins().media_loader()
    check_component(scorer)
    scores = contracts.checked_scores(scorer, "score", scorer.score(samples, media), len(samples))
    for sample, score in zip(samples, scores, strict=True):
        alone = scorer.score([sample], media)[0]
        what = f"scores '{sample.id}' {alone} alone and {score} among others; score each sample by itself"
        require(alone == score, scorer, "score", what)
        wrong = contracts.wrong_score(score, tuple(scorer.given_dimensions()))
        require(not wrong, scorer, "score", f"gave '{sample.id}' a score that cannot stand: {wrong}")
        is_explained = score.value is not None or score.status != "ok" or score.reasons
        require(is_explained, scorer, "score", f"gave '{sample.id}' no value and no reason; say why in reasons")
    return scores


def _candidates() -> list[Candidate]:
    scores = [Score(value=n / 9 if n else None, parts={"quality": n / 9}) for n in range(10)]
    return [Candidate(id=f"c{n}", tags={"modality": "ct" if n % 2 else "mr"}, score=s) for n, s in enumerate(scores)]


def check_selector(selector: Selector, candidates: Sequence[Candidate] | None = None) -> None:
    """Every candidate is kept or rejected, once, rejects say why, and the verdict is the same twice."""
    given = candidates or _candidates()
    selection = twice(selector, "select", lambda: selector.select(given))
    told = sorted([*selection.kept, *selection.rejected])
    what = f"gave {len(told)} verdicts on {len(given)} candidates; keep or reject each, once"
    require(told == sorted(candidate.id for candidate in given), selector, "select", what)
    silent = [identity for identity, reasons in selection.rejected.items() if not reasons]
    require(not silent, selector, "select", f"rejects {silent[:3]} without a reason; give one or more")


def check_scheduler(scheduler: ResolutionScheduler, num_samples: int = 100) -> None:
    """Phases cover every sample once, in order."""
    twice(scheduler, "plan", lambda: contracts.checked_phases(scheduler, scheduler.plan(num_samples), num_samples))


def check_packer(packer: Packer, costs: NDArray[np.int64] | None = None) -> Packs:
    """No index twice, no group over the budget, nothing left out that would fit a row of its own, same twice."""
    budget = packer.budget
    if costs is None:
        most = min(packer.row_tokens, 4096)
        costs = np.random.default_rng(0).integers(1, 2 + most // 2, (50, 3)) * (1, 0, 0)
        costs[0] = [2 * packer.row_tokens, 0, 0]  # fits no row
    given: NDArray[np.int64] = costs
    packs = twice(
        packer,
        "group",
        lambda: contracts.checked_packs(packer, packer.group(given, budget), given, budget),
        lambda packs: [packs.members, packs.offsets],
    )
    left_out = np.setdiff1d(np.arange(len(given)), packs.members)
    fitting = left_out[(given[left_out] <= budget).all(axis=1)]
    require(not len(fitting), packer, "group", f"leaves out {fitting[:3].tolist()}, which would fit a row")
    return packs


def check_curriculum(curriculum: Curriculum, samples: Sequence[PlannedSample] | None = None) -> list[int]:
    """One finite number or ``None`` for each sample, in order, the same twice; gives the band of each sample."""
    each = enumerate(_candidates())
    given = samples or [PlannedSample(**dict(one), num_tokens=9 + n, num_images=n % 3) for n, one in each]
    return twice(
        curriculum, "difficulties", lambda: contracts.checked_bands(curriculum, iter(given), len(given)).tolist()
    )


def check_benchmark(benchmark: Benchmark) -> list[Sample]:
    """Questions are the same twice, ids are unique, and grading an empty answer never gives credit."""
    rows = twice(benchmark, "samples", lambda: list(benchmark.samples()))
    samples = unique(benchmark, "samples", [row for row in rows if isinstance(row, Sample)])
    scoring = benchmark.scorings[0]
    for sample in samples[:50]:
        credit = benchmark.grade(sample, Answer(sample_id=sample.id, text=""), scoring).value
        require(not credit, benchmark, "grade", f"gives {credit} to an empty answer to '{sample.id}'")
    return samples


def _asked(samples: Sequence[Sample] | None) -> Sequence[Sample]:
    """Questions: the samples without their last answer."""
    return samples or [sample.model_copy(update={"turns": sample.turns[:1]}) for sample in some_samples(None)]


def check_solver(solver: Solver, samples: Sequence[Sample] | None = None, reply: str = "A") -> list[Answer]:
    """One answer for each sample, in order, where every model that is asked says ``reply``."""
    given = _asked(samples)

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        return [Answer(sample_id=request.sample_id, text=reply) for request in requests]

    ids = [sample.id for sample in given]
    return twice(
        solver, "solve", lambda: contracts.checked_answers(solver, solver.solve(given, ask, Generation()), ids)
    )


def check_baseline(baseline: Baseline, benchmark: Benchmark) -> list[Answer]:
    """One answer for each question, in order, and facts that can be recorded."""
    samples = [row for row in benchmark.samples() if isinstance(row, Sample)][:50]
    if not baseline.applies(samples):
        return []
    answers, facts = twice(baseline, "answers", lambda: baseline.answers(benchmark, samples, some_samples(None)))
    wrong = contracts.not_json(facts)
    require(not wrong, baseline, "answers", f"gives facts that cannot be recorded: {wrong}")
    told = [answer.sample_id for answer in answers]
    what = f"gave {len(told)} answers to {len(samples)} questions, or in another order; give one for each, in order"
    require(told == [sample.id for sample in samples], baseline, "answers", what)
    return answers


def check_metric(metric: Metric, rows: Sequence[GradedAnswer | Score] | None = None) -> float | None:
    """A finite number or ``None``, the mean of ``values`` where it gives them, whatever the order; returns it.

    Of bare scores the question and the answer are made up.
    """
    graded = [
        row
        if isinstance(row, GradedAnswer)
        else GradedAnswer(make_sample(f"{n}"), Answer(sample_id=f"{n}", text="A"), row)
        for n, row in enumerate(rows or [Score(value=value) for value in (0.0, 1.0, 0.5, 1.0)])
    ]
    value = twice(metric, "compute", lambda: metric.compute_answers(graded))
    contracts.check_metric(metric, value, metric.answer_values(graded), len(graded))
    turned = metric.compute_answers(graded[::-1])
    is_equal = turned == value or (turned is not None and value is not None and abs(turned - value) < 1e-9)
    require(is_equal, metric, "compute", f"gives {value}, and {turned} with the answers in another order")
    return value


def check_synthesizer(
    synthesizer: Synthesizer, samples: Sequence[Sample] | None = None, reply: str = "A"
) -> list[Sample | Fault]:
    """One row for each sample, in order, with an id of its own, where every model that is asked says ``reply``."""
    given = some_samples(samples)

    def ask(name: str, requests: Sequence[Request]) -> list[Answer]:
        what = f"asks the model '{name}', which models() does not name"
        require(name in synthesizer.models(), synthesizer, "synthesize", what)
        return [Answer(sample_id=request.sample_id, text=reply) for request in requests]

    def made() -> list[Sample | Fault]:
        with tempfile.TemporaryDirectory() as folder:
            media = load_plugins().media_loader()
            context = SynthesisContext(ask, lambda name: name, media, Path(folder), seed=0)
            rows = list(synthesizer.synthesize(iter(given), context))
        what = f"gave {len(rows)} rows for {len(given)} samples; give a sample or a fault for each"
        require(len(rows) == len(given), synthesizer, "synthesize", what)
        new = [row for row in rows if isinstance(row, Sample)]
        unique(synthesizer, "synthesize", [*given, *new])
        return rows

    return twice(synthesizer, "synthesize", made)


def check_reporter(reporter: Reporter, directory: Path | None = None) -> list[Path]:
    """Writes about the run in ``directory`` and about one that failed early; what it returns is there, and the run's
    own files are as before."""
    check_component(reporter)
    values = {"made-up": MetricValue(value=0.5, low=0.2, high=0.8, num_scored=4)}
    row = ResultRow(benchmark="made-up", version="1", model="base", scoring="strict", metrics=values)
    record = RunRecord(name="made-up", status="done", started="2026-01-01T00:00:00+00:00", config={}, results=(row,))
    with tempfile.TemporaryDirectory() as folder:
        run_ = open_run(directory) if directory is not None else Run(Path(folder), record)
        empty = {"status": "failed", "steps": (), "results": (), "comparisons": (), "error": "it failed"}
        failed = Path(folder) / "failed"
        failed.mkdir()
        written_files(reporter, Run(failed, run_.record.model_copy(update=empty)))
        return written_files(reporter, run_)
