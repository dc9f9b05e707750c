"""What enters a comparison: models of finished runs, their answers, and the protocol each was asked under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_core import GradedAnswer, InfimedError, Sample, Score, canonical_json, digest, headline_metric
from infimed_core.records import IMAGE_BLIND, ResultRow, Run, StepRecord, is_baseline, open_run
from infimed_plugins.reporting.page.names import own_name


@dataclass(frozen=True)
class ModelResult:
    """One model of one run; ``label`` is unique in a comparison."""

    label: str
    run: Run
    model: str


@dataclass
class Answers:
    """One model's graded answers on one benchmark under one scoring, by sample id.

    Attributes:
        rows: question, answer and score, as metrics take them.
        details: what the run recorded of the step that asked.
        clusters: the unit that is resampled: samples of one image or study share it.
        cells: (modality, task type), ``unlabelled`` where a tag is missing.
        questions: a digest of what was asked and which answers are accepted.
        protocol: what two results must share to be comparable, flat: dotted path -> value.
        is_part: only some of the questions were asked, by design: those with images, without them.
    """

    benchmark: str
    scoring: str
    result: ResultRow | None
    rows: dict[str, GradedAnswer] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)
    cells: dict[str, tuple[str, str]] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    is_part: bool = False


def compared_models(runs: Sequence[str]) -> list[ModelResult]:
    """The models that ``RUN`` or ``RUN:MODEL`` name.

    A run without a model stands for its last one (what the run made); a run that is the only argument stands for
    all its models, baselines included.

    Raises:
        InfimedError: no such run, no such model in it, no graded model at all, or fewer than two models in all.
    """
    chosen: dict[tuple[str, str], tuple[Run, str]] = {}
    for text in runs:
        path, name = _split(text)
        run = open_run(path)
        for model in _chosen(text, run, name, alone=len(runs) == 1):
            chosen[str(run.directory.resolve()), model] = run, model
    if len(chosen) < 2:
        raise InfimedError("a comparison needs two models at least; name another RUN or RUN:MODEL")
    owns = [own_name(run.record, model) for run, model in chosen.values()]
    names = [
        own if own != model and owns.count(own) == 1 else f"{run.name}:{own}"
        for own, (run, model) in zip(owns, chosen.values(), strict=True)
    ]
    return [
        ModelResult(name if names.count(name) == 1 else f"{run.directory}:{own}", run, model)
        for name, own, (run, model) in zip(names, owns, chosen.values(), strict=True)
    ]


def _split(text: str) -> tuple[Path, str | None]:
    if Path(text).exists() or ":" not in text:
        return Path(text), None
    path, _, model = text.rpartition(":")
    return Path(path), model


def _chosen(text: str, run: Run, name: str | None, alone: bool) -> list[str]:
    models = list(dict.fromkeys(row.model for row in run.record.results))
    if not models:
        remedy = (
            f"it is {run.status}: run its file to the end"
            if run.record.config.get("evaluation")
            else "it needs an 'evaluation:' section"
        )
        raise InfimedError(f"{text}: no model has been graded in this run; {remedy}")
    if name is None:
        trained = [model for model in models if not is_baseline(model)]
        return models if alone else (trained or models)[-1:]
    if name not in models:
        raise InfimedError(f"{text}: no model '{name}' in this run; it has {', '.join(models)}")
    return [name]


def benchmarks_of(models: Iterable[ModelResult]) -> list[str]:
    """Every benchmark that one of the models answered, in order of appearance."""
    return list(dict.fromkeys(row.benchmark for one in models for row in one.run.results(model=one.model)))


def answers_of(result: ModelResult, benchmark: str, scoring: str | None) -> Answers | None:
    """A model's answers on a benchmark under ``scoring`` (default: the one that counts); ``None`` if it has none.

    Raises:
        InfimedError: the answers' file is missing or no answers' file.
    """
    run = result.run
    rows = run.results(benchmark, result.model, scoring)
    if not rows:
        return None
    scoring = rows[0].scoring
    whole = next((row for row in rows if row.scoring == scoring and not row.group), None)
    answers = Answers(benchmark, scoring, whole, is_part=result.model.endswith(IMAGE_BLIND))
    step = _step(result, benchmark)
    answers.protocol = _protocol(step, result.model, rows[0].version, scoring)
    answers.protocol["metric"] = headline_metric(list(rows[0].metrics))
    answers.details = dict(step.details) if step is not None else {}
    tag = run.cluster_by(benchmark)
    for row in run.answers(benchmark, result.model):
        name, tags = row.sample.id, row.sample.tags
        score = row.scores.get(scoring) or Score(status="unscored")
        answers.rows[name] = GradedAnswer(row.sample, row.answer, score)
        answers.clusters[name] = tags.get(tag) or name if tag else name
        answers.cells[name] = (tags.get("modality", "unlabelled"), tags.get("task_type", "unlabelled"))
        answers.questions[name] = _question_digest(row.sample)
    return answers


def _question_digest(sample: Sample) -> str:
    """What was asked: turns, options, accepted answers, and the content of media where it is known."""
    turns = [turn.model_dump(mode="json") for turn in sample.turns]
    media = [[medium.kind, medium.sha256, medium.options] for medium in sample.media]
    return digest(turns, sample.options, sample.references, media)[:16]


def _step(result: ModelResult, benchmark: str) -> StepRecord | None:
    """The step in which the model was asked; for a constant answer that of another model of its run."""
    run = result.run
    return run.step("evaluate", benchmark=benchmark, model=result.model) or next(
        iter(run.steps("evaluate", benchmark=benchmark)), None
    )


def _protocol(step: StepRecord | None, model: str, version: str, scoring: str) -> dict[str, Any]:
    """What two results must share. What a name tells (asked without images), what does not touch this scoring (the
    judges of others) and what only repeats (the seed of sampling) is no part of it."""
    recorded = step.details.get("protocol") if step is not None else None
    flat: dict[str, Any] = {"version": version, "scoring": scoring}
    if not isinstance(recorded, dict):
        return flat | {"protocol": "not recorded"}
    if not scoring.startswith("judge:"):
        recorded = {key: value for key, value in recorded.items() if key not in ("judges", "judging")}
    flat |= _flat(recorded)
    flat.pop("generation.seed", None)
    if model.endswith(IMAGE_BLIND):
        flat.pop("images", None)
    # Where the questions lie is no part of the protocol: the questions themselves are compared.
    flat.pop("benchmark.path", None)
    flat["version"] = version
    return flat


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = None if inner in ({}, []) else inner
    return flat


def differences(first: Answers, other: Answers) -> list[str]:
    """How two protocols differ, one line each: ``limit: None and 120``; empty where the two may be compared."""
    lines = []
    for key in dict.fromkeys([*first.protocol, *other.protocol]):
        ours, others = first.protocol.get(key), other.protocol.get(key)
        if ours != others:
            lines.append(f"{key}: {_shown(ours)} and {_shown(others)}")
    mine, theirs = first.questions, other.questions
    only_mine, only_theirs = (
        [name for name in mine if name not in theirs and not other.is_part],
        [name for name in theirs if name not in mine and not first.is_part],
    )
    if only_mine or only_theirs:
        lines.append(f"questions: {len(only_mine)} only in the first and {len(only_theirs)} only in the second")
    changed = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    if changed:
        lines.append(f"questions: {len(changed)} with another wording, image or accepted answer (first: {changed[0]})")
    return lines


def _shown(value: Any) -> str:
    text = "none" if value is None else canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
