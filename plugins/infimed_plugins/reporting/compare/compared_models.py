"""What enters a comparison: models of finished runs, their answers, and the protocol each was asked under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_core.api.component import canonical_json
from infimed_core.api.data import Sample, Score
from infimed_core.api.evaluation import GradedAnswer
from infimed_core.api.models import Answer
from infimed_core.api.reporting import ResultRow, RunRecord, StepRecord
from infimed_core.errors import InfimedError
from infimed_core.evaluate.paired_comparison import headline_metric
from infimed_core.plugins import Registry
from infimed_core.store.record import read_record
from infimed_plugins.reporting.page.tables import is_baseline


@dataclass(frozen=True)
class ModelResult:
    """One model of one run; ``label`` is unique in a comparison."""

    label: str
    directory: Path
    model: str
    record: RunRecord


@dataclass
class Answers:
    """One entrant's graded answers on one benchmark under one scoring, by sample id.

    Attributes:
        rows: question, answer and score, as metrics take them.
        details: what the run recorded of the step that asked.
        clusters: the unit that is resampled: samples of one image or study share it.
        cells: (modality, task type), ``unlabelled`` where a tag is missing.
        questions: a digest of what was asked and which answers are accepted.
        protocol: what two results must share to be comparable, flat: dotted path -> value.
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


def find_entrants(runs: Sequence[str]) -> list[ModelResult]:
    """The models that ``RUN`` or ``RUN:MODEL`` name.

    A run without a model stands for its last one (what the run made); a run that is the only argument stands for
    all its models, baselines included.

    Raises:
        InfimedError: no such run, no such model in it, no graded model at all, or fewer than two models in all.
    """
    found: list[tuple[Path, str, RunRecord]] = []
    for text in runs:
        path, name = _split(text)
        record = read_record(path)
        directory = path if path.is_dir() else path.parent
        models = list(dict.fromkeys(row.model for row in record.results))
        if not models:
            remedy = (
                f"it is {record.status}: run its file to the end"
                if record.config.get("evaluation")
                else "it needs an 'evaluation:' section"
            )
            raise InfimedError(f"{text}: no model has been graded in this run; {remedy}")
        if name is None:
            trained = [model for model in models if not is_baseline(model)]
            chosen = models if len(runs) == 1 else (trained or models)[-1:]
        elif name in models:
            chosen = [name]
        else:
            raise InfimedError(f"{text}: no model '{name}' in this run; it has {', '.join(models)}")
        found += [(directory, model, record) for model in chosen]
    found = list(
        {(str(directory.resolve()), model): (directory, model, record) for directory, model, record in found}.values()
    )
    if len(found) < 2:
        raise InfimedError("a comparison needs two models at least; name another RUN or RUN:MODEL")
    names = [f"{record.name}:{model}" for _, model, record in found]
    return [
        ModelResult(name if names.count(name) == 1 else f"{directory}:{model}", directory, model, record)
        for name, (directory, model, record) in zip(names, found, strict=True)
    ]


def _split(text: str) -> tuple[Path, str | None]:
    if Path(text).exists() or ":" not in text:
        return Path(text), None
    path, _, model = text.rpartition(":")
    return Path(path), model


def benchmarks_of(entrants: Iterable[ModelResult]) -> list[str]:
    """Every benchmark that an entrant answered, in order of appearance."""
    return list(
        dict.fromkeys(row.benchmark for one in entrants for row in one.record.results if row.model == one.model)
    )


