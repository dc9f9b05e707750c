"""The last steps of a run: every model is asked, its answers are graded, and the models are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from infimed_core import statistics
from infimed_core.components import Benchmark, LoadedModel, Metric, Model, Solver
from infimed_core.config import BenchmarkUse
from infimed_core.errors import InfimedError
from infimed_core.evaluation import (
    BASELINE,
    AnswerCache,
    Graded,
    ask_and_grade,
    benchmark_name,
    compare,
    grade,
    judge,
    most_common_answers,
    protocol,
    read_graded,
    read_questions,
    summarise,
)
from infimed_core.record import digest, write_atomically
from infimed_core.steps import Outcome, RunState
from infimed_core.training import Checkpoint
from infimed_core.types import Comparison, Generation, JsonObject, ResultRow

_ROWS = TypeAdapter(tuple[ResultRow, ...])
_COMPARISONS = TypeAdapter(tuple[Comparison, ...])


def evaluate_models(state: RunState, models: Sequence[Checkpoint]) -> None:
    """Ask and grade every model on every benchmark, then compare them."""
    section = state.plan.file.evaluation
    assert section is not None
    wanted = section.models or tuple(model.name for model in models)
    for name in wanted:
        if name not in {model.name for model in models}:
            raise InfimedError(f"evaluation.models names '{name}'; this run has {', '.join(m.name for m in models)}")
    results: list[ResultRow] = []
    comparisons: list[Comparison] = []
    loaded: dict[str, LoadedModel] = {}
    for index, use in enumerate(section.benchmarks):
        benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{index}")
        name = benchmark_name(section.benchmarks, index)
        found: dict[str, list[Graded]] = {}
        hashes = []
        for model in models:
            if model.name not in wanted:
                continue
            rows, graded_path, made_from = _evaluate_one(state, name, index, use, benchmark, model, loaded)
            results += rows
            hashes.append(made_from)
            found[model.name] = list(read_graded(graded_path))
        baseline_rows, baseline_hash = _baseline(state, name, use, benchmark, next(iter(found.values())), hashes[0])
        results += baseline_rows
        comparisons += _compare(state, name, benchmark, found, section.compare_to, [*hashes, baseline_hash])
        state.directory.write(results=tuple(results), comparisons=tuple(comparisons))


def _evaluate_one(
    state: RunState,
    name: str,
    index: int,
    use: BenchmarkUse,
    benchmark: Benchmark,
    checkpoint: Checkpoint,
    loaded: dict[str, LoadedModel],
) -> tuple[tuple[ResultRow, ...], Path, str]:
    section = state.plan.file.evaluation
    assert section is not None
    model: Model = state.plan.component("model")
    solver_use = use.solver or benchmark.solver()
    solver = cast(
        Solver,
        state.plan.components.get(f"evaluation.benchmarks.{index}.solver")
        or state.registry.find("solver", solver_use.use).model_validate(solver_use.settings),
    )
    generation = use.generation or benchmark.generation() or Generation()
    judges = {name: state.named_models.identity(name) for name in section.judges}
    others = {name: state.named_models.identity(name) for name in solver.models()}
    asked = protocol(benchmark, solver, generation, section.limit) | {"judges": judges, "models": others}
    metrics = use.metrics or benchmark.metrics
    made_from = digest("evaluate", 1, benchmark.fingerprint(), asked, checkpoint.digest, model.identity(), metrics)
    step = f"evaluate-{checkpoint.name}-{name}"
    answers = state.path / "answers" / f"{name}--{checkpoint.name}.jsonl"

    asked_model = digest(checkpoint.digest, model.identity())

    def work(directory: Path) -> Outcome:
        samples, faults = read_questions(benchmark, state.media_directory, section.limit)
        if not samples:
            raise InfimedError(f"benchmark '{name}' has no question" + (f": {faults[0].detail}" if faults else ""))
        if checkpoint.name not in loaded:
            loaded.clear()
            loaded[checkpoint.name] = model.load(checkpoint.directory)
        cache = AnswerCache(state.path / "cache" / f"{asked_model[:16]}.jsonl", asked_model)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            state.tell("progress", step, {"done": done, "total": max(done, len(samples)), "unit": "answer"})

        rows = ask_and_grade(
            benchmark,
            samples,
            loaded[checkpoint.name],
            solver,
            generation,
            state.media,
            cache,
            progress,
            state.named_models.ask,
        )
        details: JsonObject = {"asked": cache.num_asked, "reused": cache.num_reused, "protocol": asked}
        rows, judged = _judge(state, benchmark, rows, section.judges)
        if judged:
            details["judges"] = judged
        details["errors"] = sum(row.answer.error is not None for row in rows)
        first = next((row.answer.error for row in rows if row.answer.error is not None), None)
        if first:
            details["first_error"] = first
        for scoring in benchmark.scorings:
            summary = benchmark.summarise(samples, [row.answer for row in rows], scoring)
            if summary is not None:
                details[f"summary-{scoring}"] = summary
        _write_results(state, directory, name, benchmark, checkpoint.name, rows, metrics)
        dropped: dict[str, int] = {}
        for fault in faults:
            dropped[fault.code] = dropped.get(fault.code, 0) + 1
        if first:
            text = (
                f"{name}: {details['errors']} of {len(rows)} questions have no answer (asked again next time): {first}"
            )
            state.tell("message", step, {"text": text})
        return Outcome(len(rows) + len(faults), len(rows), dropped, details, complete=first is None)

    artifact = state.step(step, made_from, work, place="artifacts")
    found = artifact.directory / "answers.jsonl"
    _publish(found, answers)
    return _read_results(artifact.directory), found, digest(made_from, found.stat().st_size, artifact.stands)


def _judge(
    state: RunState, benchmark: Benchmark, rows: list[Graded], judges: Sequence[str]
) -> tuple[list[Graded], JsonObject]:
    """Add every judge's scores to the rows; for every two judges how far they agree beyond chance."""
    facts: JsonObject = {}
    for name in judges:
        rows, num_judged = judge(benchmark, rows, name, state.named_models.ask)
        if num_judged is not None:
            facts[name] = {"judged": num_judged, "unscored": len(rows) - num_judged, **state.named_models.counts(name)}
    names = [name for name in judges if name in facts]
    for one, other in combinations(names, 2):
        pairs = [(row.scores[f"judge:{one}"].value, row.scores[f"judge:{other}"].value) for row in rows]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        kappa = statistics.cohen_kappa([a for a, _ in both], [b for _, b in both])
        facts[f"{one} and {other}"] = {"num_both": len(both), "kappa": kappa}
    return rows, facts


