"""From an index to the rows of a stage: drawn, cut into phases, packed and ordered; arithmetic alone, no decode."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.components import Encoder, Packer, ResolutionScheduler
from infimed_core.dataset import Index, load_arrays, save_arrays
from infimed_core.errors import InfimedError
from infimed_core.types import JsonObject, Packs, Phase, Stage, canonical_json

NATIVE = -1
"""The cap of a sample seen at native resolution, in arrays."""

DROP_REASONS = ("", "text_too_long", "too_long", "too_many_images", "not_packed")
_WINDOW_STEPS = 50
_SMALLEST_SHRINK = 16


@dataclass(frozen=True)
class CostModel:
    """Relative compute of a sample. The defaults are forward FLOPs of an 8B decoder with a 0.6B vision tower:
    linear layers at 2 FLOPs a weight, causal attention per segment, full attention per image."""

    token: float = 1.0
    token_squared: float = 1.8e-5
    patch: float = 0.075
    patch_squared: float = 7.8e-6


@dataclass(frozen=True)
class Lengths:
    """What samples cost at one cap, int64 [n] each; ``patches_squared`` is summed over a sample's images."""

    tokens: NDArray[np.int64]
    patches: NDArray[np.int64]
    patches_squared: NDArray[np.float64]
    images: NDArray[np.int64]

    def take(self, which: NDArray[np.int64]) -> Lengths:
        """The same for some of the samples."""
        return Lengths(self.tokens[which], self.patches[which], self.patches_squared[which], self.images[which])

    def cost(self, model: CostModel) -> NDArray[np.float64]:
        """Modelled compute, float64 [n]."""
        tokens = self.tokens.astype(np.float64)
        vision = model.patch * self.patches + model.patch_squared * self.patches_squared
        return model.token * tokens + model.token_squared * tokens**2 + vision


@dataclass(frozen=True)
class StagePlan:
    """Which samples of a stage share a row, which rows a step, and at what resolution.

    Attributes:
        rows: int64 [d], the samples drawn, as rows of the dataset, in order.
        caps: int64 [d], most visual tokens an image of each draw, ``NATIVE`` for no limit.
        tokens, supervised, patches, images: int64 [d], what encoding will give, exactly.
        costs: float64 [d], modelled compute.
        dropped: int8 [d], 0 or the number of the reason in ``DROP_REASONS``.
        members, offsets: the packs, as positions in ``rows``, in the order they come.
        steps: int64 [steps + 1]; step ``s`` is packs ``steps[s]`` to ``steps[s + 1]``.
        pack_phases: int64 [packs].
        phases: int64 [phases, 3]: start, stop, cap.
    """

    rows: NDArray[np.int64]
    caps: NDArray[np.int64]
    tokens: NDArray[np.int64]
    supervised: NDArray[np.int64]
    patches: NDArray[np.int64]
    images: NDArray[np.int64]
    costs: NDArray[np.float64]
    dropped: NDArray[np.int8]
    members: NDArray[np.int64]
    offsets: NDArray[np.int64]
    steps: NDArray[np.int64]
    pack_phases: NDArray[np.int64]
    phases: NDArray[np.int64]
    padded: bool
    row_tokens: int
    num_shrunk: int
    made_from: str
    plan_hash: str = field(default="")

    @property
    def packs(self) -> Packs:
        """The packs, as positions in ``rows``."""
        return Packs(self.members, self.offsets)

    def pack_sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum of a per-draw array over each pack, [packs]."""
        return _sums(values[self.members], self.offsets)

    @property
    def padding(self) -> NDArray[np.int64]:
        """int64 [packs]: padding tokens; 0 unless the rows are padded batches."""
        if not self.padded or len(self.offsets) == 1:
            return np.zeros(len(self.offsets) - 1, dtype=np.int64)
        longest = np.maximum.reduceat(self.tokens[self.members], self.offsets[:-1])
        padding: NDArray[np.int64] = longest * np.diff(self.offsets) - self.pack_sums(self.tokens)
        return padding

    def utilisation(self, num_ranks: int) -> float:
        """Modelled share of time in which ranks compute: rows of a step are dealt in order, every round waits for
        its slowest row, and a rank without a row idles."""
        costs = self.pack_sums(self.costs)
        slowest = 0.0
        for size in np.unique(np.diff(self.steps)):
            starts = self.steps[:-1][np.diff(self.steps) == size]
            for first in range(0, int(size), num_ranks):
                width = min(num_ranks, int(size) - first)
                slowest += float(costs[starts[:, None] + np.arange(first, first + width)].max(axis=1).sum())
        return float(costs.sum()) / (num_ranks * slowest) if slowest else 1.0

    def describe(self) -> JsonObject:
        """Counts for the run record."""
        reasons, counts = np.unique(self.dropped[self.dropped > 0], return_counts=True)
        return {
            "num_drawn": len(self.rows),
            "num_rows": len(self.offsets) - 1,
            "num_steps": len(self.steps) - 1,
            "dropped": {DROP_REASONS[int(reason)]: int(count) for reason, count in zip(reasons, counts, strict=True)},
            "shrunk": self.num_shrunk,
            "padding": int(self.padding.sum()),
            "phases": [self._describe_phase(number) for number in range(len(self.phases))],
        }

    def _describe_phase(self, number: int) -> JsonObject:
        start, stop, cap = (int(value) for value in self.phases[number])
        kept = self.dropped[start:stop] == 0
        num_rows = int((self.pack_phases == number).sum())
        padding = int(self.padding[self.pack_phases == number].sum())
        num_tokens = int(self.tokens[start:stop][kept].sum())
        room = num_tokens + padding if self.padded else num_rows * self.row_tokens
        return {
            "max_visual_tokens": None if cap == NATIVE else cap,
            "num_samples": stop - start,
            "num_rows": num_rows,
            "num_tokens": num_tokens,
            "num_supervised": int(self.supervised[start:stop][kept].sum()),
            "num_images": int(self.images[start:stop][kept].sum()),
            "num_patches": int(self.patches[start:stop][kept].sum()),
            "fill": num_tokens / room if room else 0.0,
        }

    def save(self, path: Path) -> None:
        """Write as npz without pickle."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        save_arrays(path, {name: value for name, value in values.items() if name not in arrays}, arrays)

    @classmethod
    def load(cls, path: Path) -> StagePlan:
        """Read what ``save`` wrote."""
        facts, arrays = load_arrays(path)
        values: dict[str, Any] = {**arrays, **facts}
        return cls(**values)