def read_answers_of(entrant: ModelResult, benchmark: str, scoring: str | None, registry: Registry) -> Answers | None:
    """An entrant's answers on a benchmark under ``scoring`` (default: the one that counts); ``None`` if it has none.

    Raises:
        InfimedError: the answers' file is missing or no answers' file.
    """
    rows = [row for row in entrant.record.results if (row.benchmark, row.model) == (benchmark, entrant.model)]
    rows = [row for row in rows if scoring is None or row.scoring == scoring]
    if not rows:
        return None
    scoring = rows[0].scoring
    whole = next((row for row in rows if row.scoring == scoring and not row.group), None)
    found = Answers(benchmark, scoring, whole)
    step = _step(entrant, benchmark)
    found.protocol = _protocol(step, rows[0].version, scoring)
    found.protocol["metric"] = headline_metric(list(rows[0].metrics))
    found.details = dict(step.details) if step is not None else {}
    tag = _cluster_tag(entrant, step, benchmark, registry)
    path = entrant.directory / "answers" / f"{benchmark}--{entrant.model}.jsonl"
    for number, line in _lines(path):
        try:
            sample, tags = line["sample"], line["sample"].get("tags") or {}
            name = str(sample["id"])
            found.rows[name] = GradedAnswer(
                Sample.model_validate(sample),
                Answer.model_validate(line["answer"]),
                Score.model_validate(line["scores"].get(scoring) or {"status": "unscored"}),
            )
            found.clusters[name] = str(tags.get(tag) or name) if tag else name
            found.cells[name] = (
                str(tags.get("modality", "unlabelled")), str(tags.get("task_type", "unlabelled")),
            )  # fmt: skip
            found.questions[name] = _digest(sample)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InfimedError(f"{path}:{number}: not a graded answer ({type(error).__name__}: {error})") from None
    return found


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                yield number, json.loads(line)
    except FileNotFoundError:
        raise InfimedError(f"{path}: no such file; a comparison reads the answers beside run.json") from None
    except ValueError as error:
        raise InfimedError(f"{path}: not a file of graded answers: {error}") from None


def _digest(sample: Mapping[str, Any]) -> str:
    """What was asked: turns, options, accepted answers, and the content of media where it is known."""
    media = [[one.get("kind"), one.get("sha256"), one.get("options")] for one in sample.get("media") or ()]
    body = [sample["turns"], sample.get("options") or [], sample.get("references") or [], media]
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()[:16]


def _step(entrant: ModelResult, benchmark: str) -> StepRecord | None:
    """The step in which the entrant was asked; for a constant answer that of another model of its run."""
    named = f"evaluate-{entrant.model}-{benchmark}"
    steps = {step.name: step for step in entrant.record.steps}
    if named in steps:
        return steps[named]
    others = (row.model for row in entrant.record.results if row.benchmark == benchmark)
    return next((steps[name] for model in others if (name := f"evaluate-{model}-{benchmark}") in steps), None)


def _protocol(step: StepRecord | None, version: str, scoring: str) -> dict[str, Any]:
    recorded = step.details.get("protocol") if step is not None else None
    flat: dict[str, Any] = {"version": version, "scoring": scoring}
    if not isinstance(recorded, dict):
        return flat | {"protocol": "not recorded"}
    flat |= _flat(recorded)
    # Where the questions lie is no part of the protocol: the questions themselves are compared.
    flat.pop("benchmark.path", None)
    flat["version"] = version
    return flat


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= _flat(inner, f"{prefix}{key}.")
        else:
            found[prefix + key] = None if inner in ({}, []) else inner
    return found


def _cluster_tag(entrant: ModelResult, step: StepRecord | None, benchmark: str, registry: Registry) -> str:
    recorded = step.details.get("cluster_by") if step is not None else None
    if isinstance(recorded, str):
        return recorded
    # Runs made before the record held the tag: the benchmark itself is asked, where it is installed.
    section = entrant.record.config.get("evaluation")
    uses = section.get("benchmarks") if isinstance(section, dict) else None
    for use in uses if isinstance(uses, list) else ():
        if isinstance(use, dict) and str(use.get("use", "")).rsplit("/", 1)[-1] == benchmark:
            try:
                made = registry.find("benchmark", str(use["use"])).model_validate(use.get("with") or {})
            except (InfimedError, ValueError):
                return ""
            return str(getattr(made, "cluster_by", ""))
    return ""


def differences(first: Answers, other: Answers) -> list[str]:
    """How two protocols differ, one line each: ``limit: None and 120``; empty where the two may be compared."""
    found = []
    for key in dict.fromkeys([*first.protocol, *other.protocol]):
        one, two = first.protocol.get(key), other.protocol.get(key)
        if one != two:
            found.append(f"{key}: {_shown(one)} and {_shown(two)}")
    mine, theirs = first.questions, other.questions
    only_mine, only_theirs = (
        [name for name in mine if name not in theirs],
        [name for name in theirs if name not in mine],
    )
    if only_mine or only_theirs:
        found.append(f"questions: {len(only_mine)} only in the first and {len(only_theirs)} only in the second")
    changed = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    if changed:
        found.append(f"questions: {len(changed)} with another wording, image or accepted answer (first: {changed[0]})")
    return found


def _shown(value: Any) -> str:
    text = "none" if value is None else canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
