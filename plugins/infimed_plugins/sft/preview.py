"""A sample of a run file as the model sees it: found in the run's data and plan, or in the sources before a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from infimed_core import (
    DataError,
    Encoded,
    Encoder,
    Fault,
    InfimedError,
    MediaLoader,
    Model,
    Packer,
    Plan,
    Reader,
    Registry,
    ResolutionScheduler,
    Sample,
    Stage,
    Trainer,
    encode_sample,
)
from infimed_core.records import Run, open_run

_DECISIVE = ("data", "quality", "model", "resolution", "packing", "training")
"""Sections of a run file on which the rows of a stage depend, beside the seed."""
MOST_TEXTS = 2000
"""Samples whose texts make the vocabulary of a model that makes its own, before there is a run."""


@dataclass(frozen=True)
class Place:
    """Where a stage trains on a sample. ``step`` and ``row`` (of the step) count from 0; ``None`` before a run."""

    stage: str
    cap: int | None
    step: int | None = None
    num_steps: int = 0
    row: int = 0
    num_rows: int = 0
    beside: int = 0
    more: int = 0
    """How often the stage draws the sample again."""


@dataclass(frozen=True)
class Preview:
    """A sample, where it is trained on, and what the model gets.

    Attributes:
        images: of each image (height, width) by its header, (height, width) as the model sees it where that is known,
            and its visual tokens.
        loss: bool [L], which tokens are predicted and learned.
        notes: what a person should know besides: that there is no plan yet, why a sample is not trained on.
    """

    sample: Sample
    places: tuple[Place, ...]
    images: tuple[tuple[tuple[int, int], tuple[int, int] | None, int], ...]
    encoded: Encoded | None
    loss: NDArray[np.bool_]
    encoder: Encoder
    notes: tuple[str, ...]


def make_preview(plan: Plan, registry: Registry, sample_id: str | None, stage: str | None) -> Preview:
    """Preview the sample ``sample_id``, or the first that the stage (by default the first stage) trains on.

    Raises:
        InfimedError: the file trains nothing, or has no such sample or stage.
    """
    trainer = plan.components.get("training")
    if not isinstance(trainer, Trainer):
        raise InfimedError(f"{plan.source}: has no 'training:', so no sample is trained on")
    stages = {one.name: one for one in trainer.stage_list}
    if stage is not None and stage not in stages:
        raise InfimedError(f"{plan.source}: has no stage '{stage}'; it has {', '.join(stages)}")
    if stage is not None:
        stages = {stage: stages[stage]}
    media = registry.media_loader(plan.file.data.modalities if plan.file.data is not None else None)
    run, why = _planned_run(plan, list(stages))
    if run is not None:
        return _of_run(plan, run, stages, sample_id, media)
    return _of_sources(plan, stages, sample_id, media, why)


def _planned_run(plan: Plan, stages: list[str]) -> tuple[Run | None, str]:
    """The run of this file where it has planned these stages with the settings as they are now; else why not."""
    try:
        run = open_run(Path(plan.file.run.directory) / plan.file.run.name)
    except InfimedError:
        return None, "this file has not been run"
    made, wanted = run.record.config, plan.as_json()
    changed = [name for name in _DECISIVE if _without_until(made.get(name)) != _without_until(wanted.get(name))]
    if changed or run.record.seed != plan.file.run.seed:
        return None, f"{', '.join(changed) or 'the seed'} changed since the run was made"
    if any(run.stage_plan(stage) is None for stage in stages):
        return None, "the run has not planned its stages yet"
    return run, ""


def _without_until(section: Any) -> Any:
    """A section as it is, but for where a run was to stop."""
    settings = section.get("with") if isinstance(section, dict) else None
    if not isinstance(settings, dict):
        return section
    return {**section, "with": {name: value for name, value in settings.items() if name != "until"}}


def _of_run(plan: Plan, run: Run, stages: Mapping[str, Stage], sample_id: str | None, media: MediaLoader) -> Preview:
    plans = {name: of for name in stages if (of := run.stage_plan(name)) is not None}
    if sample_id is None:
        first = next(iter(plans.values()))
        row = int(first.rows[first.packs[0][0]])
        sample = run.dataset[row]
    else:
        found = next(((n, one) for n, one in enumerate(run.dataset) if one.id == sample_id), None)
        if found is None:
            raise InfimedError(
                f"the run read no sample '{sample_id}' ({len(run.dataset):,} samples)" + _fault(run, sample_id)
            )
        row, sample = found
    places, notes = [], []
    for name, of in plans.items():
        draws = np.flatnonzero(np.asarray(of.rows) == row)
        packed = draws[np.asarray(of.dropped)[draws] == 0]
        if len(packed):
            places.append(_place(name, of, packed))
        elif len(draws):
            notes.append(f"stage '{name}' leaves it out: {of.drop_reason(int(draws[0]))}")
    if not places:
        notes.append("no stage trains on it" + _rejection(run, sample.id))
    model = cast(Model, plan.component("model"))
    step = run.step("model")
    encoder = model.encoder(run.directory / str(step.details["checkpoint"])) if step is not None else None
    if encoder is None:
        raise InfimedError(f"{run.directory}: the base model is not prepared")
    cap = places[0].cap if places else _last_cap(plan, next(iter(stages)))
    return _encoded(sample, encoder, media, cap, places, notes)


def _place(stage: str, of: Any, draws: NDArray[np.int64]) -> Place:
    pack_of = np.repeat(np.arange(len(of.packs)), np.diff(of.packs.offsets))
    positions = np.flatnonzero(np.isin(of.packs.members, draws))
    at = positions[np.argmin(pack_of[positions])]  # the draw that is trained first
    pack = int(pack_of[at])
    step = int(np.searchsorted(of.steps, pack, side="right")) - 1
    cap = int(of.caps[of.packs.members[at]])
    return Place(
        stage,
        None if cap < 0 else cap,
        step,
        len(of.steps) - 1,
        pack - int(of.steps[step]),
        int(of.steps[step + 1] - of.steps[step]),
        len(of.packs[pack]) - 1,
        len(draws) - 1,
    )


def _rejection(run: Run, sample_id: str) -> str:
    for row in run.samples():
        if row.sample.id == sample_id:
            reasons = [*row.filtered, *row.rejected]
            return f": {', '.join(reasons)}" if reasons else ": it is in no mix, was held out, or was not drawn"
    return ""


def _fault(run: Run, sample_id: str) -> str:
    fault = next((one for one in run.faults() if one.sample_id == sample_id), None)
    return f"; {fault.where}: {fault.code}: {fault.detail}" if fault is not None else ""


def _of_sources(
    plan: Plan, stages: Mapping[str, Stage], sample_id: str | None, media: MediaLoader, why: str
) -> Preview:
    """Without a plan: the sample as the sources give it, at the resolution that its stage ends with."""
    tags_seen = 0
    sample: Sample | None = None
    wanted: list[str] = []
    for one in _rows(plan):
        if isinstance(one, Fault):
            if one.sample_id == sample_id:
                why = f"{one.where}: {one.code}: {one.detail}"
                raise InfimedError(f"{plan.source}: '{sample_id}' is no sample that can be trained on; {why}")
            continue
        tags_seen += 1
        wanted = [
            name for name, stage in stages.items() if not stage.mix or any(m.matches(one.tags) for m in stage.mix)
        ]
        if one.id == sample_id or (sample_id is None and wanted):
            sample = one
            break
    if sample is None:
        what = f"no sample '{sample_id}'" if sample_id is not None else "no sample that a stage's mix matches"
        raise InfimedError(f"{plan.source}: its sources hold {what} ({tags_seen:,} samples read)")
    notes = [f"step and row are decided when the run plans its stages ({why})"]
    if not wanted:
        notes.append("it is in the mix of no stage")
    model = cast(Model, plan.component("model"))
    with tempfile.TemporaryDirectory() as folder:
        own = sample
        some = lambda: (turn.text for one in chain([own], islice(_read(plan), MOST_TEXTS)) for turn in one.turns)  # noqa: E731
        checkpoint = _prepared(plan) or model.prepare(Path(folder) / "checkpoint", some, plan.file.run.seed)
        if checkpoint is None:
            raise InfimedError(f"{plan.source}: its model has no checkpoint, so it cannot be trained")
        if Path(folder) in checkpoint.parents:
            notes.append("the model makes its vocabulary of the run's texts; here it is made of a part of them")
        encoder = model.encoder(checkpoint)
        caps = {name: _last_cap(plan, name) for name in wanted}
        places = [Place(name, cap) for name, cap in caps.items()]
        cap = places[0].cap if places else _last_cap(plan, next(iter(stages)))
        made = _encoded(sample, encoder, media, cap, places, notes)
        encoder.text(np.zeros(0, dtype=np.int64))  # reads the vocabulary while it is there
    room = cast(Packer, _part(plan, (wanted or list(stages))[0], "packing")).row_tokens
    if made.encoded is not None and len(made.encoded) > room:
        more = (
            f"it has {len(made.encoded):,} tokens and a row {room:,}: its images are shrunk to fit, or it is left out"
        )
        return Preview(**{**vars(made), "notes": (*made.notes, more)})
    return made


def _prepared(plan: Plan) -> Path | None:
    """The base model that an earlier run of the file made, if it is the one that the file names now."""
    try:
        run = open_run(Path(plan.file.run.directory) / plan.file.run.name)
    except InfimedError:
        return None
    step = run.step("model")
    if run.artifact(step) is None or run.record.config.get("model") != plan.as_json().get("model"):
        return None
    assert step is not None
    path = run.directory / str(step.details.get("checkpoint"))  # of a checkpoint from elsewhere the path is whole
    return path if (path / "config.json").is_file() or (path / "adapter_config.json").is_file() else None


def _read(plan: Plan) -> Iterator[Sample]:
    """Samples of the run's sources in order, as far as they can be read."""
    return (row for row in _rows(plan) if not isinstance(row, Fault))


