"""The first steps of a run: read the sources, score every sample, select."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from infimed_core.components import Executor, JudgingScorer, MediaLoader, Reader, Scorer, Selector
from infimed_core.dataset import Dataset, store_media
from infimed_core.gates import gate_data
from infimed_core.record import digest, write_atomically
from infimed_core.steps import Outcome, RunState
from infimed_core.types import Answer, Candidate, Fault, JsonObject, Request, Sample, Score, Selection

SHARD_SIZE = 256
"""Samples that one scoring task takes."""

HISTOGRAM_BINS = 20
NUM_SHOWN = 12


@dataclass(frozen=True)
class Curated:
    """The run's samples and which of them are trained on."""

    dataset: Dataset
    kept: frozenset[str]
    dataset_digest: str
    digest: str


@dataclass(frozen=True)
class _ReadTask:
    reader: Reader
    name: str
    shard: str
    target: Path
    media_directory: Path

    def __call__(self) -> tuple[int, int]:
        num_samples = num_faults = 0
        samples_part = self.target.with_suffix(".samples")
        faults_part = self.target.with_suffix(".faults")
        with samples_part.open("w", encoding="utf-8") as samples, faults_part.open("w", encoding="utf-8") as faults:
            for row in self.reader.read(self.shard):
                fault = row if isinstance(row, Fault) else check_sample(row)
                if fault is None and isinstance(row, Sample):
                    tags = {"source": self.name, **row.tags}
                    row = store_media(row.model_copy(update={"tags": tags}), self.media_directory)
                    samples.write(row.model_dump_json() + "\n")
                    num_samples += 1
                elif fault is not None:
                    faults.write(fault.model_dump_json() + "\n")
                    num_faults += 1
        return num_samples, num_faults


def _call(task: _ReadTask) -> tuple[int, int]:
    return task()


def check_sample(sample: Sample) -> Fault | None:
    """Why a sample cannot be trained on, or ``None``: no turns, an empty text, a media index that points nowhere."""

    def fault(code: str, detail: str) -> Fault:
        return Fault(sample_id=sample.id, code=code, detail=detail)

    if not sample.turns:
        return fault("no_turns", "the sample has no turns; give it at least a user and an assistant turn")
    for number, turn in enumerate(sample.turns, start=1):
        if not turn.text.strip() and (turn.role == "assistant" or not turn.media_indices):
            return fault("empty_text", f"turn {number} ({turn.role}) has no text; fill it in or remove the sample")
        for index in turn.media_indices:
            if not 0 <= index < len(sample.media):
                return fault("no_such_media", f"turn {number} names media {index}, the sample has {len(sample.media)}")
    if sample.turns[-1].role != "assistant":
        return fault("no_answer", "the last turn is not the assistant's; there is nothing to learn from it")
    return None


def executor_of(state: RunState) -> Executor:
    """The executor that the run file names, or the default one."""
    section = state.plan.file.data
    assert section is not None
    found = state.plan.components.get("data.executor")
    if found is None:
        found = state.registry.find("executor", section.executor.use).model_validate(section.executor.settings)
    return cast(Executor, found)


def read_sources(state: RunState) -> tuple[Dataset, str]:
    """Read every source into one file of samples; rows that are none go to ``faults.jsonl`` with their reason."""
    section = state.plan.file.data
    assert section is not None
    readers = [state.plan.component(f"data.sources.{index}") for index in range(len(section.sources))]
    executor = executor_of(state)
    made_from = digest("read", 1, [[use.use, r.fingerprint()] for use, r in zip(section.sources, readers, strict=True)])

    def work(directory: Path) -> Outcome:
        tasks: list[_ReadTask] = []
        for use, reader in zip(section.sources, readers, strict=True):
            for shard in reader.shards():
                target = directory / f"part-{len(tasks):05d}"
                tasks.append(_ReadTask(reader, use.use, shard, target, state.media_directory))
        num_read = 0
        for done, (num_samples, num_faults) in enumerate(executor.map(_call, tasks), start=1):
            num_read += num_samples + num_faults
            state.tell("progress", "read", {"done": done, "total": len(tasks), "unit": "shard"})
        dropped = _join(directory, tasks)
        num_out = num_read - sum(dropped.values())
        return Outcome(num_in=num_read, num_out=num_out, dropped=dropped)

    artifact = state.step("read", made_from, work)
    return Dataset(artifact.directory / "samples.jsonl"), made_from


