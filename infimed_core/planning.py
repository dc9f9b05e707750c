"""From an index to the rows of a stage: drawn, cut into phases, packed and ordered; arithmetic alone, no decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.components import Encoder, Packer, ResolutionScheduler
from infimed_core.errors import InfimedError
from infimed_core.index import Index
from infimed_core.lengths import CostModel, Lengths, Measure, sums_of
from infimed_core.plan import DROP_REASONS, NATIVE, StagePlan, plan_digest
from infimed_core.types import Packs, Phase, Stage, canonical_json

_WINDOW_STEPS = 50
_SMALLEST_SHRINK = 16


def plan_stage(
    index: Index,
    stage: Stage,
    scheduler: ResolutionScheduler,
    packer: Packer,
    encoder: Encoder,
    seed: int,
    allowed: NDArray[np.bool_],
    cost_model: CostModel | None = None,
    ordered: bool = True,
) -> StagePlan:
    """Plan a stage over the samples that ``allowed`` (bool [n]) and the index's faults leave.

    The same arguments give the same plan, on any machine, for any number of ranks and workers. ``ordered=False``
    leaves packs of unlike cost in one step, for comparison.

    Raises:
        InfimedError: a ``mix`` entry matches no sample, the scheduler's phases do not cover the stage, or a sample
            fits no row and the stage says ``overlong: error``.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    measure, budget = Measure(index, encoder), packer.budget
    rows = _draw(index, stage, allowed & index.usable, generator)
    phases = _checked_phases(scheduler.plan(len(rows)), len(rows), scheduler)
    caps = np.full(len(rows), NATIVE, dtype=np.int64)
    dropped = np.zeros(len(rows), dtype=np.int8)
    parts: list[Lengths] = []
    packs: list[Packs] = []
    steps = [np.zeros(1, dtype=np.int64)]
    num_shrunk = num_packs = 0
    limit = budget.copy()
    limit[0] = min(int(limit[0]), encoder.max_tokens or int(limit[0]))
    for phase in phases:
        span = slice(phase.start, phase.stop)
        if phase.max_visual_tokens is not None:
            caps[span] = phase.max_visual_tokens
        lengths = measure.at(phase.max_visual_tokens).take(rows[span])
        num_shrunk += _shrink(measure, rows[span], phase.max_visual_tokens, limit, lengths, caps[span], dropped[span])
        if stage.overlong == "error":
            _refuse_overlong(stage, dropped[span], rows[span], limit)
        kept = np.flatnonzero(dropped[span] == 0)
        costs = np.stack([lengths.tokens, lengths.patches, lengths.images], axis=1)[kept]
        grouped = packer.group(costs, budget)
        _check_packs(grouped, costs, budget, packer)
        left_out = np.ones(len(kept), dtype=bool)
        left_out[grouped.members] = False
        dropped[phase.start + kept[left_out]] = DROP_REASONS.index("not_packed")
        pack_costs = sums_of(lengths.cost(cost_model or CostModel())[kept][grouped.members], grouped.offsets)
        order, ends = _order(pack_costs, stage.rows_per_step, generator, ordered)
        packs.append(_reordered(Packs(phase.start + kept[grouped.members], grouped.offsets), order))
        steps.append(num_packs + ends)
        num_packs += len(grouped)
        parts.append(lengths)
    joined = [np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Lengths)]
    lengths = Lengths(*joined)
    sizes = np.concatenate([np.diff(pack.offsets) for pack in packs])
    values: dict[str, Any] = {
        "rows": rows,
        "caps": caps,
        "tokens": lengths.tokens,
        "supervised": index.supervised[rows],
        "patches": lengths.patches,
        "images": lengths.images,
        "costs": lengths.cost(cost_model or CostModel()),
        "dropped": dropped,
        "members": np.concatenate([pack.members for pack in packs]),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        "steps": np.concatenate(steps),
        "pack_phases": np.repeat(np.arange(len(packs)), [len(pack) for pack in packs]),
        "phases": np.array([[p.start, p.stop, _coded(p.max_visual_tokens)] for p in phases], dtype=np.int64),
        "padded": type(packer).padded,
        "row_tokens": packer.row_tokens,
        "num_shrunk": num_shrunk,
        "made_from": index.digest,
    }
    return StagePlan(**values, plan_hash=plan_digest(values))


def _coded(cap: int | None) -> int:
    return NATIVE if cap is None else cap


