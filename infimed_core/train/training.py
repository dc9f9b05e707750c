"""The stages of a run: all are planned, then each is trained from the checkpoint before it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject, with_versions
from infimed_core.api.models import Model, TrainableModel
from infimed_core.api.training import Mix, Stage, Trainer, TrainingContext
from infimed_core.contracts import checked_facts
from infimed_core.errors import InfimedError
from infimed_core.models.checkpoints import Checkpoint, load_checkpoint
from infimed_core.plan.index import Index
from infimed_core.plan.indexing import index_samples
from infimed_core.plan.rows import PlannedBatches
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Curated, Dataset
from infimed_core.store.steps import Outcome, RunState
from infimed_core.train.isolation import isolation_of
from infimed_core.train.stage_planning import check_sources, plan_inputs, plan_rows
from infimed_core.train.validation import StageMeasurements, choose_measurements, held_out_samples, tell_shared_people


def train_stages(state: RunState, curated: Curated, base: Checkpoint) -> list[Checkpoint]:
    """Train through every stage; each starts from the checkpoint before it.

    Raises:
        InfimedError: the model cannot be trained, or a stage has nothing to train on.
    """
    trainer: Trainer = state.plan.component("training")
    model: Model = state.plan.component("model")
    if not type(model).trainable or base.directory is None:
        raise InfimedError(
            "the model of this run cannot be trained; remove the 'training:' section or name another model"
        )
    index, index_hash = index_samples(state, curated.dataset, curated.dataset_digest, base)
    data = state.plan.file.data
    held = held_out_samples(index, trainer.stage_list, data.split if data else None)
    tell_shared_people(state, index, held, curated.kept & index.usable)
    for stage in trainer.stage_list:
        check_sources(index, stage, curated.kept, held)
    isolation = isolation_of(state, curated.dataset, index, curated.kept, base)
    # Every stage is planned before the first is trained: that one cannot be is told before hours are spent.
    planned: list[tuple[Path, Path | None]] = []
    for position, stage in enumerate(trainer.stage_list):
        inputs = plan_inputs(state, index, index_hash, stage, curated.kept, base.directory, position, isolation)
        planned.append((plan_rows(state, curated, stage, inputs, held), choose_measurements(state, stage, inputs)))
    _tell_unused(state, index, trainer, curated, curated.kept & index.usable & ~held)
    stages = _Stages(state, curated.dataset)
    checkpoints = [base]
    for position, (plan_file, measured) in enumerate(planned):
        checkpoints.append(stages.train(position, plan_file, measured, checkpoints[-1]))
        if state.stopped.is_set():
            raise KeyboardInterrupt
    return checkpoints[1:]


def _tell_unused(state: RunState, index: Index, trainer: Trainer, curated: Curated, usable: NDArray[np.bool_]) -> None:
    """Say how many usable samples are in no stage's mix, so that nothing trains on them."""
    used = np.zeros(len(index), dtype=bool)
    for stage in trainer.stage_list:
        for mix in stage.mix or (Mix(),):
            used |= index.matching(mix)
    unused = np.flatnonzero(usable & ~used)
    if len(unused):
        first = curated.dataset[int(unused[0])]
        tags = ", ".join(f"{tag}: {value}" for tag, value in sorted(first.tags.items()))
        state.say(
            f"{len(unused):,} of {int(usable.sum()):,} selected samples are in the mix of no stage; nothing trains on "
            f"them (first '{first.id}' with the tags {{{tags}}})"
        )


class _Stages:
    """Trains stage after stage; the model stays in memory from one to the next."""

    def __init__(self, state: RunState, dataset: Dataset) -> None:
        self._state, self._dataset = state, dataset
        self._trainer: Trainer = state.plan.component("training")
        self._model: TrainableModel | None = None

    def train(self, position: int, plan_file: Path, measured: Path | None, before: Checkpoint) -> Checkpoint:
        """Train one stage, unless its checkpoint is complete."""
        state, stage = self._state, self._trainer.stage_list[position]
        plan = StagePlan.load(plan_file)
        result = with_versions(self._trainer, self._trainer.result_identity(stage))
        inputs_digest = digest("train", 1, plan.plan_hash, result, before.digest)

        def work(directory: Path) -> Outcome:
            start = cast(Path, before.directory)
            task: JsonObject = {
                "kind": "train",
                "stage": position,
                "dataset": str(self._dataset.path),
                "plan": str(plan_file.absolute()),
                "before": str(start.absolute()) if self._model is None else None,
                "scratch": str((state.path / "state" / directory.name).absolute()),
                "seed": state.seed * 1000 + position,
                "kept": str(directory.with_name(f"{directory.name}.steps").absolute()),
                "measured": str(measured.absolute()) if measured is not None else None,
            }
            if self._model is None:
                self._model = cast(TrainableModel, load_checkpoint(state.plan.component("model"), start))
            return _train_and_save(state, self._model, stage, plan.padded, directory, task)

        artifact = state.step(
            f"train-{stage.name}", inputs_digest, work, kind="train", subject={"stage": stage.name},
            folder="checkpoints", prefix=stage.name,
        )  # fmt: skip
        # Only now that the checkpoint is sealed; a kill before leaves the state from which it is written again.
        _clear_states(state.path / "state", stage.name)
        record = state.directory.record.steps[-1]
        if record.status == "reused":
            self._model = None  # weights in memory, if any, are those of an earlier stage
            _tell_other_measurements(state, stage, record.details, artifact.directory)
        return Checkpoint(stage.name, artifact.directory, inputs_digest)