def _join(directory: Path, tasks: Sequence[_ReadTask]) -> dict[str, int]:
    """Join the parts in order; a second sample with an id that was there already is a fault."""
    seen: set[str] = set()
    dropped: Counter[str] = Counter()
    with (
        (directory / "samples.jsonl").open("w", encoding="utf-8") as samples,
        (directory / "faults.jsonl").open("w", encoding="utf-8") as faults,
    ):
        for task in tasks:
            for line in _lines(task.target.with_suffix(".samples")):
                identity = json.loads(line)["id"]
                if identity in seen:
                    fault = Fault(sample_id=identity, code="duplicate_id", detail="a sample before it has this id")
                    faults.write(fault.model_dump_json() + "\n")
                    dropped["duplicate_id"] += 1
                    continue
                seen.add(identity)
                samples.write(line)
            for line in _lines(task.target.with_suffix(".faults")):
                faults.write(line)
                dropped[json.loads(line)["code"]] += 1
            task.target.with_suffix(".samples").unlink()
            task.target.with_suffix(".faults").unlink()
    return dict(dropped)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        yield from stream


@dataclass(frozen=True)
class _ScoreTask:
    scorer: Scorer
    dataset: Dataset
    start: int
    stop: int
    media: MediaLoader
    target: Path

    def __call__(self) -> int:
        return self.work(lambda samples: self.scorer.score(samples, self.media))

    def work(self, score: Callable[[list[Sample]], list[Score]]) -> int:
        """Score this part, unless it stands."""
        if not self.target.exists():
            samples = [self.dataset[index] for index in range(self.start, self.stop)]
            scores = score(samples)
            if len(scores) != len(samples):
                raise ValueError(
                    f"{type(self.scorer).__name__} returned {len(scores)} scores for {len(samples)} samples"
                )
            lines = [
                json.dumps({"id": sample.id, "score": score.model_dump(mode="json")}) + "\n"
                for sample, score in zip(samples, scores, strict=True)
            ]
            write_atomically(self.target, "".join(lines))
        return self.stop - self.start


def _call_score(task: _ScoreTask) -> int:
    return task()


def _judge(state: RunState, task: _ScoreTask, identity: Mapping[str, str]) -> int:
    """Score a part by asking a model; every request says whether a person may be identifiable in it."""
    scorer = task.scorer
    assert isinstance(scorer, JudgingScorer)

    def score(samples: list[Sample]) -> list[Score]:
        tags = {s.id: {**s.tags, "identity": identity.get(s.id, "unchecked")} for s in samples}

        def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
            tagged = [r.model_copy(update={"tags": tags.get(r.sample_id, {"identity": "unchecked"})}) for r in requests]
            return state.named_models.ask(model or scorer.model, tagged)

        marked = [sample.model_copy(update={"tags": tags[sample.id]}) for sample in samples]
        return scorer.judge(marked, state.media, ask)

    return task.work(score)


def _note_identity(scorer: Scorer, scores: Mapping[str, Score], identity: dict[str, str]) -> None:
    """Keep what a scorer found out about people: one flag is enough, and a sample is clear only if it was looked at."""
    reasons = type(scorer).identity_reasons
    if not reasons:
        return
    for name, score in scores.items():
        if reasons & set(score.reasons):
            identity[name] = "flagged"
        elif identity.get(name) != "flagged" and score.parts.get(type(scorer).identity_part) is not None:
            identity[name] = "clear"


def score_samples(state: RunState, dataset: Dataset, made_from: str) -> tuple[list[dict[str, Score]], str]:
    """Score every sample with every scorer; parts that a killed run finished are not scored again."""
    section = state.plan.file.quality
    assert section is not None
    executor = executor_of(state)
    tables: list[dict[str, Score]] = []
    hashes: list[str] = []
    identity: dict[str, str] = {}
    for index, use in enumerate(section.scorers):
        scorer: Scorer = state.plan.component(f"quality.scorers.{index}")
        name = "score" if index == 0 else f"score-{use.use.replace('/', '-')}"
        hashed = digest("score", 1, made_from, scorer.identity())
        if isinstance(scorer, JudgingScorer):
            # the tags decide what may be sent where, so they are part of what the scores are made from
            hashed = digest(hashed, state.named_models.identity(scorer.model), hashes)

        def work(directory: Path, scorer: Scorer = scorer, name: str = name) -> Outcome:
            tasks = [
                _ScoreTask(
                    scorer,
                    dataset,
                    at,
                    min(at + SHARD_SIZE, len(dataset)),
                    state.media,
                    directory / f"part-{at:09d}.jsonl",
                )
                for at in range(0, len(dataset), SHARD_SIZE)
            ]
            done = 0
            if isinstance(scorer, JudgingScorer):
                counts: Iterable[int] = (_judge(state, task, identity) for task in tasks)
            else:
                counts = executor.map(_call_score, tasks)
            for count in counts:
                done += count
                state.tell("progress", name, {"done": done, "total": len(dataset), "unit": "sample"})
            scores = dict(_read_scores(directory))
            return Outcome(num_in=len(dataset), num_out=len(scores), details=_describe_scores(scorer, dataset, scores))

        artifact = state.step(name, hashed, work, keep=True)
        tables.append(dict(_read_scores(artifact.directory)))
        _note_identity(scorer, tables[-1], identity)
        hashes.append(hashed)
    return tables, digest(hashes)