def _rows(plan: Plan) -> Iterator[Sample | Fault]:
    """Rows of the run's sources in order."""
    section = plan.file.data
    for number, use in enumerate(section.sources if section is not None else ()):
        reader = cast(Reader, plan.component(f"data.sources.{number}"))
        for shard in reader.shards():
            for row in reader.read(shard):
                named = {"source": use.use, **row.tags} if isinstance(row, Sample) else {}
                yield row.model_copy(update={"tags": named}) if isinstance(row, Sample) else row


def _part(plan: Plan, stage: str, name: str) -> Any:
    return plan.components.get(f"stages.{stage}.{name}") or plan.components[name]


def _last_cap(plan: Plan, stage: str) -> int | None:
    phases = cast(ResolutionScheduler, _part(plan, stage, "resolution")).plan(1000)
    return phases[-1].max_visual_tokens


def _encoded(
    sample: Sample, encoder: Encoder, media: MediaLoader, cap: int | None, places: list[Place], notes: list[str]
) -> Preview:
    encoded: Encoded | None = None
    images: list[tuple[tuple[int, int], tuple[int, int] | None, int]] = []
    loss = np.zeros(0, dtype=np.bool_)
    try:
        encoded = encode_sample(sample, encoder, media, cap)
        loss = np.zeros(len(encoded), dtype=np.bool_)
        loss[1:] = encoded.labels[:-1] >= 0  # a label stands where its token is predicted, one before it
        used = [sample.media[i] for turn in sample.turns for i in turn.media_indices]
        for item, tokens in zip(used, encoded.visual_tokens, strict=True):
            height, width = (int(side) for side in media.probe(item)[:2])
            images.append(((height, width), encoder.decode_size(height, width, cap), tokens))
    except DataError as error:
        notes = [*notes, f"it cannot be trained on: {error.code}: {error}"]
    return Preview(sample, tuple(places), tuple(images), encoded, loss, encoder, tuple(notes))