def _baseline(
    state: RunState, name: str, use: BenchmarkUse, benchmark: Benchmark, rows: Sequence[Graded], made_from: str
) -> tuple[tuple[ResultRow, ...], str]:
    """The most-common-answer baseline on the same questions."""
    hashed = digest("baseline", 1, made_from)

    def work(directory: Path) -> Outcome:
        samples = [row.sample for row in rows]
        graded = grade(benchmark, samples, most_common_answers(benchmark, samples))
        _write_results(state, directory, name, benchmark, BASELINE, graded, use.metrics or benchmark.metrics)
        return Outcome(len(samples), len(samples))

    artifact = state.step(f"baseline-{name}", hashed, work)
    _publish(artifact.directory / "answers.jsonl", state.path / "answers" / f"{name}--{BASELINE}.jsonl")
    return _read_results(artifact.directory), hashed


def _compare(
    state: RunState,
    name: str,
    benchmark: Benchmark,
    found: Mapping[str, Sequence[Graded]],
    against: Sequence[str],
    hashes: Sequence[str],
) -> tuple[Comparison, ...]:
    hashed = digest("compare", 1, hashes, against, sorted(found))

    def work(directory: Path) -> Outcome:
        rows = dict(found)
        baseline = state.path / "answers" / f"{name}--{BASELINE}.jsonl"
        rows[BASELINE] = list(read_graded(baseline))
        compared = compare(name, benchmark, rows, against, state.seed)
        write_atomically(directory / "comparisons.json", _COMPARISONS.dump_json(tuple(compared)).decode())
        return Outcome()

    artifact = state.step(f"compare-{name}", hashed, work)
    return _COMPARISONS.validate_json((artifact.directory / "comparisons.json").read_text(encoding="utf-8"))


def _write_results(
    state: RunState,
    directory: Path,
    name: str,
    benchmark: Benchmark,
    model: str,
    rows: Sequence[Graded],
    metric_names: Sequence[str],
) -> None:
    metrics = {
        metric: cast(Metric, state.registry.find("metric", metric).model_validate({})) for metric in metric_names
    }
    write_atomically(directory / "answers.jsonl", "".join(row.as_json() + "\n" for row in rows))
    results = summarise(name, benchmark, model, rows, metrics, state.seed)
    write_atomically(directory / "results.json", _ROWS.dump_json(tuple(results)).decode())


def _read_results(directory: Path) -> tuple[ResultRow, ...]:
    return _ROWS.validate_json((directory / "results.json").read_text(encoding="utf-8"))


def _publish(source: Path, target: Path) -> None:
    """Show an artifact's file under a name that people can find, without a second copy where links work."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        write_atomically(target, source.read_text(encoding="utf-8"))
