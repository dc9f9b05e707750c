"""The last steps of a run: every model is asked, its answers are graded, and the models are compared."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from infimed_core.api.component import JsonObject, with_versions
from infimed_core.api.data import Fault
from infimed_core.api.evaluation import Baseline, Benchmark, TextMetric
from infimed_core.api.models import Answer, Model
from infimed_core.api.reporting import Comparison, ResultRow
from infimed_core.contracts import FULL, checked_answers
from infimed_core.errors import InfimedError
from infimed_core.evaluate import statistics
from infimed_core.evaluate.asked import AskedBenchmark, OpenedModels
from infimed_core.evaluate.choices import check_chosen, chosen_samples
from infimed_core.evaluate.graded import Graded, answers_path, read_graded
from infimed_core.evaluate.grading import ask_and_grade, grade, judge, told_failures
from infimed_core.evaluate.paired_comparison import adjust, compare_models
from infimed_core.evaluate.summary import measure_texts, summarise
from infimed_core.models.checkpoints import Checkpoint
from infimed_core.plugin_loading import told_error
from infimed_core.runfile.sections import BASELINE, IMAGE_BLIND, baseline_label
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Curated
from infimed_core.store.files import write_atomically
from infimed_core.store.steps import Outcome, RunState
from infimed_core.texts import whole_in

_ROWS = TypeAdapter(tuple[ResultRow, ...])
_COMPARISONS = TypeAdapter(tuple[Comparison, ...])
_Asked = tuple[str, tuple[ResultRow, ...], Path, str]
"""Of a model: its name, its results, the file of its graded answers, a digest of what these come from."""
MOST_BLIND = 300
"""Questions, drawn by their ids, that a model is asked again without the images: enough to see whether it looks."""


def evaluate_models(state: RunState, models: Sequence[Checkpoint], training: Curated | None = None) -> None:
    """Ask and grade every model on every benchmark, then compare them.

    ``models`` are those that the run made, ``training`` what it trained on. One of several models that cannot be asked
    costs its own results only; its step says why.
    """
    section = state.plan.file.evaluation
    assert section is not None
    own = [model.name for model in models if section.models is None or model.name in section.models]
    named = [name for name in section.models or () if name in state.plan.file.models]
    only = chosen_samples(section.samples)
    if only is not None:
        check_chosen(state, only)
    results: list[ResultRow] = []
    comparisons: list[Comparison] = []
    opened = OpenedModels(state, models)
    failed: dict[str, Exception] = {}
    for index, use in enumerate(section.benchmarks):
        asked = AskedBenchmark(state, index, use, only)
        if only is not None and not asked.questions()[0]:
            state.tell("message", "", {"text": f"{asked.name}: none of the chosen questions is from here; left out"})
            continue
        found: dict[str, list[Graded]] = {}
        hashes: list[str] = []
        for name, outcome in _ask_all(asked, [name for name in (*own, *named) if name not in failed], opened):
            if isinstance(outcome, Exception):
                if len(own) + len(named) == 1 or (isinstance(outcome, OSError) and outcome.errno in FULL):
                    raise outcome
                failed[name] = outcome
                if len(failed) == len(own) + len(named):
                    raise next(iter(failed.values())) from None
                text = f"{name}: not asked, the other models are: {told_error(outcome)}"
                state.say(text, f"evaluate-{name}-{asked.name}")
                continue
            for shown, rows, path, inputs_digest in outcome:
                results += rows
                hashes.append(inputs_digest)
                found[shown] = list(read_graded(path))
        if not found:
            continue
        baselines = [name for name in section.baselines if name not in (BASELINE, IMAGE_BLIND[1:])]
        for baseline in (BASELINE, *baselines):
            rows, inputs_digest = _baseline(asked, baseline, next(iter(found.values())), hashes[0], training)
            if rows:
                results += rows
                hashes.append(inputs_digest)
                path = answers_path(state.path, asked.name, baseline_label(baseline))
                found[baseline_label(baseline)] = list(read_graded(path))
        against = (*section.compare_to, *map(baseline_label, baselines))
        comparisons += _compare(asked, found, against, named, hashes)
        state.directory.write(results=tuple(results), comparisons=tuple(adjust(comparisons)))


def _ask_all(
    asked: AskedBenchmark, names: Sequence[str], opened: OpenedModels
) -> Iterator[tuple[str, list[_Asked] | Exception]]:
    """What each model gave, or why it gave nothing, in the order of the names; servers are asked side by side."""
    outcomes: dict[str, list[_Asked] | Exception] = {}

    def ask(name: str) -> None:
        try:
            outcomes[name] = _evaluate_one(asked, name, opened)
        except Exception as error:
            outcomes[name] = error

    threads: dict[str, threading.Thread] = {}
    digests = set()
    for name in names:
        with suppress(Exception):  # asked below, it fails there and is told
            checkpoint = opened.checkpoint(name)
            # two names of one model would write to one file of answers
            if opened.component(name).runs_elsewhere and checkpoint.digest not in digests:
                digests.add(checkpoint.digest)
                # daemons: a user who stops the run does not wait for answers that nobody will read
                threads[name] = threading.Thread(target=ask, args=(name,), name=f"ask-{name}", daemon=True)
    for thread in threads.values() if len(threads) > 1 else ():
        thread.start()
    for name in names:
        while name in threads and threads[name].is_alive():
            threads[name].join(0.1)
        if name not in outcomes:
            ask(name)
        yield name, outcomes[name]


def _evaluate_one(asked: AskedBenchmark, name: str, opened: OpenedModels) -> list[_Asked]:
    """Ask a model, and unless the run file says otherwise without the images too, where there are some."""
    checkpoint = opened.checkpoint(name)
    given = [(name, *_ask_one(asked, checkpoint, opened, False))]
    named = "baselines" in asked.section.model_fields_set or opened.component(name).can_be_asked
    if "image-blind" in asked.section.baselines and named and any(row.sample.media for row in read_graded(given[0][2])):
        try:
            given.append((name + IMAGE_BLIND, *_ask_one(asked, checkpoint, opened, True)))
        except InfimedError as error:  # what it says of the images stands all the same
            asked.state.say(f"{name}: not asked without the images of {asked.name}: {told_error(error)}")
    return given


def _ask_one(
    asked: AskedBenchmark, checkpoint: Checkpoint, opened: OpenedModels, blind: bool
) -> tuple[tuple[ResultRow, ...], Path, str]:
    state, benchmark, name = asked.state, asked.benchmark, asked.name
    model: Model = state.plan.component(checkpoint.component)
    request = model.request_settings()
    left_out = {"images": f"left out, in {MOST_BLIND:,} questions at most"} if blind else {}
    what = asked.protocol | left_out | ({"request": request} if request else {})
    made_by = [with_versions(benchmark, benchmark.fingerprint()), what, checkpoint.digest]
    made_by += [with_versions(model, model.identity()), asked.graded_by, *asked.opened_by()]
    inputs_digest = digest("evaluate", 5, *made_by)
    shown = checkpoint.name + (IMAGE_BLIND if blind else "")
    step = f"evaluate-{shown}-{name}"
    answers = answers_path(state.path, name, shown)

    def work(directory: Path) -> Outcome:
        samples, faults = asked.questions()
        if not samples:
            raise InfimedError(f"benchmark '{name}' has no question" + (f": {faults[0].detail}" if faults else ""))
        if blind:
            drawn = {row.id for row in sorted(samples, key=lambda row: (not row.media, digest(row.id)))[:MOST_BLIND]}
            samples = [row for row in samples if row.media and row.id in drawn]
        loaded, cache = opened.get(checkpoint)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            state.tell("progress", step, {"done": done, "total": max(done, len(samples)), "unit": "answer"})

        rows = ask_and_grade(
            benchmark, samples, loaded, asked.solver, asked.generation, state.media, cache, progress,
            state.model_pool.ask, blind,
        )  # fmt: skip
        if text := told_failures(benchmark, rows):
            state.tell("message", step, {"text": text})
        details: JsonObject = {"asked": cache.num_asked, "reused": cache.num_reused, "protocol": what}
        details["cluster_by"] = benchmark.cluster_by
        details["metrics"] = asked.described
        details["asking"] = loaded.asking()
        rows, judged = _judge(state, benchmark, rows, asked.section.judges)
        if judged:
            details["judges"] = judged
        errors = [row.answer.error for row in rows if row.answer.error is not None]
        details["calls"] = sum(row.answer.num_calls for row in rows)
        for counted in ("num_prompt_tokens", "num_answer_tokens"):
            counts = [getattr(row.answer, counted) for row in rows if row.answer.error is None]
            details[counted.removeprefix("num_")] = None if None in counts else sum(counts)
        details["errors"] = len(errors)
        details["reasoned"] = sum(_reasoned(row.answer) for row in rows)
        first_scores = [row.scores[benchmark.scorings[0]] for row in rows if row.answer.error is None]
        details["unread"] = dict(Counter((*row.reasons, row.status)[0] for row in first_scores if row.value is None))
        details["ended"] = dict(Counter(row.answer.finish_reason for row in rows if row.answer.finish_reason))
        first = commonest(errors)
        if first:
            details["first_error"] = first
        if cache.num_of_other_runs:
            details["of_other_runs"] = cache.num_of_other_runs
            text = f"{name}: {cache.num_of_other_runs:,} answers of {shown} are those of other runs here"
            state.tell("message", step, {"text": f"{text}; 'reuse_answers: false' asks anew"})
        for scoring in benchmark.scorings:
            summary = benchmark.summarise(samples, [row.answer for row in rows], scoring)
            if summary is not None:
                details[f"summary-{scoring}"] = summary
        _write_results(asked, directory, shown, rows)
        dropped = dict(Counter(fault.code for fault in faults))
        if faults:
            _write_faults(asked, directory, step, faults)
        if first:
            text = (
                f"{name}: {details['errors']} of {len(rows)} questions have no answer (asked again next time): {first}"
            )
            state.tell("message", step, {"text": text})
        unjudged = [(which, facts) for which, facts in judged.items() if facts.get("failed")]
        for which, facts in unjudged:
            text = f"{name}: judge '{which}' failed {facts['failed']} times (asked again next time): "
            state.tell("message", step, {"text": text + facts["first_failure"]})
        return Outcome(len(rows) + len(faults), len(rows), dropped, details, complete=first is None and not unjudged)

    subject = {"model": shown, "benchmark": name}
    artifact = state.step(step, inputs_digest, work, kind="evaluate", subject=subject)
    found = artifact.directory / "answers.jsonl"
    _publish(found, answers)
    return _read_results(artifact.directory), found, digest(inputs_digest, found.stat().st_size, artifact.is_complete)


def _write_faults(asked: AskedBenchmark, directory: Path, step: str, faults: Sequence[Fault]) -> None:
    """Every row that is no question, with its place and its reason; told once for all models."""
    path = directory / "faults.jsonl"
    write_atomically(path, "".join(json.dumps(whole_in(fault.model_dump(mode="json"))) + "\n" for fault in faults))
    if not asked.told_faults:
        asked.told_faults = True
        first = faults[0]
        text = f"{asked.name}: no question: {first.where or first.sample_id}: {first.code}: {first.detail}"
        every = f"; all of them in {path}" if len(faults) > 1 else ""
        asked.state.tell("message", step, {"text": text + every})


def commonest(errors: Sequence[str]) -> str | None:
    """The first of the errors with the reason that most of them have."""
    reasons = Counter(error.partition(":")[0] for error in errors)
    return max(errors, key=lambda error: reasons[error.partition(":")[0]], default=None)


def _reasoned(answer: Answer) -> bool:
    """Whether the model thought before it answered: apart, as a server tells it, or in tags of its text."""
    told = any(turn.get("role") == "reasoning" for turn in answer.transcript)
    return told or "</think" in (answer.text or "").lower()


def _judge(
    state: RunState, benchmark: Benchmark, rows: list[Graded], judges: Sequence[str]
) -> tuple[list[Graded], JsonObject]:
    """Add every judge's scores to the rows; for every two judges how far they agree beyond chance."""
    facts: JsonObject = {}
    for name in judges:
        rows, counts = judge(benchmark, rows, name, state.model_pool.ask)
        if counts is not None:
            facts[name] = {**counts, **state.model_pool.counts(name)}
    names = [name for name in judges if name in facts]
    for one, other in combinations(names, 2):
        pairs = [(row.scores[f"judge:{one}"].value, row.scores[f"judge:{other}"].value) for row in rows]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        kappa = statistics.cohen_kappa([a for a, _ in both], [b for _, b in both])
        facts[f"{one} and {other}"] = {"num_both": len(both), "kappa": kappa}
    return rows, facts


