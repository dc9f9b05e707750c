"""The middle of a run: the base model, the index of lengths, and for every stage its plan and its training."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject, with_versions
from infimed_core.api.models import Model, TrainableModel
from infimed_core.api.training import Measurements, Mix, Stage, Trainer, TrainingContext
from infimed_core.contracts import checked_facts
from infimed_core.errors import InfimedError
from infimed_core.models.checkpoints import Checkpoint, load_checkpoint
from infimed_core.plan.index import Index
from infimed_core.plan.indexing import index_samples
from infimed_core.plan.rows import PlannedBatches
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.store.artifacts import digest
from infimed_core.store.curated import Curated
from infimed_core.store.dataset import Dataset
from infimed_core.store.steps import Outcome, RunState
from infimed_core.train.isolation import isolation_of
from infimed_core.train.stage_planning import plan_inputs, plan_rows
from infimed_core.train.validation import HELD_OUT, StageMeasurements, choose, held_out_samples


def _tell_unused(
    state: RunState, index: Index, stages: Sequence[Stage], selected: NDArray[np.bool_], curated: Curated
) -> None:
    """Say how many selected samples are in no stage's mix, so that nothing trains on them."""
    used = np.zeros(len(selected), dtype=bool)
    for stage in stages:
        for mix in stage.mix or (Mix(),):
            used |= index.matching(mix)
    left = np.flatnonzero(selected & ~used)
    if len(left):
        first = curated.dataset[int(left[0])]
        tags = ", ".join(f"{tag}: {value}" for tag, value in sorted(first.tags.items()))
        text = (
            f"{len(left):,} of {int(selected.sum()):,} selected samples are in the mix of no stage; nothing trains on "
        )
        state.tell("message", "", {"text": f"{text}them (first '{first.id}' with the tags {{{tags}}})"})


def train_stages(state: RunState, curated: Curated, base: Checkpoint) -> list[Checkpoint]:
    """Train through every stage; each starts from the checkpoint before it."""
    trainer: Trainer = state.plan.component("training")
    model_source: Model = state.plan.component("model")
    if not type(model_source).trainable or base.directory is None:
        raise InfimedError(
            "the model of this run cannot be trained; remove the 'training:' section or name another model"
        )
    index, index_hash = index_samples(state, curated.dataset, curated.dataset_digest, base)
    allowed = curated.kept
    isolation = isolation_of(state, curated.dataset, index, allowed, base)
    held = held_out_samples(index, trainer.stage_list)
    # Every stage is planned before the first is trained: that one cannot be is told before hours are spent.
    planned: list[tuple[Path, Path | None]] = []
    for position, stage in enumerate(trainer.stage_list):
        chosen = plan_inputs(state, index, index_hash, stage, allowed, base.directory, position, isolation)
        planned.append((plan_rows(state, curated, stage, chosen, held), choose(state, stage, chosen)))
    _tell_unused(state, index, trainer.stage_list, allowed & index.usable & ~held, curated)
    checkpoints: list[Checkpoint] = []
    before = base
    loaded: TrainableModel | None = None
    for position, (stage, (plan_file, measured)) in enumerate(zip(trainer.stage_list, planned, strict=True)):
        plan = StagePlan.load(plan_file)
        result = with_versions(trainer, trainer.result_identity(stage))
        inputs_digest = digest("train", 1, plan.plan_hash, result, before.digest)
        after = before

        def work(
            directory: Path,
            stage: Stage = stage,
            plan: StagePlan = plan,
            plan_file: Path = plan_file,
            before: Checkpoint = before,
            position: int = position,
            measured: Path | None = measured,
        ) -> Outcome:
            nonlocal loaded
            fresh = loaded is None
            if loaded is None:
                loaded = cast(TrainableModel, load_checkpoint(model_source, before.directory))
            scratch = state.path / "state" / f"{stage.name}-{directory.name.rsplit('-', 1)[1]}"
            task: JsonObject = {
                "kind": "train",
                "stage": position,
                "dataset": str(curated.dataset.path),
                "plan": str(plan_file.absolute()),
                "before": str(cast(Path, before.directory).absolute()) if fresh else None,
                "scratch": str(scratch.absolute()),
                "seed": state.seed * 1000 + position,
                "kept": str(directory.with_name(f"{directory.name}.steps").absolute()),
                "measured": str(measured.absolute()) if measured is not None else None,
            }
            return _train(state, curated, trainer, loaded, stage, plan, directory, task)

        artifact = state.step(
            f"train-{stage.name}", inputs_digest, work, kind="train", subject={"stage": stage.name},
            place="checkpoints", prefix=stage.name, checksums=True,
        )  # fmt: skip
        # Only now that the checkpoint is sealed; a kill before leaves the state from which it is written again.
        _clear_states(state.path / "state", stage.name)
        if state.directory.record.steps[-1].status == "reused":
            loaded = None  # weights in memory, if any, are those of an earlier stage
            _tell_other_measurements(state, stage, artifact.directory)
        after = Checkpoint(stage.name, artifact.directory, inputs_digest)
        checkpoints.append(after)
        before = after
        if state.stopped.is_set():
            raise KeyboardInterrupt
    return checkpoints


