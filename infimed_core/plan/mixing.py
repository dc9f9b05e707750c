"""How rows are dealt to steps, and how near rows and steps are to random draws of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject
from infimed_core.api.planning import Packs
from infimed_core.api.training import Stage

if TYPE_CHECKING:
    from infimed_core.plan.index import Index

_WINDOW_STEPS = (50, 16, 4, 2)
_MOST_KINDS = 64
_SORTED_MORE = 1.08
FEWEST_SAMPLES = 8
"""A step with fewer samples follows a few of them, not the data."""
MOST_SHARE = 1.1
"""Pairs of one kind in a step, as a multiple of those in a random draw, above which a step is far from random."""


def kinds_of(index: Index, rows: NDArray[np.int32], tokens: NDArray[np.int32]) -> dict[str, NDArray[np.int8]]:
    """By what samples are told apart, int8 [n] each: the decile of their length, and every tag of a few values."""
    kinds = {}
    if len(rows):
        bounds = np.quantile(tokens, np.arange(1, 10) / 10)
        kinds["length"] = np.searchsorted(bounds, tokens, side="right").astype(np.int8)
    for tag, values in index.tag_values.items():
        if 1 < len(values) <= _MOST_KINDS:
            kinds[tag] = index.tag_codes[tag][rows].astype(np.int8) + np.int8(1)
    return kinds


def pair_share(groups: NDArray[np.integer[Any]], kind: NDArray[np.integer[Any]]) -> tuple[float, int]:
    """Share of the pairs within a group (both [n]) that are of one kind, and how many pairs there are."""
    width = int(kind.max(initial=0)) + 1
    cells = groups.astype(np.int64)
    cells *= width
    cells += kind
    counts = np.bincount(cells).astype(np.float64)
    sizes = np.bincount(groups).astype(np.float64)
    pairs = float((sizes * (sizes - 1)).sum())
    return (float((counts * (counts - 1)).sum()) / pairs if pairs else 0.0), int(pairs / 2)


def mixing_of(
    kinds: Mapping[str, NDArray[np.int8]], members: NDArray[np.integer[Any]], row_of: NDArray[np.int32],
    step_of: NDArray[np.int32], rows: NDArray[np.int32], bands: NDArray[np.int32] | None = None,
) -> JsonObject:  # fmt: skip
    """How near rows and steps are to random draws, for the record; all arrays but ``kinds`` and ``rows`` are by member.

    Where a curriculum gave ``bands`` (by row of the dataset), random draws are those from the band of each sample.

    ``kinds`` maps a kind to the share of pairs of samples that are alike in it: in a random draw, within rows and
    within steps. ``far`` names those of which steps hold clearly more. ``repeats_in_step`` counts samples that stand in
    a step more than once.
    """
    if len(members) == 0:
        return {}
    sizes = np.bincount(step_of)
    drawn = rows[members]
    among = np.zeros(len(drawn), dtype=np.int8) if bands is None else bands[drawn]
    repeats = 0
    if np.bincount(drawn).max() > 1:
        repeats = int((np.diff(np.sort(step_of.astype(np.int64) * (int(drawn.max()) + 1) + drawn)) == 0).sum())
    facts: JsonObject = {"num_steps": len(sizes), "samples_per_step": float(sizes.mean())}
    facts |= {"repeats_in_step": repeats, "kinds": {}, "far": []}
    for name, kind in kinds.items():
        packed = kind[members]
        random, _ = pair_share(among, packed)
        if len(packed) < 2 or random == 1.0:
            continue
        (row, _), (step, num_pairs) = pair_share(row_of, packed), pair_share(step_of, packed)
        facts["kinds"][name] = {"random": random, "row": row, "step": step}
        # Chance alone makes a difference too, where pairs are few.
        chance = 4 * (random * (1 - random) / max(1, num_pairs)) ** 0.5
        if step > MOST_SHARE * random and step - random > max(chance, 0.02):
            facts["far"].append(name)
    return facts


def mixing_warnings(stage: Stage, mixing: Mapping[str, Any], most_in_row: int | None = None) -> list[str]:
    """What to tell of a plan whose steps are small or far from random draws; ``mixing`` is empty before it is made.

    ``most_in_row`` is the most samples that the packer puts into a row, where that is known without a plan.
    """
    warnings = []
    most = most_in_row * stage.rows_per_step if most_in_row is not None else None
    size = mixing.get("samples_per_step", stage.samples_per_step or most)
    if size is not None and size < FEWEST_SAMPLES and mixing.get("num_steps", 2) > 1:
        enough = f"rows_per_step: {math.ceil(stage.rows_per_step * FEWEST_SAMPLES / size)} would give about"
        enough = enough if stage.samples_per_step is None else "samples_per_step gives it others; take at least"
        warnings.append(
            f"stage '{stage.name}': an optimizer step holds {'about' if mixing else 'at most'} {size:.3g} samples, so "
            f"its gradient follows a few of them; {enough} {FEWEST_SAMPLES}"
        )
    for name in mixing.get("far", ()):
        shares = mixing["kinds"][name]
        warnings.append(
            f"stage '{stage.name}': steps are far from random draws: {shares['step']:.0%} of the pairs of samples in a "
            f"step are alike in '{name}', of random pairs {shares['random']:.0%}; raise rows_per_step, or use a packer "
            "that does not sort (best-fit)"
        )
    return warnings


def told_passes(stage: Stage, sources: Sequence[JsonObject]) -> str:
    """How often each entry of the mix is seen, in one line."""
    parts = []
    for source in sources:
        where = ", ".join(f"{tag}: {value}" for tag, value in source["where"].items()) or "all"
        parts.append(f"{{{where}}} {source['passes']:.2f} times ({source['num_drawn']:,} of {source['num_samples']:,})")
    return f"stage '{stage.name}' sees the samples of its mix: {'; '.join(parts)}"


def deal_to_steps(
    packs: Packs, costs: NDArray[np.float64], kinds: Mapping[str, NDArray[np.int8]], num_steps: int,
    generator: np.random.Generator, by_cost: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Order of the packs and the end of each step; rows are dealt evenly, so no step is much smaller than the others.

    Rows of like cost share a step, so that no rank waits long for another, as far as the steps stay as mixed as random
    draws: the sort is confined to windows of fewer steps until they are. Where rows in random order are not mixed
    enough either (some full of long samples, others of short ones), each step gets rows of few and of many samples.
    ``kinds`` are by draw, as ``packs.members``.
    """
    order = generator.permutation(len(costs))
    ends = np.arange(1, num_steps + 1) * len(order) // max(1, num_steps)
    if not by_cost or num_steps == len(order) or num_steps <= 1:
        return order, ends
    sizes = np.diff(packs.offsets)
    packed = [kind[packs.members] for kind in kinds.values()]
    random = [pair_share(np.zeros_like(kind), kind)[0] for kind in packed]

    def excess(trial: NDArray[np.int64], trial_ends: NDArray[np.int64]) -> float:
        step_of_pack = np.empty(len(trial), dtype=np.int32)
        step_of_pack[trial] = np.searchsorted(trial_ends, np.arange(len(trial)), side="right")
        step_of = np.repeat(step_of_pack, sizes)
        shares = [pair_share(step_of, kind)[0] for kind in packed]
        return max((here / there for here, there in zip(shares, random, strict=True) if there), default=1.0)

    best, least = (order, ends), math.inf
    for width in (*_WINDOW_STEPS, 0, -1):
        if width > 0:
            trial = _sorted_in_windows(order, ends, costs, width, generator)
        else:
            trial = (order, ends) if width == 0 else _spread(order, ends, sizes, generator)
        if (more := excess(*trial)) <= _SORTED_MORE:
            return trial
        if more < least:
            best, least = trial, more
    return best


def _spread(
    order: NDArray[np.int64], ends: NDArray[np.int64], sizes: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Packs dealt so that every step gets one of those with the fewest samples, one of the next, and so on."""
    by_size = order[np.argsort(sizes[order], kind="stable")]
    turns = [generator.permutation(len(ends)) for _ in range(-(-len(order) // len(ends)))]
    step = np.concatenate(turns)[: len(order)]
    return by_size[np.argsort(step, kind="stable")], np.cumsum(np.bincount(step, minlength=len(ends)))


def _sorted_in_windows(
    order: NDArray[np.int64], ends: NDArray[np.int64], costs: NDArray[np.float64], width: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Packs sorted by cost inside windows of ``width`` steps, and the steps of each window shuffled."""
    step = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    by_cost = order[np.lexsort((costs[order], step // width))]
    turn = np.argsort(np.lexsort((generator.random(len(ends)), np.arange(len(ends)) // width)))
    moved = np.argsort(turn[step], kind="stable")
    sizes = np.bincount(turn[step], minlength=len(ends))
    return by_cost[moved], np.cumsum(sizes)
