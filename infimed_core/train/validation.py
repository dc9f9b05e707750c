"""What is measured while a stage trains: the loss of samples held out, and benchmarks of the run with few questions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infimed_core.api.component import JsonObject
from infimed_core.api.data import Sample, Score
from infimed_core.api.evaluation import Benchmark, TextMetric
from infimed_core.api.models import Answer, Generation, LoadedModel, Request
from infimed_core.api.planning import Phase, ResolutionScheduler
from infimed_core.api.training import Batches, Mix, Stage
from infimed_core.errors import InfimedError
from infimed_core.evaluate.choices import chosen_samples, named_metrics, solver_of
from infimed_core.evaluate.graded import Graded
from infimed_core.evaluate.grading import grade
from infimed_core.evaluate.summary import cluster_ids, could_take_part, measure, measure_texts
from infimed_core.plan.index import Index
from infimed_core.plan.inputs import PlanInputs
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.runfile.sections import benchmark_name
from infimed_core.store.artifacts import digest
from infimed_core.store.files import write_atomically
from infimed_core.store.questions import read_questions
from infimed_core.store.steps import Outcome, RunState

HELD_OUT = "held-out.npz"
QUESTIONS = "questions.jsonl"


def held_out_samples(index: Index, stages: Sequence[Stage]) -> NDArray[np.bool_]:
    """Samples that some stage holds out, bool [n]; no stage may train on them."""
    found = np.zeros(len(index), dtype=bool)
    for stage in stages:
        if stage.evaluate is not None and stage.evaluate.held_out is not None:
            found |= index.matching(Mix(where=stage.evaluate.held_out))
    return found


def choose(state: RunState, stage: Stage, chosen: PlanInputs) -> Path | None:
    """The step that chooses what a stage is measured by; the directory it lies in, ``None`` where nothing is.

    Raises:
        InfimedError: no sample is held out, or a benchmark cannot be asked within a stage.
    """
    wanted = stage.evaluate
    if wanted is None:
        return None
    places = {name: _place(state, stage, name) for name in wanted.benchmarks}
    section = state.plan.file.evaluation
    asked = [state.plan.component(f"evaluation.benchmarks.{place}").fingerprint() for place in places.values()]
    limits = [section.limit, section.samples] if section is not None else []
    inputs_digest = digest(
        "measure", 1, chosen.index_hash, digest(np.flatnonzero(chosen.allowed).tolist()), wanted.held_out,
        wanted.max_samples, list(places), asked, limits, chosen.scheduler.identity(), chosen.packer.identity(),
        chosen.seed,
    )  # fmt: skip

    def work(directory: Path) -> Outcome:
        details: JsonObject = {}
        dropped: dict[str, int] = {}
        if wanted.held_out is not None:
            plan = _plan_held_out(stage, wanted.held_out, wanted.max_samples, chosen)
            plan.save(directory / HELD_OUT)
            facts = plan.describe()
            dropped = cast(dict[str, int], facts["dropped"])
            details["held_out"] = {"drawn": facts["num_drawn"], "rows": facts["num_rows"], "dropped": facts["dropped"]}
        if places:
            questions = {name: _questions(state, place, wanted.max_samples) for name, place in places.items()}
            lines = [
                json.dumps({"benchmark": name, "sample": sample.model_dump(mode="json")}, ensure_ascii=False) + "\n"
                for name, samples in questions.items()
                for sample in samples
            ]
            write_atomically(directory / QUESTIONS, "".join(lines))
            details["questions"] = {name: len(samples) for name, samples in questions.items()}
        drawn = int(details["held_out"]["drawn"]) if "held_out" in details else 0
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
    stage: Stage, where: dict[str, str | tuple[str, ...]], max_samples: int, chosen: PlanInputs
) -> StagePlan:
    index = chosen.index
    matching = chosen.allowed & index.matching(Mix(where=where))
    count = min(max_samples, int((matching & index.usable).sum()))
    if count == 0:
        faults = index.told_faults()
        raise InfimedError(
            f"stage '{stage.name}': evaluate.held_out ({json.dumps(where)}) matches {int(matching.sum())} of the "
            f"{int(chosen.allowed.sum())} selected samples, and none that can be used; compare it with the tags of the "
            "data, or leave it out" + (f"; {faults}" if faults else "")
        )
    last = _LastPhase(max_visual_tokens=chosen.scheduler.plan(count)[-1].max_visual_tokens)
    one_step = Stage(name=stage.name, num_samples=count, rows_per_step=2**31)
    plan = plan_stage(index, one_step, last, chosen.packer, chosen.encoder, chosen.seed, matching)
    if len(plan.packs) == 0:
        raise InfimedError(
            f"stage '{stage.name}': none of the {count} samples held out fits a row: {plan.told_drops()}; raise "
            "packing.row_tokens"
        )
    return plan


def _place(state: RunState, stage: Stage, name: str) -> int:
    section = state.plan.file.evaluation
    names = [benchmark_name(section.benchmarks, i) for i in range(len(section.benchmarks))] if section else []
    if name not in names:
        raise InfimedError(f"stage '{stage.name}': evaluate.benchmarks names '{name}'; this run has {', '.join(names)}")
    place = names.index(name)
    if others := solver_of(state, place).models():
        raise InfimedError(
            f"stage '{stage.name}': evaluate.benchmarks: the solver of '{name}' asks other models ({others[0]}), which "
            "is not done within a stage; leave it out there"
        )
    return place


def _questions(state: RunState, place: int, max_samples: int) -> list[Sample]:
    """A seeded choice of a benchmark's questions, in their order."""
    section = state.plan.file.evaluation
    assert section is not None
    benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{place}")
    samples, faults = read_questions(benchmark, state.media_directory, section.limit, chosen_samples(section.samples))
    if not samples:
        name = benchmark_name(section.benchmarks, place)
        raise InfimedError(f"benchmark '{name}' has no question" + (f": {faults[0].detail}" if faults else ""))
    generator = np.random.default_rng([state.seed, place])
    picked = generator.choice(len(samples), size=min(max_samples, len(samples)), replace=False)
    return [samples[number] for number in sorted(picked.tolist())]