def _read_scores(directory: Path) -> Iterator[tuple[str, Score]]:
    for part in sorted(directory.glob("part-*.jsonl")):
        with part.open(encoding="utf-8") as lines:
            for line in lines:
                body = json.loads(line)
                yield body["id"], Score.model_validate(body["score"])


def _describe_scores(scorer: Scorer, dataset: Dataset, scores: dict[str, Score]) -> JsonObject:
    """Distributions, reasons and the samples at both ends, for the report."""
    dimensions = {}
    for name in ("composite", *type(scorer).dimensions):
        values = [s.value if name == "composite" else s.parts.get(name) for s in scores.values()]
        known = [value for value in values if value is not None]
        histogram = [0] * HISTOGRAM_BINS
        for value in known:
            histogram[min(int(value * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
        mean = sum(known) / len(known) if known else None
        dimensions[name] = {"histogram": histogram, "num_null": len(values) - len(known), "mean": mean}
    reasons = Counter(reason for score in scores.values() for reason in score.reasons)
    rows = {identity: row for row, identity in enumerate(dataset.ids)}
    ranked = sorted((score.value, identity) for identity, score in scores.items() if score.value is not None)
    unscored = sorted(identity for identity, score in scores.items() if score.value is None)

    def show(identities: Iterable[str]) -> list[dict[str, object]]:
        return [
            {
                "sample": dataset[rows[identity]].model_dump(mode="json"),
                "score": scores[identity].model_dump(mode="json"),
            }
            for identity in identities
        ]

    return {
        "dimensions": dimensions,
        "reasons": dict(reasons.most_common()),
        "status": dict(Counter(score.status for score in scores.values())),
        "worst": show([*unscored[:4], *(identity for _, identity in ranked[:NUM_SHOWN])]),
        "best": show(identity for _, identity in reversed(ranked[-NUM_SHOWN:])),
    }


def select_samples(
    state: RunState, dataset: Dataset, scores: dict[str, Score], gated: Mapping[str, tuple[str, ...]], made_from: str
) -> tuple[frozenset[str], str]:
    """Keep what the selector keeps; every reject is written with its reasons."""
    selector: Selector = state.plan.component("quality.select")
    hashed = digest("select", 1, made_from, selector.identity())

    def work(directory: Path) -> Outcome:
        candidates = [
            Candidate(id=identity, tags=tags, score=scores[identity])
            for identity, tags in zip(dataset.ids, dataset.tags, strict=True)
            if identity not in gated
        ]
        selection = selector.select(candidates)
        if len(selection.kept) + len(selection.rejected) != len(candidates):
            raise ValueError(
                f"{type(selector).__name__} kept {len(selection.kept)} and rejected {len(selection.rejected)} "
                f"of {len(candidates)} samples: some are lost or counted twice"
            )
        write_atomically(directory / "selection.json", selection.model_dump_json())
        first = Counter(reasons[0] if reasons else "unstated" for reasons in selection.rejected.values())
        alone = Counter(reasons[0] for reasons in selection.rejected.values() if len(reasons) == 1)
        kept = set(selection.kept)
        by_tag: dict[str, dict[str, dict[str, int]]] = {"modality": defaultdict(lambda: {"in": 0, "kept": 0})}
        for candidate in candidates:
            cell = by_tag["modality"][candidate.tags.get("modality", "unlabelled")]
            cell["in"] += 1
            cell["kept"] += candidate.id in kept
        details: JsonObject = {
            "rejected_by": dict(Counter(r for reasons in selection.rejected.values() for r in reasons).most_common()),
            "rejected_by_alone": dict(alone.most_common()),
            "by_tag": {tag: dict(sorted(cells.items())) for tag, cells in by_tag.items()},
        }
        return Outcome(num_in=len(candidates), num_out=len(selection.kept), dropped=dict(first), details=details)

    artifact = state.step("select", hashed, work)
    text = (artifact.directory / "selection.json").read_text(encoding="utf-8")
    return frozenset(Selection.model_validate_json(text).kept), hashed


def curate(state: RunState) -> Curated:
    """Read, put the data before the gates, then score and select where the run file has a ``quality:`` section."""
    dataset, hashed = read_sources(state)
    gated, _ = gate_data(state, dataset, hashed, executor_of(state))
    passed = frozenset(identity for identity in dataset.ids if identity not in gated)
    passed_hash = digest(hashed, sorted(gated)) if gated else hashed
    if state.plan.file.quality is None:
        return Curated(dataset, passed, hashed, passed_hash)
    tables, score_hash = score_samples(state, dataset, hashed)
    if state.plan.file.quality.select is None:
        return Curated(dataset, passed, hashed, passed_hash)
    made_from = digest(score_hash, sorted(gated)) if gated else score_hash
    kept, select_hash = select_samples(state, dataset, tables[0], gated, made_from)
    return Curated(dataset, kept, hashed, digest(hashed, select_hash))