def _draw(index: Index, stage: Stage, usable: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.int64]:
    """Rows in seeded random order: each source goes through all its samples before it repeats one."""
    masks = [usable & index.matching(mix) for mix in stage.mix] or [usable]
    sources = [np.flatnonzero(mask) for mask in masks]
    for number, source in enumerate(sources):
        if stage.mix and len(source) == 0:
            raise InfimedError(
                f"stage '{stage.name}': mix.{number} ({canonical_json(stage.mix[number].where)}) matches none of the "
                f"{int(usable.sum())} selected samples; compare it with the tags of the data, or remove it"
            )
    num_matched = int(np.logical_or.reduce(masks).sum())
    if num_matched == 0:
        return np.zeros(0, dtype=np.int64)
    count = stage.num_samples or max(1, round(num_matched * stage.epochs))
    weights = np.array([mix.weight for mix in stage.mix] or [1.0])
    shares = _apportion(count, weights / weights.sum())
    turns = generator.permutation(np.repeat(np.arange(len(sources)), shares))
    rows = np.empty(count, dtype=np.int64)
    for number, (source, share) in enumerate(zip(sources, shares, strict=True)):
        passes = [generator.permutation(source) for _ in range(-(-int(share) // len(source)))]
        if passes:
            rows[turns == number] = np.concatenate(passes)[:share]
    return rows


def _apportion(count: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers nearest to ``count * shares`` that add up to ``count`` (largest remainders)."""
    exact = count * shares
    whole = np.floor(exact).astype(np.int64)
    rest = count - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole


def _checked_phases(phases: Sequence[Phase], count: int, scheduler: ResolutionScheduler) -> list[Phase]:
    place = 0
    for phase in phases:
        if phase.start != place or phase.stop < phase.start:
            break
        place = phase.stop
    else:
        if place == count:
            return [phase for phase in phases if phase.stop > phase.start] or [Phase(0, 0, None)]
    spans = ", ".join(f"{phase.start}-{phase.stop}" for phase in phases)
    raise InfimedError(f"{type(scheduler).__name__}: its phases ({spans}) do not cover samples 0-{count} without gap")


def _shrink(
    measure: Measure,
    rows: NDArray[np.int64],
    cap: int | None,
    limit: NDArray[np.int64],
    lengths: Lengths,
    caps: NDArray[np.int64],
    dropped: NDArray[np.int8],
) -> int:
    """Lower the cap of samples that fit no row until they do; what still does not fit is dropped. In place.

    Returns how many were shrunk.
    """
    dropped[lengths.images > limit[2]] = DROP_REASONS.index("too_many_images")
    over = np.flatnonzero(((lengths.tokens > limit[0]) | (lengths.patches > limit[1])) & (dropped == 0))
    if len(over) == 0:
        return 0
    text_only = lengths.images[over] == 0
    dropped[over[text_only]] = DROP_REASONS.index("text_too_long")
    over = over[~text_only]
    floor = min(_SMALLEST_SHRINK, cap) if cap is not None else _SMALLEST_SHRINK
    lower = min(measure.largest(rows[over], cap), cap or 2**31)
    num_shrunk = 0
    while len(over) and lower > floor:
        lower = max(floor, lower * 7 // 8)
        smaller = measure.of(rows[over], lower)
        fits = (smaller.tokens <= limit[0]) & (smaller.patches <= limit[1])
        done = over[fits]
        for item in fields(Lengths):
            getattr(lengths, item.name)[done] = getattr(smaller, item.name)[fits]
        caps[done] = lower
        num_shrunk += len(done)
        over = over[~fits]
    dropped[over] = DROP_REASONS.index("too_long")
    return num_shrunk


def _refuse_overlong(
    stage: Stage, dropped: NDArray[np.int8], rows: NDArray[np.int64], limit: NDArray[np.int64]
) -> None:
    """Raise where a sample of the phase fits no row."""
    over = np.flatnonzero(dropped)
    if len(over) == 0:
        return
    counts = np.bincount(dropped[over], minlength=len(DROP_REASONS))
    reasons = ", ".join(f"{name}: {count}" for name, count in zip(DROP_REASONS, counts, strict=True) if count)
    limits = [
        f"{n} {what}" for n, what in zip(limit.tolist(), ("tokens", "patches", "images"), strict=True) if n < 2**62
    ]
    raise InfimedError(
        f"stage '{stage.name}': {len(over)} sample(s) fit no row of {', '.join(limits)} even with smaller images "
        f"({reasons}; first on line {int(rows[over[0]]) + 1} of the samples): raise packing.row_tokens, row_patches or "
        "row_images, or set overlong: drop to leave them out, counted"
    )


def _check_packs(packs: Packs, costs: NDArray[np.int64], budget: NDArray[np.int64], packer: Packer) -> None:
    name = type(packer).__name__
    counts = np.bincount(packs.members, minlength=len(costs)) if len(packs.members) else np.zeros(0)
    if len(counts) > len(costs) or (counts > 1).any():
        raise InfimedError(f"packer {name} put an index into two rows, or one that it was not given")
    for column, what in enumerate(("tokens", "patches", "images")):
        if (sums_of(costs[packs.members, column], packs.offsets) > budget[column]).any():
            raise InfimedError(f"packer {name} filled a row beyond its budget of {budget[column]} {what}")


def _order(
    costs: NDArray[np.float64], rows_per_step: int, generator: np.random.Generator, by_cost: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of the packs and the end of each step: packs of like cost share a step, steps are shuffled.

    A random remainder makes the last, smaller step; nothing is left over. Sorting stays inside windows of steps, so
    that the order of samples stays near to random.
    """
    order = generator.permutation(len(costs))
    whole = len(order) // rows_per_step * rows_per_step
    width = _WINDOW_STEPS * rows_per_step
    if by_cost and rows_per_step > 1:
        for start in range(0, whole, width):
            window = order[start : min(start + width, whole)]
            window = window[np.argsort(costs[window], kind="stable")].reshape(-1, rows_per_step)
            order[start : start + window.size] = generator.permutation(window, axis=0).ravel()
    ends = np.arange(rows_per_step, len(order) + rows_per_step, rows_per_step)
    return order, np.minimum(ends, len(order)).astype(np.int64)


def _reordered(packs: Packs, order: NDArray[np.int64]) -> Packs:
    sizes = np.diff(packs.offsets)[order]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    return Packs(packs.members[np.repeat(packs.offsets[:-1][order], sizes) + within], offsets)