class StageMeasurements:
    """``Measurements`` as ``choose`` chose them."""

    def __init__(self, state: RunState, stage: Stage, directory: Path, held_out: Batches | None) -> None:
        assert stage.evaluate is not None
        self._state, self._stage = state, stage
        self.every, self.benchmarks = stage.evaluate.every, stage.evaluate.benchmarks
        self.at_start = stage.evaluate.at_start
        self.held_out = held_out
        self._places = {name: _place(state, stage, name) for name in self.benchmarks}
        self._questions: dict[str, list[Sample]] = {name: [] for name in self.benchmarks}
        if self.benchmarks:
            for line in filter(None, (directory / QUESTIONS).read_text(encoding="utf-8").split("\n")):
                body = json.loads(line)
                self._questions[body["benchmark"]].append(Sample.model_validate(body["sample"]))

    def ask(self, model: LoadedModel, rank: int, size: int) -> JsonValue:
        """See ``Measurements.ask``; what the trainer's weights answer now is kept nowhere."""
        section = self._state.plan.file.evaluation
        shares: dict[str, JsonValue] = {}
        for name, place in self._places.items():
            assert section is not None
            benchmark: Benchmark = self._state.plan.component(f"evaluation.benchmarks.{place}")
            generation = section.benchmarks[place].generation or benchmark.generation() or Generation()
            samples = self._questions[name][rank::size]
            rows: list[Graded] = []
            if samples:
                answers = solver_of(self._state, place).solve(samples, self._asking(model, samples), generation)
                rows = grade(benchmark, samples, answers)
            shares[name] = [
                {
                    "answer": row.answer.model_dump(mode="json"),
                    "scores": {scoring: score.model_dump(mode="json") for scoring, score in row.scores.items()},
                }
                for row in rows
            ]
        return shares

    def _asking(self, trained: LoadedModel, samples: Sequence[Sample]) -> Any:
        tags = {sample.id: sample.tags for sample in samples}

        def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
            if model is not None:
                raise InfimedError(f"stage '{self._stage.name}': '{model}' is not asked within a stage")
            # Under the name of its content, as after the stage: what is sampled does not depend on ranks.
            named: dict[str, Request] = {}
            names = []
            for request in requests:
                name = digest(request.model_dump(mode="json", exclude={"sample_id", "tags"}))
                update = {"sample_id": name, "tags": tags.get(request.sample_id, {})}
                named.setdefault(name, request.model_copy(update=update))
                names.append(name)
            found = {answer.sample_id: answer for answer in trained.answer(list(named.values()), self._state.media)}
            nothing = Answer(sample_id="", error="the model returned nothing for this request")
            return [
                found.get(name, nothing).model_copy(update={"sample_id": request.sample_id})
                for name, request in zip(names, requests, strict=True)
            ]

        return ask

    def summarise(self, shares: Sequence[JsonValue]) -> dict[str, JsonValue]:
        """See ``Measurements.summarise``: the metrics under the scoring that counts, with their intervals."""
        section = self._state.plan.file.evaluation
        facts: dict[str, JsonValue] = {}
        for name, place in self._places.items():
            assert section is not None
            benchmark: Benchmark = self._state.plan.component(f"evaluation.benchmarks.{place}")
            metrics = named_metrics(self._state, place)
            rows: list[Graded] = []
            for number, sample in enumerate(self._questions[name]):
                share: Any = shares[number % len(shares)]
                body = share[name][number // len(shares)]
                scores = {scoring: Score.model_validate(score) for scoring, score in body["scores"].items()}
                rows.append(Graded(sample, Answer.model_validate(body["answer"]), scores))
            texts = [metric for metric in metrics.values() if isinstance(metric, TextMetric)]
            rows = measure_texts(benchmark, rows, texts) if texts else rows
            scoring, clusters = benchmark.scorings[0], cluster_ids(benchmark, rows)
            graded = [row.under(scoring) for row in rows]
            errors = Counter(row.answer.error for row in rows if row.answer.error is not None)
            facts[name] = {
                "scoring": scoring,
                "questions": len(rows),
                "errors": errors.total(),
                **({"first_error": next(iter(errors))} if errors else {}),
                **{
                    metric_name: measure(
                        metric, graded, clusters, self._state.seed, could_take_part(metric, benchmark, rows)
                    ).model_dump(mode="json")
                    for metric_name, metric in metrics.items()
                },
            }
        return facts