def _train(
    state: RunState,
    curated: Curated,
    trainer: Trainer,
    model: TrainableModel,
    stage: Stage,
    plan: StagePlan,
    directory: Path,
    task: JsonObject,
) -> Outcome:
    packable, verdict = model.can_pack()
    if not packable and not plan.padded:
        raise InfimedError(
            f"stage '{stage.name}': samples packed into one row of this model would see each other ({verdict}); "
            "set 'packing: {use: padded}'"
        )
    scratch = Path(task["scratch"])
    _tell_trained_anew(state, stage, directory, scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    measurements = _measurements(state, stage, task, curated.dataset, model)
    emit = state.emitter(f"train-{stage.name}")
    context = TrainingContext(scratch, task["seed"], emit, state.stopped, measurements, Path(task["kept"]))
    batches = PlannedBatches(curated.dataset, plan, model.encoder, state.media)
    state.ranks.give(task)
    with state.stop_softly():
        returned = trainer.train(model, batches, stage, context)
    facts, lines = checked_facts(trainer, returned)
    for text in lines:
        state.tell("message", f"train-{stage.name}", {"text": text})
    state.ranks.collect()
    try:
        model.save(directory)
    except Exception as error:
        # safetensors reports a full disk as its own error type, not as an OSError.
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        shutil.rmtree(directory, ignore_errors=True)
        raise InfimedError(
            f"{directory}: the checkpoint of stage '{stage.name}' could not be written ({error}); the training state "
            f"in {scratch} is kept: free disk space and run the same command again"
        ) from error
    if stage.evaluate is not None:
        if "evaluations" not in facts:
            text = f"stage '{stage.name}': its trainer measures nothing while it trains, so 'evaluate' had no effect"
            state.tell("message", f"train-{stage.name}", {"text": text})
        facts = {**facts, "evaluate": stage.evaluate.model_dump(mode="json")}
    dropped = {str(k): int(cast(int, v)) for k, v in cast(JsonObject, facts.get("dropped") or {}).items()}
    num_out = int(cast(int, facts.get("samples", 0)))
    return Outcome(
        num_out + sum(dropped.values()), num_out, dropped, {**facts, "model": model.describe(), "isolation": verdict}
    )


def _measurements(
    state: RunState, stage: Stage, task: JsonObject, dataset: Dataset, model: TrainableModel
) -> Measurements | None:
    if task["measured"] is None:
        return None
    directory = Path(task["measured"])
    rows = None
    if (directory / HELD_OUT).exists():
        rows = PlannedBatches(dataset, StagePlan.load(directory / HELD_OUT), model.encoder, state.media)
    return StageMeasurements(state, stage, directory, rows)


def _tell_trained_anew(state: RunState, stage: Stage, directory: Path, scratch: Path) -> None:
    """Say before a stage starts at step 0 that an earlier training of it stands, made with other settings or rows."""
    if scratch.exists():
        return  # it goes on from its own state, which the trainer tells
    places = [*(state.path / "checkpoints").glob(f"{stage.name}-*"), *(state.path / "state").glob(f"{stage.name}-*")]
    others = [str(path) for path in places if path != directory and path.name.rsplit("-", 1)[0] == stage.name]
    if others:
        text = (
            f"stage '{stage.name}' is trained anew from step 0: its settings, its plan, the seed or the model before "
            f"it are not those of {', '.join(sorted(others))}; checkpoints stay, states go when the new training is "
            "finished; to go on from there, undo the change, or name a kept checkpoint in continue_from"
        )
        state.tell("message", f"train-{stage.name}", {"text": text})


def _clear_states(states: Path, stage: str) -> None:
    """Remove the states of a stage that is finished, those of other settings too, and the folder once it is empty."""
    for path in states.glob(f"{stage}-*"):
        if path.name.rsplit("-", 1)[0] == stage:
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        states.rmdir()


def _tell_other_measurements(state: RunState, stage: Stage, checkpoint: Path) -> None:
    """Say so where a stage stands that was measured otherwise than the run file wants now."""
    wanted = stage.evaluate.model_dump(mode="json") if stage.evaluate is not None else None
    if wanted is not None and state.directory.record.steps[-1].details.get("evaluate") != wanted:
        text = (
            f"stage '{stage.name}' was trained before, measured otherwise or not at all; 'evaluate' does not change "
            f"weights, so it is not trained again: remove {checkpoint} to train and measure it anew"
        )
        state.tell("message", f"train-{stage.name}", {"text": text})


def train_along(state: RunState, task: JsonObject, model: TrainableModel | None) -> TrainableModel:
    """The part of a process that is not the first in the training of a stage; returns the model in memory.

    Args:
        task: what ``train_stages`` gave the other processes.
        model: what the stage before left in memory.
    """
    trainer: Trainer = state.plan.component("training")
    source: Model = state.plan.component("model")
    if task["before"] is not None or model is None:
        model = cast(TrainableModel, source.load(Path(task["before"])))
    stage, dataset = trainer.stage_list[task["stage"]], Dataset(Path(task["dataset"]))
    batches = PlannedBatches(dataset, StagePlan.load(Path(task["plan"])), model.encoder, state.media)
    measurements = _measurements(state, stage, task, dataset, model)
    scratch = Path(task["scratch"])
    emit = lambda kind, payload: None  # noqa: E731
    context = TrainingContext(scratch, task["seed"], emit, state.stopped, measurements, Path(task["kept"]))
    with state.stop_softly():
        trainer.train(model, batches, stage, context)
    return model
