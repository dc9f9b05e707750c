"""What is measured while a stage trains: the loss of samples held out, and benchmarks of the run with few questions."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infimed_core.api.component import JsonObject
from infimed_core.api.data import Sample
from infimed_core.api.evaluation import Benchmark, TextMetric
from infimed_core.api.models import Answer, LoadedModel, Request, TrainableModel
from infimed_core.api.planning import Phase, ResolutionScheduler
from infimed_core.api.training import Mix, Stage
from infimed_core.api.vocabulary import is_person_tag
from infimed_core.errors import InfimedError
from infimed_core.evaluate.choices import chosen_samples, generation_of, named_metrics, solver_of
from infimed_core.evaluate.graded import Graded, parse_graded
from infimed_core.evaluate.grading import grade
from infimed_core.evaluate.summary import cluster_ids, could_take_part, measure, measure_texts
from infimed_core.models.answer_cache import AnswerCache
from infimed_core.models.model_pool import asking
from infimed_core.plan.index import Index
from infimed_core.plan.planning import PlanInputs, plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.runfile.sections import HELD_OUT_SPLIT, SplitSection, benchmark_name
from infimed_core.store.artifacts import digest, mask_digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.questions import read_questions
from infimed_core.store.steps import Outcome, RunState

HELD_OUT = "held-out.npz"
QUESTIONS = "questions.json"


def tell_shared_people(state: RunState, index: Index, held: NDArray[np.bool_], trained: NDArray[np.bool_]) -> None:
    """Say which patients, subjects or studies have samples both in training and in what is held out."""
    for tag in filter(is_person_tag, index.tag_codes if held.any() else ()):
        codes = index.tag_codes[tag]
        shared = np.intersect1d(codes[held & (codes >= 0)], codes[trained & ~held & (codes >= 0)])
        if len(shared):
            text = f"{len(shared):,} values of the tag '{tag}' have samples both in training and in what is held out"
            remedy = f"divide by it: data: {{split: {{by: {tag}}}}}, and evaluate: {{held_out: {{split: held-out}}}}"
            state.tell("message", "", {"text": f"{text}; {remedy}"})


def held_out_samples(index: Index, stages: Sequence[Stage], split: SplitSection | None = None) -> NDArray[np.bool_]:
    """Samples that some stage or the run's split holds out, bool [n]; no stage may train on them."""
    held = index.matching(Mix(where={"split": HELD_OUT_SPLIT})) if split else np.zeros(len(index), dtype=bool)
    for stage in stages:
        if stage.evaluate is not None and stage.evaluate.held_out is not None:
            held |= index.matching(Mix(where=stage.evaluate.held_out))
    return held


def choose_measurements(state: RunState, stage: Stage, inputs: PlanInputs) -> Path | None:
    """The step that chooses what a stage is measured by; the directory it lies in, ``None`` where nothing is.

    Raises:
        InfimedError: no sample is held out, or a benchmark cannot be asked within a stage.
    """
    wanted = stage.evaluate
    if wanted is None:
        return None
    numbers = {name: _number_of(state, stage, name) for name in wanted.benchmarks}
    section = state.plan.file.evaluation
    prints = [state.plan.component(f"evaluation.benchmarks.{number}").fingerprint() for number in numbers.values()]
    limits = [section.limit, section.samples] if section is not None else []
    inputs_digest = digest(
        "measure", 2, inputs.index_hash, mask_digest(inputs.allowed), wanted.held_out, wanted.max_samples,
        list(numbers), prints, limits, inputs.scheduler.identity(), inputs.packer.identity(), inputs.seed,
    )  # fmt: skip

    def work(directory: Path) -> Outcome:
        details: JsonObject = {}
        drawn, dropped = 0, dict[str, int]()
        if wanted.held_out is not None:
            plan = _plan_held_out(stage, wanted.held_out, wanted.max_samples, inputs)
            plan.save(directory / HELD_OUT)
            facts = plan.describe()
            drawn, dropped = facts["num_drawn"], facts["dropped"]
            details["held_out"] = {"drawn": drawn, "rows": facts["num_rows"], "dropped": dropped}
        if numbers:
            questions = {name: _questions(state, number, wanted.max_samples) for name, number in numbers.items()}
            dumped = {name: [sample.model_dump(mode="json") for sample in rows] for name, rows in questions.items()}
            write_atomically(directory / QUESTIONS, json.dumps(dumped))
            details["questions"] = {name: len(samples) for name, samples in questions.items()}
        return Outcome(drawn, drawn - sum(dropped.values()), dropped, details)

    subject = {"stage": stage.name}
    return state.step(f"measure-{stage.name}", inputs_digest, work, kind="measure", subject=subject).directory


class _LastPhase(ResolutionScheduler):
    """The cap that a stage ends with, for all samples: every measurement sees the same."""

    max_visual_tokens: int | None

    def plan(self, num_samples: int) -> list[Phase]:
        """One phase."""
        return [Phase(0, num_samples, self.max_visual_tokens)]


def _plan_held_out(
    stage: Stage, where: dict[str, str | tuple[str, ...]], max_samples: int, inputs: PlanInputs
) -> StagePlan:
    index = inputs.index
    matching = inputs.allowed & index.matching(Mix(where=where))
    count = min(max_samples, int((matching & index.usable).sum()))
    if count == 0:
        faults = index.told_faults()
        raise InfimedError(
            f"stage '{stage.name}': evaluate.held_out ({json.dumps(where)}) matches {int(matching.sum())} of the "
            f"{int(inputs.allowed.sum())} selected samples, and none that can be used; compare it with the tags of the "
            "data (few samples may need another data.split.seed), or leave it out" + (f"; {faults}" if faults else "")
        )
    last = _LastPhase(max_visual_tokens=inputs.scheduler.plan(count)[-1].max_visual_tokens)
    one_step = Stage(name=stage.name, num_samples=count, rows_per_step=2**31)
    plan = plan_stage(index, one_step, last, inputs.packer, inputs.encoder, inputs.seed, matching)
    if len(plan.packs) == 0:
        raise InfimedError(
            f"stage '{stage.name}': none of the {count} samples held out fits a row: {plan.told_drops()}; raise "
            "packing.row_tokens"
        )
    return plan


