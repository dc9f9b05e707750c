"""A run: the steps in their order, from the sources to the report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from infimed_core.components import Benchmark, LoadedModel, Metric, Model, Solver
from infimed_core.config import BenchmarkUse, Plan
from infimed_core.curation import Curated, curate
from infimed_core.errors import InfimedError
from infimed_core.evaluation import (
    BASELINE,
    AnswerCache,
    Graded,
    ask_and_grade,
    compare,
    grade,
    most_common_answers,
    protocol,
    read_graded,
    read_questions,
    summarise,
)
from infimed_core.plugins import KINDS, Registry
from infimed_core.record import Artifact, RunDirectory, digest, new_record, now, write_atomically
from infimed_core.report import write_report
from infimed_core.steps import Outcome, RunState
from infimed_core.training import Checkpoint, prepare_model, train_stages
from infimed_core.types import Comparison, Generation, JsonObject, ResultRow, RunEvent, RunRecord

_ROWS = TypeAdapter(tuple[ResultRow, ...])
_COMPARISONS = TypeAdapter(tuple[Comparison, ...])


def run(plan: Plan, registry: Registry, listen: Callable[[RunEvent], None]) -> RunRecord:
    """Do every step of a checked run file; what stands from an earlier run of it is reused.

    Raises:
        InfimedError: something the user can mend; the record says ``failed`` and why.
        KeyboardInterrupt: stopped by the user; the record says ``interrupted``, the same command goes on from there.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise InfimedError("a run is one process in this version: start infimed-run itself, not through a launcher")
    section = plan.file.run
    path = Path(section.directory) / section.name
    used = _used_plugins(plan, registry)
    record = new_record(section.name, section.seed, plan.as_json(), used)
    directory = RunDirectory(path, record)
    directory.hold()
    told: set[str] = set()

    def tell(event: RunEvent) -> None:
        listen(event)
        for failure in registry.tell(event):
            if failure not in told:
                told.add(failure)
                listen(RunEvent(kind="message", step="", directory=str(path), payload={"text": failure}))

    try:
        directory.write()
        state = RunState(plan, registry, directory, tell, registry.media_loader())
        state.tell("run_started", "", {"name": section.name})
        _steps(state)
        directory.write(status="done", finished=now())
        _report(state)
        state.tell("run_finished", "", {"status": "done"})
    except KeyboardInterrupt:
        directory.write(status="interrupted", finished=now())
        raise
    except BaseException as error:
        directory.write(status="failed", finished=now(), error=f"{type(error).__name__}: {error}")
        raise
    finally:
        directory.release()
    return directory.record


def _used_plugins(plan: Plan, registry: Registry) -> tuple:  # type: ignore[type-arg]
    """The plugins whose components take part (or that the run file asks for), sorted by name."""
    classes = {type(component) for component in plan.components.values()}
    names = set(plan.file.run.plugins)
    for kind in KINDS:
        table = registry.components(kind)
        names.update(qualified.split("/", 1)[0] for qualified, component in table.items() if component in classes)
    names.update(qualified.split("/", 1)[0] for qualified in registry.components("modality"))
    return tuple(registry.plugins[name] for name in sorted(names) if name in registry.plugins)


def _steps(state: RunState) -> None:
    file = state.plan.file
    curated: Curated | None = curate(state) if file.data is not None else None
    if file.model is None:
        return
    base = prepare_model(state, curated)
    models = [base]
    if file.training is not None:
        assert curated is not None  # the run file was checked for it
        models += train_stages(state, curated, base)
    if file.evaluation is not None:
        _evaluate(state, models)


def _evaluate(state: RunState, models: Sequence[Checkpoint]) -> None:
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
        name = _benchmark_name(section.benchmarks, index)
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


def _benchmark_name(benchmarks: Sequence[BenchmarkUse], index: int) -> str:
    """The benchmark's name; a second use of one name gets its position."""
    names = [use.use.rsplit("/", 1)[-1] for use in benchmarks]
    return names[index] if names.count(names[index]) == 1 else f"{names[index]}-{index + 1}"


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
    asked = protocol(benchmark, solver, generation, section.limit)
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
            benchmark, samples, loaded[checkpoint.name], solver, generation, state.media, cache, progress
        )
        details: JsonObject = {"asked": cache.num_asked, "reused": cache.num_reused, "protocol": asked}
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


def _report(state: RunState) -> None:
    if state.plan.file.report is None:
        return
    record = state.directory.record
    steps = [[step.name, step.artifact] for step in record.steps if step.name != "report"]
    made_from = digest("report", 1, steps, [row.model_dump(mode="json") for row in record.results])

    def work(directory: Path) -> Outcome:
        write_report(state.path)
        write_atomically(directory / "report.json", json.dumps({"page": "report.html"}))
        return Outcome(details={"page": str(state.path / "report.html")})

    if not (state.path / "report.html").exists():
        shutil.rmtree(Artifact(state.path / "artifacts", "report", made_from).directory, ignore_errors=True)
    state.step("report", made_from, work)
