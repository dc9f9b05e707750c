"""The steps before a stage is trained: what its rows are made from, and the plan of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.models import Model
from infimed_core.api.planning import Packer, ResolutionScheduler
from infimed_core.api.quality import Curriculum, PlannedSample
from infimed_core.api.training import Mix, Stage
from infimed_core.contracts import checked_bands
from infimed_core.errors import NoSampleError
from infimed_core.plan.index import Index
from infimed_core.plan.lengths import Measure
from infimed_core.plan.mixing import mixing_warnings, told_passes
from infimed_core.plan.planning import PlanInputs, plan_stage
from infimed_core.plan.sampling import mix_sources
from infimed_core.plan.stage_plan import DROP_REASONS, StagePlan
from infimed_core.store.artifacts import digest, mask_digest
from infimed_core.store.dataset import TOLD_FAULTS, Curated
from infimed_core.store.scores import Candidates
from infimed_core.store.steps import Outcome, RunState

_DECISIVE = {
    "name", "mix", "mix_by", "mix_epoch", "overlong", "rows_per_step", "samples_per_step",
    "epochs", "num_samples", "num_tokens", "num_steps",
}  # fmt: skip
"""Settings of a stage that decide its rows."""


def _packer(state: RunState, stage: Stage, isolation: tuple[bool, str]) -> Packer:
    """The packer of the stage, or ``padded`` with its budget where this model's samples may not share a row."""
    components = state.plan.components
    packer = cast(Packer, components.get(f"stages.{stage.name}.packing") or components["packing"])
    packable, verdict = isolation
    if packable or type(packer).padded:
        return packer
    text = f"stage '{stage.name}': samples of this model may not share a row ({verdict}): rows are PADDED, not packed"
    state.say(text, f"plan-{stage.name}")
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


def check_sources(index: Index, stage: Stage, selected: NDArray[np.bool_], held: NDArray[np.bool_]) -> None:
    """Refuse a stage that has nothing to draw from, before a model is opened for it.

    Args:
        selected, held: bool [n], samples that curation kept, and samples that a stage holds out.

    Raises:
        InfimedError: no sample is left, or an entry of the mix matches none.
    """
    if not (selected & index.usable & ~held).any():
        raise _no_samples(index, stage, selected, held)
    mix_sources(index, stage, selected & index.usable & ~held)


def _no_samples(
    index: Index, stage: Stage, selected: NDArray[np.bool_], held: NDArray[np.bool_], plan: StagePlan | None = None
) -> NoSampleError:
    reasons = [
        f"the plan left out {plan.told_drops()}" if plan is not None and plan.dropped.any() else "",
        index.told_faults(),
        f"{int((selected & held).sum())} are held out" if held.any() else "",
    ]
    return NoSampleError(
        f"stage '{stage.name}' has no sample to train on, of {int(selected.sum())} selected: "
        f"{'; '.join(filter(None, reasons)) or 'there is none'}. Raise packing.row_tokens where samples are too long; "
        "mend the data where they could not be read"
    )