def _baseline(
    asked: AskedBenchmark, baseline: str, rows: Sequence[Graded], inputs_digest: str, training: Curated | None
) -> tuple[tuple[ResultRow, ...], str]:
    """A baseline on the same questions; no rows where it has nothing to answer."""
    state, benchmark, name = asked.state, asked.benchmark, asked.name
    label = baseline_label(baseline)
    samples = [row.sample for row in rows]
    made = cast(Baseline, state.registry.make("baseline", baseline))
    if not made.applies(samples):
        state.tell("message", "", {"text": f"{name}: no {baseline} baseline, for it has nothing to answer here"})
        return (), ""
    trained = training.digest if training else None
    hashed = digest("baseline", 7, with_versions(made, baseline), inputs_digest, asked.graded_by, trained)

    def work(directory: Path) -> Outcome:
        answers, details = made.answers(benchmark, samples, training.samples() if training else ())
        checked = checked_answers(made, answers, [sample.id for sample in samples])
        _write_results(asked, directory, label, grade(benchmark, samples, checked))
        return Outcome(len(samples), len(samples), details=details)

    step = f"baseline-{name}" if baseline == BASELINE else f"baseline-{label}-{name}"
    artifact = state.step(step, hashed, work, kind="baseline", subject={"model": label, "benchmark": name})
    _publish(artifact.directory / "answers.jsonl", answers_path(state.path, name, label))
    return _read_results(artifact.directory), hashed