class _Measure:
    """Lengths of every sample of an index at any cap; each size of image is computed once a cap."""

    def __init__(self, index: Index, encoder: Encoder) -> None:
        self._index, self._encoder = index, encoder
        keys, self._which = np.unique(index.sizes[:, 0] << 32 | index.sizes[:, 1], return_inverse=True)
        self._heights, self._widths = keys >> 32, keys & (2**32 - 1)
        self._images = np.diff(index.image_offsets)
        self._done: dict[int | None, Lengths] = {}

    def at(self, cap: int | None) -> Lengths:
        """Lengths at a cap, of all samples."""
        if cap not in self._done:
            visual, patches = self._of_sizes(cap)
            offsets = self._index.image_offsets
            self._done[cap] = Lengths(
                self._index.text + _sums(visual[self._which], offsets),
                _sums(patches[self._which], offsets),
                _sums(patches[self._which].astype(np.float64) ** 2, offsets),
                self._images,
            )
        return self._done[cap]

    def of(self, rows: NDArray[np.int64], cap: int | None) -> Lengths:
        """Lengths at a cap of a few samples, without those of the rest."""
        images = self._images[rows]
        offsets = np.concatenate([[0], np.cumsum(images)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], images)
        kinds, which = np.unique(
            self._which[np.repeat(self._index.image_offsets[rows], images) + within], return_inverse=True
        )
        visual, patches = self._of_sizes(cap, kinds)
        squared = _sums(patches[which].astype(np.float64) ** 2, offsets)
        return Lengths(
            self._index.text[rows] + _sums(visual[which], offsets), _sums(patches[which], offsets), squared, images
        )

    def largest(self, rows: NDArray[np.int64], cap: int | None) -> int:
        """Upper bound of visual tokens of one image of these samples."""
        tokens = self.of(rows, cap).tokens - self._index.text[rows]
        return int(tokens.max(initial=0))

    def _of_sizes(
        self, cap: int | None, kinds: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        heights, widths = (
            (self._heights, self._widths) if kinds is None else (self._heights[kinds], self._widths[kinds])
        )
        if len(heights) == 0:
            return heights, heights
        return self._encoder.visual_sizes(heights, widths, cap)


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
        InfimedError: a ``mix`` entry matches no sample, or the scheduler's phases do not cover the stage.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    measure, budget = _Measure(index, encoder), packer.budget
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
        kept = np.flatnonzero(dropped[span] == 0)
        costs = np.stack([lengths.tokens, lengths.patches, lengths.images], axis=1)[kept]
        grouped = packer.group(costs, budget)
        _check_packs(grouped, costs, budget, packer)
        left_out = np.ones(len(kept), dtype=bool)
        left_out[grouped.members] = False
        dropped[phase.start + kept[left_out]] = DROP_REASONS.index("not_packed")
        pack_costs = _sums(lengths.cost(cost_model or CostModel())[kept][grouped.members], grouped.offsets)
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
    return StagePlan(**values, plan_hash=_hash(values))


def _coded(cap: int | None) -> int:
    return NATIVE if cap is None else cap


def _hash(values: dict[str, Any]) -> str:
    """Digest of everything that decides which rows come when."""
    digest = hashlib.sha256(canonical_json([values["made_from"], values["padded"]]).encode())
    for name in ("rows", "caps", "members", "offsets", "steps"):
        digest.update(np.ascontiguousarray(values[name], dtype="<i8").data)
    return digest.hexdigest()


def _sums(values: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of consecutive spans; an empty span sums to 0 (``reduceat`` would give its neighbour's value)."""
    total = np.zeros(len(values) + 1, dtype=values.dtype)
    np.cumsum(values, out=total[1:])
    sums: NDArray[Any] = total[offsets[1:]] - total[offsets[:-1]]
    return sums


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
    measure: _Measure,
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


def _check_packs(packs: Packs, costs: NDArray[np.int64], budget: NDArray[np.int64], packer: Packer) -> None:
    name = type(packer).__name__
    counts = np.bincount(packs.members, minlength=len(costs)) if len(packs.members) else np.zeros(0)
    if len(counts) > len(costs) or (counts > 1).any():
        raise InfimedError(f"packer {name} put an index into two rows, or one that it was not given")
    for column, what in enumerate(("tokens", "patches", "images")):
        if (_sums(costs[packs.members, column], packs.offsets) > budget[column]).any():
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
