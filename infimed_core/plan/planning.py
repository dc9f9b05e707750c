"""From an index to the rows of a stage: drawn, cut into phases, packed and ordered; arithmetic alone, no decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject
from infimed_core.api.models import Encoder
from infimed_core.api.planning import Packer, Packs, Phase, ResolutionScheduler
from infimed_core.api.training import Stage
from infimed_core.contracts import checked_packs, checked_phases
from infimed_core.errors import InfimedError
from infimed_core.plan.index import Index
from infimed_core.plan.lengths import CostModel, Lengths, Measure, sums_of
from infimed_core.plan.mixing import deal_to_steps, kinds_of, mixing_of
from infimed_core.plan.sampling import (
    Draws,
    count_reaching,
    draw,
    epoch_draws,
    mix_sources,
    num_distinct,
    sample_shares,
    spans_of,
)
from infimed_core.plan.stage_plan import DROP_REASONS, NATIVE, StagePlan, plan_digest

_SMALLEST_SHRINK = 16


@dataclass(frozen=True)
class PlanInputs:
    """The index, the rows that may be drawn (bool [n]), and the parts that draw and pack them."""

    index: Index
    index_hash: str
    allowed: NDArray[np.bool_]
    scheduler: ResolutionScheduler
    packer: Packer
    encoder: Encoder
    seed: int


def plan_stage(
    index: Index, stage: Stage, scheduler: ResolutionScheduler, packer: Packer, encoder: Encoder, seed: int,
    allowed: NDArray[np.bool_], cost_model: CostModel | None = None, ordered: bool = True,
    bands: NDArray[np.int32] | None = None,
) -> StagePlan:  # fmt: skip
    """Plan a stage over the samples that ``allowed`` (bool [n]) and the index's faults leave.

    The same arguments give the same plan, on any machine, for any number of ranks and workers. ``ordered=False``
    leaves packs of unlike cost in one step, for comparison. ``bands`` (by row of the dataset, from 0) is the order that
    a curriculum gives: no row and no step has samples of two bands, as far as sources and steps allow.

    Raises:
        InfimedError: a ``mix`` entry matches no sample, the scheduler's phases do not cover the stage, or a sample
            fits no row and the stage says ``overlong: error``.
    """
    measure, budget = Measure(index, encoder), packer.budget
    limit = budget.copy()
    limit[0] = min(int(limit[0]), encoder.max_tokens or int(limit[0]))
    sources = mix_sources(index, stage, allowed & index.usable)

    def drawn(count: int) -> _Drawn:
        return _drawn(index, stage, sources, count, scheduler, measure, limit, seed, cost_model or CostModel(), bands)

    def packed(of: _Drawn) -> _Packed:
        return _packed(of, stage, packer, ordered)

    def epoch(about: int) -> float:
        phases = checked_phases(scheduler, scheduler.plan(about), about)
        return epoch_draws(stage, sources, sample_shares(stage, sources, measure, phases, int(limit[0])))

    draws = drawn(_num_draws(stage, num_distinct(sources), epoch, drawn, packed))
    rows, lengths = draws.rows, draws.lengths
    packs, steps, pack_phases = packed(draws).of_steps(stage.num_steps, draws.dropped)
    step_of_pack = np.searchsorted(steps, np.arange(len(packs)), side="right").astype(np.int32) - 1
    sizes = np.diff(packs.offsets)
    row_of, step_of = np.repeat(np.arange(len(packs), dtype=np.int32), sizes), np.repeat(step_of_pack, sizes)
    values: dict[str, Any] = {
        "rows": rows, "caps": draws.caps, "costs": draws.costs, "dropped": draws.dropped,
        "tokens": lengths.tokens, "patches": lengths.patches, "images": lengths.images,
        "supervised": index.supervised[rows].astype(np.int32),
        "members": packs.members, "offsets": packs.offsets, "steps": steps, "pack_phases": pack_phases,
        "phases": np.array([[p.start, p.stop, p.max_visual_tokens or NATIVE] for p in draws.phases], dtype=np.int64),
        "padded": type(packer).padded,
        "row_tokens": packer.row_tokens,
        "num_shrunk": draws.num_shrunk,
        "mixing": mixing_of(draws.kinds, packs.members, row_of, step_of, rows, bands),
        "sources": _describe_sources(stage, sources, draws.drawn.counts),
        "inputs_digest": index.digest,
    }  # fmt: skip
    return StagePlan(**values, plan_hash=plan_digest(values))


@dataclass
class _Drawn:
    """The samples of a stage in order, with the cap and the length of each."""

    drawn: Draws
    phases: list[Phase]
    caps: NDArray[np.int32]
    dropped: NDArray[np.int8]
    lengths: Lengths
    costs: NDArray[np.float64]
    kinds: dict[str, NDArray[np.int8]]
    num_shrunk: int
    generator: np.random.Generator

    @property
    def rows(self) -> NDArray[np.int32]:
        """The samples, as rows of the dataset."""
        return self.drawn.rows

    @property
    def num_tokens(self) -> int:
        """Tokens of the samples that fit a row."""
        return int(self.lengths.tokens[self.dropped == 0].sum())


@dataclass
class _Packed:
    """Packs of all phases in the order they come, the end of each step, and the phase of each pack."""

    packs: Packs
    steps: NDArray[np.int64]
    phases: NDArray[np.int64]

    def of_steps(
        self, num_steps: int | None, dropped: NDArray[np.int8]
    ) -> tuple[Packs, NDArray[np.int64], NDArray[np.int64]]:
        """No more than the first ``num_steps``; what stood in later ones is a drop, counted in place."""
        if num_steps is None or len(self.steps) - 1 <= num_steps:
            return self.packs, self.steps, self.phases
        num_packs = int(self.steps[num_steps])
        end = int(self.packs.offsets[num_packs])
        dropped[self.packs.members[end:]] = DROP_REASONS.index("beyond_length")
        kept = Packs(self.packs.members[:end], self.packs.offsets[: num_packs + 1])
        return kept, self.steps[: num_steps + 1], self.phases[:num_packs]


def _drawn(
    index: Index, stage: Stage, sources: list[NDArray[np.int32]], count: int, scheduler: ResolutionScheduler,
    measure: Measure, limit: NDArray[np.int64], seed: int, cost_model: CostModel, bands: NDArray[np.int32] | None,
) -> _Drawn:  # fmt: skip
    generator = np.random.Generator(np.random.PCG64(seed))
    phases = checked_phases(scheduler, scheduler.plan(count), count)
    if count:
        draws = draw(sources, sample_shares(stage, sources, measure, phases, int(limit[0])), count, generator, bands)
    else:
        nothing = np.zeros(0, dtype=np.int64)
        draws = Draws(nothing.astype(np.int32), np.zeros(len(sources), dtype=np.int64), nothing)
    rows = draws.rows
    caps = np.full(count, NATIVE, dtype=np.int32)
    dropped = np.zeros(count, dtype=np.int8)
    parts: list[Lengths] = []
    num_shrunk = 0
    for phase in phases:
        span = slice(phase.start, phase.stop)
        if phase.max_visual_tokens is not None:
            caps[span] = min(phase.max_visual_tokens, 2**31 - 1)
        lengths = measure.of(rows[span], phase.max_visual_tokens)
        num_shrunk += _shrink(measure, rows[span], phase.max_visual_tokens, limit, lengths, caps[span], dropped[span])
        if stage.overlong == "error":
            _refuse_overlong(stage, dropped[span], rows[span], limit)
        parts.append(lengths)
    joined = Lengths.joined(parts or [measure.of(rows, None)])
    kinds = kinds_of(index, rows, joined.tokens)
    return _Drawn(draws, phases, caps, dropped, joined, joined.cost(cost_model), kinds, num_shrunk, generator)


def _packed(draws: _Drawn, stage: Stage, packer: Packer, ordered: bool) -> _Packed:
    """Pack each span of the draws and put the packs into steps; what the packer leaves out is a drop, in place."""
    parts = [Packs(np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.int64))]
    phases = [np.zeros(0, dtype=np.int64)]
    steps = [np.zeros(1, dtype=np.int64)]
    tokens = np.where(draws.dropped == 0, draws.lengths.tokens, 0)
    size = (stage.samples_per_step or 0) / max(1, int((draws.dropped == 0).sum()))  # a step's share of the samples
    step_tokens = round(size * tokens.sum()) or stage.rows_per_step * packer.row_tokens
    for start, stop, number in spans_of(draws.drawn, draws.phases, tokens, step_tokens):
        kept = (start + np.flatnonzero(draws.dropped[start:stop] == 0)).astype(np.int32)
        lengths = draws.lengths
        costs = np.stack([lengths.tokens[kept], lengths.patches[kept], lengths.images[kept]], axis=1, dtype=np.int64)
        grouped = checked_packs(packer, packer.group(costs, packer.budget), costs, packer.budget)
        left_out = np.ones(len(kept), dtype=bool)
        left_out[grouped.members] = False
        draws.dropped[kept[left_out]] = DROP_REASONS.index("not_packed")
        of_draws = Packs(kept[grouped.members], grouped.offsets)
        pack_costs = sums_of(draws.costs[of_draws.members], of_draws.offsets)
        wanted = round(len(of_draws.members) / (stage.samples_per_step or 1)) or 1
        num_steps = -(-len(of_draws) // stage.rows_per_step) if stage.samples_per_step is None else wanted
        num_steps = min(num_steps, len(of_draws))
        order, ends = deal_to_steps(of_draws, pack_costs, draws.kinds, num_steps, draws.generator, ordered)
        steps.append(sum(map(len, parts)) + ends)
        phases.append(np.full(len(of_draws), number))
        parts.append(of_draws.take(order))
    members = np.concatenate([part.members for part in parts])
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return _Packed(Packs(members, offsets), np.concatenate(steps), np.concatenate(phases))


def _describe_sources(stage: Stage, sources: list[NDArray[np.int32]], counts: NDArray[np.int64]) -> list[JsonObject]:
    """Of each entry of the mix: what it holds, what is drawn of it, and how often a sample of it is seen."""
    wheres: list[JsonObject] = [mix.model_dump(mode="json")["where"] for mix in stage.mix] or [{}]
    return [
        {"where": where, "num_samples": len(source), "num_drawn": drawn, "passes": drawn / max(1, len(source))}
        for where, source, drawn in zip(wheres, sources, counts.tolist(), strict=True)
    ]


def _num_draws(
    stage: Stage, num_samples: int, epoch: Callable[[int], float], drawn: Callable[[int], _Drawn],
    packed: Callable[[_Drawn], _Packed],
) -> int:  # fmt: skip
    """How many samples make the stage's length; those of a stage in steps may make a step more, never one less."""
    if num_samples == 0:
        return 0
    if stage.num_samples is not None:
        return stage.num_samples
    if stage.num_tokens is not None:
        wanted = stage.num_tokens
        mean = max(1.0, drawn(num_samples).num_tokens / num_samples)
        counts = count_reaching(wanted, lambda count: drawn(count).num_tokens, max(1, round(wanted / mean)))
        return min(counts, key=lambda count: abs(drawn(count).num_tokens - wanted) if count else wanted + 1)
    if stage.num_steps is not None:
        guess = stage.num_steps * (stage.samples_per_step or stage.rows_per_step)
        return count_reaching(stage.num_steps, lambda count: len(packed(drawn(count)).steps) - 1, guess)[1]
    return max(1, round(epoch(num_samples) * stage.epochs))


def _shrink(
    measure: Measure, rows: NDArray[np.int32], cap: int | None, limit: NDArray[np.int64], lengths: Lengths,
    caps: NDArray[np.int32], dropped: NDArray[np.int8],
) -> int:  # fmt: skip
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
    stage: Stage, dropped: NDArray[np.int8], rows: NDArray[np.int32], limit: NDArray[np.int64]
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