def _compare(
    asked: AskedBenchmark,
    found: Mapping[str, Sequence[Graded]],
    against: Sequence[str],
    each: Sequence[str],
    hashes: Sequence[str],
) -> tuple[Comparison, ...]:
    state = asked.state
    hashed = digest("compare", 6, hashes, against, each, sorted(found))

    def work(directory: Path) -> Outcome:
        compared = compare_models(asked.name, asked.benchmark, found, against, asked.metrics, each)
        write_atomically(directory / "comparisons.json", _COMPARISONS.dump_json(tuple(compared)).decode())
        return Outcome()

    subject = {"benchmark": asked.name}
    artifact = state.step(f"compare-{asked.name}", hashed, work, kind="compare", subject=subject)
    return _COMPARISONS.validate_json((artifact.directory / "comparisons.json").read_text(encoding="utf-8"))


def _write_results(asked: AskedBenchmark, directory: Path, model: str, rows: Sequence[Graded]) -> None:
    measured = [metric for metric in asked.metrics.values() if isinstance(metric, TextMetric)]
    if measured:
        rows = measure_texts(asked.benchmark, rows, measured)
    write_atomically(directory / "answers.jsonl", "".join(row.as_json(asked.state.path) + "\n" for row in rows))
    results = summarise(
        asked.name, asked.benchmark, model, rows, asked.metrics, asked.state.seed, asked.section.breakdowns
    )
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