def _train_and_save(
    state: RunState, model: TrainableModel, stage: Stage, padded: bool, directory: Path, task: JsonObject
) -> Outcome:
    name, scratch = f"train-{stage.name}", Path(task["scratch"])
    packable, verdict = model.can_pack()
    if not packable and not padded:
        raise InfimedError(
            f"stage '{stage.name}': samples packed into one row of this model would see each other ({verdict}); "
            "set 'packing: {use: padded}'"
        )
    _tell_trained_anew(state, stage, directory, scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    state.ranks.give(task)
    returned = _train(state, task, model, state.emitter(name))
    facts, lines = checked_facts(state.plan.component("training"), returned)
    for text in lines:
        state.say(text, name)
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
            state.say(
                f"stage '{stage.name}': its trainer measures nothing while it trains, so 'evaluate' had no effect", name
            )
        facts = {**facts, "evaluate": stage.evaluate.model_dump(mode="json")}
    dropped = {code: int(count) for code, count in cast(dict[str, int], facts.get("dropped") or {}).items()}
    num_out = int(cast(int, facts.get("samples", 0)))
    facts = {**facts, "model": model.describe(), "isolation": verdict}
    return Outcome(num_out + sum(dropped.values()), num_out, dropped, facts)


def _train(
    state: RunState, task: JsonObject, model: TrainableModel, emit: Callable[[str, Mapping[str, Any]], None]
) -> Any:
    """Train a stage as ``task`` says: the same in every process of the run."""
    trainer: Trainer = state.plan.component("training")
    stage, dataset = trainer.stage_list[task["stage"]], Dataset(Path(task["dataset"]))
    batches = PlannedBatches(dataset, StagePlan.load(Path(task["plan"])), model.encoder, state.media)
    measurements = None
    if task["measured"] is not None:
        measurements = StageMeasurements(state, stage, Path(task["measured"]), dataset, model)
    scratch, kept = Path(task["scratch"]), Path(task["kept"])
    context = TrainingContext(scratch, task["seed"], emit, state.stopped, measurements, kept)
    with state.stop_softly():
        return trainer.train(model, batches, stage, context)


def train_along(state: RunState, task: JsonObject, model: TrainableModel | None) -> TrainableModel:
    """The part of a process that is not the first in the training of a stage; returns the model in memory.

    Args:
        task: what the first process gave the others.
        model: what the stage before left in memory.
    """
    if task["before"] is not None or model is None:
        source: Model = state.plan.component("model")
        model = cast(TrainableModel, source.load(Path(task["before"])))
    _train(state, task, model, lambda kind, payload: None)
    return model


def _tell_trained_anew(state: RunState, stage: Stage, directory: Path, scratch: Path) -> None:
    """Say before a stage starts at step 0 that there is an earlier training of it, with other settings or rows."""
    if scratch.exists():
        return  # it goes on from its own state, which the trainer tells
    paths = [*(state.path / "checkpoints").glob(f"{stage.name}-*"), *(state.path / "state").glob(f"{stage.name}-*")]
    others = sorted(str(path) for path in paths if path != directory and path.name.rsplit("-", 1)[0] == stage.name)
    if others:
        unfinished = ", ".join(path for path in others if Path(path).parent.name == "state")
        end = f"; {unfinished} (an unfinished training) is deleted once this stage is finished" if unfinished else ""
        state.say(
            f"stage '{stage.name}' is trained anew from step 0: its settings, its plan, the seed or the model before "
            f"it are not those of {', '.join(others)}. Checkpoints of earlier trainings are kept{end}. To go on from "
            "an earlier one, undo the change, or name its checkpoint in continue_from",
            f"train-{stage.name}",
        )


def _clear_states(states: Path, stage: str) -> None:
    """Remove the states of a stage that is finished, those of other settings too, and the folder once it is empty."""
    for path in states.glob(f"{stage}-*"):
        if path.name.rsplit("-", 1)[0] == stage:
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        states.rmdir()


def _tell_other_measurements(state: RunState, stage: Stage, details: Mapping[str, Any], checkpoint: Path) -> None:
    """Say so where a finished stage was measured otherwise than the run file wants now."""
    wanted = stage.evaluate.model_dump(mode="json") if stage.evaluate is not None else None
    if wanted is not None and details.get("evaluate") != wanted:
        state.say(
            f"stage '{stage.name}' was trained before, measured otherwise or not at all; 'evaluate' does not change "
            f"weights, so it is not trained again: remove {checkpoint} to train and measure it anew",
            f"train-{stage.name}",
        )