def _number_of(state: RunState, stage: Stage, name: str) -> int:
    section = state.plan.file.evaluation
    names = [benchmark_name(section.benchmarks, i) for i in range(len(section.benchmarks))] if section else []
    if name not in names:
        raise InfimedError(f"stage '{stage.name}': evaluate.benchmarks names '{name}'; this run has {', '.join(names)}")
    number = names.index(name)
    if others := solver_of(state, number).models():
        raise InfimedError(
            f"stage '{stage.name}': evaluate.benchmarks: the solver of '{name}' asks other models ({others[0]}), which "
            "is not done within a stage; leave it out there"
        )
    return number


def _questions(state: RunState, number: int, max_samples: int) -> list[Sample]:
    """A seeded choice of a benchmark's questions, in their order."""
    section = state.plan.file.evaluation
    assert section is not None
    benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{number}")
    samples, faults = read_questions(benchmark, state.media_directory, section.limit, chosen_samples(section.samples))
    if not samples:
        name = benchmark_name(section.benchmarks, number)
        raise InfimedError(f"benchmark '{name}' has no question" + (f": {faults[0].detail}" if faults else ""))
    generator = np.random.default_rng([state.seed, number])
    picked = generator.choice(len(samples), size=min(max_samples, len(samples)), replace=False)
    return [samples[row] for row in sorted(picked.tolist())]


class StageMeasurements:
    """``Measurements`` as ``choose_measurements`` chose them."""

    def __init__(self, state: RunState, stage: Stage, directory: Path, dataset: Dataset, model: TrainableModel) -> None:
        assert stage.evaluate is not None
        self._state, self._stage = state, stage
        self.every, self.benchmarks = stage.evaluate.every, stage.evaluate.benchmarks
        self.at_start = stage.evaluate.at_start
        plan = directory / HELD_OUT
        self.held_out = (
            PlannedBatches(dataset, StagePlan.load(plan), model.encoder, state.media) if plan.exists() else None
        )
        self._numbers = {name: _number_of(state, stage, name) for name in self.benchmarks}
        questions = json.loads((directory / QUESTIONS).read_text(encoding="utf-8")) if self.benchmarks else {}
        self._questions = {name: list(map(Sample.model_validate, rows)) for name, rows in questions.items()}

    def _benchmark(self, name: str) -> Benchmark:
        return cast(Benchmark, self._state.plan.component(f"evaluation.benchmarks.{self._numbers[name]}"))

    def ask(self, model: LoadedModel, rank: int, size: int) -> JsonValue:
        """See ``Measurements.ask``; what the trainer's weights answer now is kept nowhere."""
        section = self._state.plan.file.evaluation
        shares: dict[str, JsonValue] = {}
        for name, questions in self._questions.items():
            assert section is not None
            number, benchmark, samples = self._numbers[name], self._benchmark(name), questions[rank::size]
            generation = generation_of(self._state, number)
            # the weights change, so nothing is kept; but what is asked twice is asked once
            cache = AnswerCache(Path(os.devnull), "")

            def ask(requests: Sequence[Request], cache: AnswerCache = cache) -> list[Answer]:
                return cache.ask(model, self._state.media, requests, lambda count: None)

            rows: list[Graded] = []
            if samples:
                solver = solver_of(self._state, number)
                answers = solver.solve(samples, asking(samples, ask, self._refuse), generation)
                rows = grade(benchmark, samples, answers)
            shares[name] = [row.as_json() for row in rows]
        return shares

    def _refuse(self, model: str, requests: Sequence[Request]) -> list[Answer]:
        raise InfimedError(f"stage '{self._stage.name}': '{model}' is not asked within a stage")

    def summarise(self, shares: Sequence[JsonValue]) -> dict[str, JsonValue]:
        """See ``Measurements.summarise``: the metrics under the scoring that counts, with their intervals."""
        facts: dict[str, JsonValue] = {}
        for name, questions in self._questions.items():
            benchmark, metrics = self._benchmark(name), named_metrics(self._state, self._numbers[name])
            dealt = cast(Sequence[Any], shares)  # question n is the n // ranks-th of rank n % ranks
            lines = [dealt[number % len(dealt)][name][number // len(dealt)] for number in range(len(questions))]
            rows = list(map(parse_graded, lines))
            texts = [metric for metric in metrics.values() if isinstance(metric, TextMetric)]
            rows = measure_texts(benchmark, rows, texts) if texts else rows
            scoring, clusters = benchmark.scorings[0], cluster_ids(benchmark, rows)
            graded = [row.under(scoring) for row in rows]
            errors = Counter(row.answer.error for row in rows if row.answer.error is not None)
            told: dict[str, JsonValue] = {"scoring": scoring, "questions": len(rows), "errors": errors.total()}
            told |= {"first_error": next(iter(errors))} if errors else {}
            for metric_name, metric in metrics.items():
                part = could_take_part(metric, benchmark, rows)
                told[metric_name] = measure(metric, graded, clusters, self._state.seed, part).model_dump(mode="json")
            facts[name] = told
        return facts