def _bands_of(
    stage: Stage, curriculum: Curriculum, curated: Curated, inputs: PlanInputs, allowed: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """The band of every sample that the stage may draw, by row of the dataset; of all others 0."""
    rows = np.unique(np.concatenate(mix_sources(inputs.index, stage, allowed & inputs.index.usable)))
    bands = np.zeros(len(allowed), dtype=np.int32)
    largest = inputs.scheduler.plan(len(rows))[-1].max_visual_tokens
    lengths = Measure(inputs.index, inputs.encoder).of(rows, largest)
    left_out = ~np.isin(np.arange(len(bands)), rows)
    candidates = Candidates(curated.dataset, curated.scores, left_out, scored=False)
    samples = (
        PlannedSample.model_construct(**vars(candidate), num_tokens=int(tokens), num_images=int(images))
        for candidate, tokens, images in zip(candidates, lengths.tokens, lengths.images, strict=True)
    )
    bands[rows] = checked_bands(curriculum, samples, len(rows))
    return bands


def plan_rows(state: RunState, curated: Curated, stage: Stage, inputs: PlanInputs, held: NDArray[np.bool_]) -> Path:
    """The step that plans a stage's rows without the samples in ``held`` (bool [n]); the plan's file.

    Its counts are of samples: of those that were selected, how many are in a row, and why the others are in none.

    Raises:
        InfimedError: no row is left; the message names the reasons and their counts.
    """
    shape = stage.model_dump(mode="json", include=_DECISIVE)
    name = f"plan-{stage.name}"
    curriculum = cast(Curriculum | None, state.plan.components.get(f"stages.{stage.name}.curriculum"))
    inputs_digest = digest(
        "plan", 4, inputs.index_hash, curated.digest, shape, inputs.scheduler.identity(), inputs.packer.identity(),
        inputs.seed, *([mask_digest(held)] if held.any() else []),
        *([curriculum.identity(), curated.scores_digest] if curriculum is not None else []),
    )  # fmt: skip

    def work(directory: Path) -> Outcome:
        allowed = inputs.allowed & ~held
        bands = None if curriculum is None else _bands_of(stage, curriculum, curated, inputs, allowed)
        plan = plan_stage(
            inputs.index, stage, inputs.scheduler, inputs.packer, inputs.encoder, inputs.seed, allowed, bands=bands
        )
        plan.save(directory / "plan.npz")
        for text in [*mixing_warnings(stage, plan.mixing), *_told_samples(stage, plan, curated)]:
            state.say(text, name)
        if len(plan.sources) > 1:
            state.say(told_passes(stage, plan.sources), name)
        details = plan.describe()
        details["dropped_draws"] = details.pop("dropped")
        if bands is not None:
            details["bands"] = np.bincount(bands[np.unique(plan.rows)]).tolist()
        num_planned, left_out = sample_counts(inputs.index, stage, plan, inputs.allowed, held)
        return Outcome(int(inputs.allowed.sum()), num_planned, left_out, details)

    artifact = state.step(name, inputs_digest, work, kind="plan", subject={"stage": stage.name})
    plan_file = artifact.directory / "plan.npz"
    plan = StagePlan.load(plan_file)
    if len(plan.packs) == 0:
        raise _no_samples(inputs.index, stage, inputs.allowed, held, plan)
    return plan_file


def _told_samples(stage: Stage, plan: StagePlan, curated: Curated) -> Iterator[str]:
    """A line for each reason for which samples are left out or seen smaller, with the first of their ids."""
    for what, draws in plan.exceptions().items():
        rows = np.unique(plan.rows[draws])
        ids = ", ".join(f"'{curated.dataset[int(row)].id}'" for row in rows[:TOLD_FAULTS])
        more = f" and {len(rows) - TOLD_FAULTS:,} more" if len(rows) > TOLD_FAULTS else ""
        yield f"stage '{stage.name}': {what}: {ids}{more}"


def sample_counts(
    index: Index, stage: Stage, plan: StagePlan, selected: NDArray[np.bool_], held: NDArray[np.bool_]
) -> tuple[int, dict[str, int]]:
    """How many of the selected samples are in a row of the plan, and by reason how many are in none.

    A sample counts once, however often the stage draws it.
    """
    codes = sorted({fault.code for fault in index.faults})
    reasons = [*DROP_REASONS, "held_out", "not_in_mix", "not_drawn", *codes]  # the first says that it is in a row
    fates = np.full(len(index), reasons.index("not_in_mix"), dtype=np.int16)
    for mix in stage.mix or (Mix(),):
        fates[index.matching(mix)] = reasons.index("not_drawn")
    fates[plan.rows] = plan.dropped
    fates[plan.rows[plan.members]] = 0
    fates[held] = reasons.index("held_out")
    fates[~index.usable] = [len(reasons) - len(codes) + codes.index(fault.code) for fault in index.faults]
    counts = np.bincount(fates[selected], minlength=len(reasons)).tolist()
    return counts[0], {reason: count for reason, count in zip(reasons[1:], counts[1:], strict=True) if count}
