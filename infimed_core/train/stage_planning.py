"""The steps before a stage is trained: may samples share a row, what are rows made from, and the plan of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject
from infimed_core.api.models import Model
from infimed_core.api.planning import Packer, ResolutionScheduler
from infimed_core.api.training import Stage
from infimed_core.errors import InfimedError
from infimed_core.plan.index import Index
from infimed_core.plan.inputs import PlanInputs
from infimed_core.plan.mixing import mixing_warnings, told_passes
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.store.artifacts import digest
from infimed_core.store.curated import Curated
from infimed_core.store.dataset import TOLD_FAULTS
from infimed_core.store.steps import Outcome, RunState


def _packer(state: RunState, stage: Stage, isolation: tuple[bool, str]) -> Packer:
    """The packer of the stage, or ``padded`` with its budget where this model's samples may not share a row."""
    components = state.plan.components
    packer = cast(Packer, components.get(f"stages.{stage.name}.packing") or components["packing"])
    packable, verdict = isolation
    if packable or type(packer).padded:
        return packer
    text = f"stage '{stage.name}': samples of this model may not share a row ({verdict}): rows are PADDED, not packed"
    state.tell("message", f"plan-{stage.name}", {"text": text})
    budget = packer.model_dump(include={"row_tokens", "row_patches", "row_images"})
    return cast(Packer, state.registry.make("packer", state.registry.default("padded packer") or "none", budget))


def plan_inputs(
    state: RunState,
    index: Index,
    index_hash: str,
    stage: Stage,
    allowed: NDArray[np.bool_],
    checkpoint: Path,
    position: int,
    isolation: tuple[bool, str],
) -> PlanInputs:
    """What the rows of a stage, and those of its measurements, are made from."""
    components = state.plan.components
    scheduler = cast(ResolutionScheduler, components.get(f"stages.{stage.name}.resolution") or components["resolution"])
    model: Model = state.plan.component("model")
    packer, encoder = _packer(state, stage, isolation), model.encoder(checkpoint)
    return PlanInputs(index, index_hash, allowed, scheduler, packer, encoder, state.seed * 1000 + position)


def _told_lost(state: RunState, num_samples: int) -> str:
    """Where all samples of a run went, step by step, and what to do about the step that took the most."""
    remedies = {
        "read": f"Mend the data: {state.path / 'artifacts'}/read-*/faults.jsonl says of every row what is wrong",
        "filter": "Look at data.filters: it keeps out what is in the benchmarks of 'evaluation:' or there twice",
        "select": "See the scores in the report, and loosen quality.select",
    }
    told, most, remedy = [], 0, "The sources hold none"
    for step in state.directory.record.steps:
        if step.kind in remedies and step.dropped:
            counts = ", ".join(f"{count:,} {code}" for code, count in step.dropped.items())
            told.append(f"'{step.name}' left out {counts}")
            if sum(step.dropped.values()) > most:
                most, remedy = sum(step.dropped.values()), remedies[step.kind]
    return f"of {num_samples:,} samples none was kept" + "".join(f"; {one}" for one in told) + f". {remedy}"


def _told_samples(stage: Stage, plan: StagePlan, curated: Curated) -> Iterator[str]:
    """A line for each reason for which samples are left out or seen smaller, with the first of their ids."""
    for what, draws in plan.exceptions().items():
        rows = np.unique(plan.rows[draws])
        ids = ", ".join(f"'{curated.dataset[int(row)].id}'" for row in rows[:TOLD_FAULTS])
        more = f" and {len(rows) - TOLD_FAULTS:,} more" if len(rows) > TOLD_FAULTS else ""
        yield f"stage '{stage.name}': {what}: {ids}{more}"


def plan_rows(
    state: RunState,
    curated: Curated,
    stage: Stage,
    chosen: PlanInputs,
    held: NDArray[np.bool_],
) -> Path:
    """The step that plans a stage's rows without the samples in ``held`` (bool [n]); the plan's file.

    Raises:
        InfimedError: no row is left; the message names the reasons and their counts.
    """
    decisive = {
        "name",
        "mix",
        "mix_by",
        "mix_epoch",
        "epochs",
        "num_samples",
        "num_tokens",
        "num_steps",
        "rows_per_step",
        "overlong",
    }
    shape = stage.model_dump(mode="json", include=decisive)
    allowed = chosen.allowed & ~held
    inputs_digest = digest(
        "plan", 3, chosen.index_hash, curated.digest, shape, chosen.scheduler.identity(), chosen.packer.identity(),
        chosen.seed, *([np.flatnonzero(held).tolist()] if held.any() else []),
    )  # fmt: skip

    if not chosen.allowed.any():
        raise InfimedError(f"stage '{stage.name}' has no sample to train on: {_told_lost(state, len(chosen.allowed))}")

    def work(directory: Path) -> Outcome:
        plan = plan_stage(chosen.index, stage, chosen.scheduler, chosen.packer, chosen.encoder, chosen.seed, allowed)
        plan.save(directory / "plan.npz")
        details = plan.describe()
        for text in [*mixing_warnings(stage, plan.mixing), *_told_samples(stage, plan, curated)]:
            state.tell("message", f"plan-{stage.name}", {"text": text})
        if len(plan.sources) > 1:
            state.tell("message", f"plan-{stage.name}", {"text": told_passes(stage, plan.sources)})
        dropped = {str(k): int(cast(int, v)) for k, v in cast(JsonObject, details.pop("dropped", {})).items()}
        num_drawn = int(cast(int, details["num_drawn"]))
        if held.any():
            details["num_held_out"] = int((chosen.allowed & held).sum())
        return Outcome(num_drawn, num_drawn - sum(dropped.values()), dropped, details)

    artifact = state.step(f"plan-{stage.name}", inputs_digest, work, kind="plan", subject={"stage": stage.name})
    plan_file = artifact.directory / "plan.npz"
    plan = StagePlan.load(plan_file)
    if len(plan.packs) == 0:
        reasons = [
            f"the plan left out {plan.told_drops()}" if plan.dropped.any() else "",
            chosen.index.told_faults(),
            f"{int((chosen.allowed & held).sum())} are held out" if held.any() else "",
        ]
        told = "; ".join(filter(None, reasons)) or "there is none"
        raise InfimedError(
            f"stage '{stage.name}' has no sample to train on, of {int(chosen.allowed.sum())} selected: {told}. Raise "
            "packing.row_tokens where samples are too long; mend the data where they could not be read"
        )
    return plan_file
