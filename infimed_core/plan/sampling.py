"""Which samples a stage draws, in which order, and how many of them make its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import canonical_json
from infimed_core.api.planning import Phase
from infimed_core.api.training import Stage
from infimed_core.errors import InfimedError
from infimed_core.plan.index import Index
from infimed_core.plan.lengths import Measure

_MOST_TRIALS = 40
_FEWEST_STEPS, _FEWEST_STEPS_IN_BAND = 16, 4


def mix_sources(index: Index, stage: Stage, usable: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Rows of the usable samples that each entry of the mix matches; without a mix one source, of all.

    Raises:
        InfimedError: an entry matches none.
    """
    masks = [usable & index.matching(mix) for mix in stage.mix] or [usable]
    sources = [np.flatnonzero(mask).astype(np.int32) for mask in masks]
    for number, source in enumerate(sources):
        if stage.mix and len(source) == 0:
            faults = index.told_faults()
            raise InfimedError(
                f"stage '{stage.name}': mix.{number} ({canonical_json(stage.mix[number].where)}) matches none of the "
                f"{int(usable.sum())} usable samples; compare it with the tags of the data, or remove it"
                + (f"; {faults}" if faults else "")
            )
    return sources


def num_distinct(sources: Sequence[NDArray[np.int32]]) -> int:
    """How many samples the sources hold; one in two sources counts once."""
    return len(sources[0]) if len(sources) == 1 else len(np.unique(np.concatenate(sources)))


def sample_shares(
    stage: Stage, sources: Sequence[NDArray[np.int32]], measure: Measure, phases: Sequence[Phase], most_tokens: int
) -> NDArray[np.float64]:
    """Share of the draws that each source gets, float64 [sources], adding up to 1.

    Where weights are shares of tokens, a source's weight is divided by the mean length of its samples over the
    phases' caps; a sample longer than ``most_tokens`` counts as that long.
    """
    weights = np.array([mix.weight for mix in stage.mix] or [1.0])
    if stage.mix_by == "tokens" and len(sources) > 1:
        spans = np.array([phase.stop - phase.start for phase in phases], dtype=np.float64)
        lengths = [[measure.of(source, phase.max_visual_tokens).tokens for phase in phases] for source in sources]
        capped = [[np.minimum(tokens, most_tokens).mean() for tokens in row] for row in lengths]
        means = np.array(capped) @ spans / spans.sum()
        weights = weights / np.maximum(means, 1.0)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def epoch_draws(stage: Stage, sources: Sequence[NDArray[np.int32]], shares: NDArray[np.float64]) -> float:
    """How many draws one epoch of the stage is, as its ``mix_epoch`` says."""
    whole: list[float] = [len(source) / share for source, share in zip(sources, shares.tolist(), strict=True)]
    return {"all": float(num_distinct(sources)), "shortest": float(int(min(whole))), "longest": max(whole)}[
        stage.mix_epoch
    ]


@dataclass(frozen=True)
class Draws:
    """The samples of a stage in order.

    Attributes:
        rows: int32 [n], rows of the dataset.
        counts: int64 [sources], how many come from each source.
        ends: places in ``rows`` at which a source has been seen whole once more, so that its samples begin to repeat,
            or goes on to its next band.
        fewest_steps: of several sources, how many steps two of these places must at least be apart to divide spans.
    """

    rows: NDArray[np.int32]
    counts: NDArray[np.int64]
    ends: NDArray[np.int64]
    fewest_steps: int = _FEWEST_STEPS


def draw(
    sources: Sequence[NDArray[np.int32]], shares: NDArray[np.float64], count: int, generator: np.random.Generator,
    bands: NDArray[np.int32] | None = None,
) -> Draws:  # fmt: skip
    """``count`` rows in seeded random order: each source goes through all its samples before it repeats one.

    With ``bands`` (int32, by row of the dataset) each time from the lowest band to the highest.
    """
    counts = _apportion(count, shares)
    turns = generator.permutation(np.repeat(np.arange(len(sources), dtype=np.int32), counts))
    rows = np.empty(count, dtype=np.int32)
    ends = []
    for number, (source, share) in enumerate(zip(sources, counts.tolist(), strict=True)):
        passes = [generator.permutation(source) for _ in range(-(-share // len(source)))]
        if passes:
            turn, own = np.flatnonzero(turns == number), np.concatenate(passes)[:share]
            part = np.arange(share) // len(source)
            if bands is not None:
                part = part * (int(bands.max()) + 1) + bands[own]
                order = np.argsort(part, kind="stable")
                own, part = own[order], part[order]
            rows[turn] = own
            ends.append(turn[1:][np.diff(part) > 0])
    places = np.unique(np.concatenate(ends)) if ends else np.zeros(0, dtype=np.int64)
    return Draws(rows, counts, places, _FEWEST_STEPS if bands is None else _FEWEST_STEPS_IN_BAND)


def spans_of(
    draws: Draws, phases: Sequence[Phase], tokens: NDArray[np.int32], step_tokens: int
) -> list[tuple[int, int, int]]:
    """Spans of the draws that share no row and no step: (start, stop, number of the phase).

    A phase is cut wherever a source begins to repeat its samples, so that in training too each is seen once before any
    is seen twice, and at the end of a band. With several sources a cut that would leave too few steps is not made: a
    source of a few samples repeats them as often as its weight says.
    """
    before = np.concatenate([[0], np.cumsum(tokens)])
    spans = []
    for number, phase in enumerate(phases):
        start = phase.start
        for end in draws.ends[(draws.ends > phase.start) & (draws.ends < phase.stop)].tolist():
            if len(draws.counts) == 1 or before[end] - before[start] >= draws.fewest_steps * step_tokens:
                spans.append((start, end, number))
                start = end
        spans.append((start, phase.stop, number))
    return spans


def _apportion(count: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers nearest to ``count * shares`` that add up to ``count`` (largest remainders)."""
    exact = count * shares
    whole = np.floor(exact).astype(np.int64)
    rest = count - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole


def count_reaching(target: int, measured: Callable[[int], int], guess: int) -> tuple[int, int]:
    """Two neighbouring counts between which ``measured`` (growing, nearly) passes ``target``; equal where it hits it.

    ``guess`` is where to begin. A measure that stays at 0 gives ``(guess, guess)``: no count reaches the target.
    """
    low, low_value = 0, 0
    high: int | None = None
    high_value = 0
    trial = max(1, guess)
    for number in range(_MOST_TRIALS):
        value = measured(trial)
        if value == target:
            return trial, trial
        if value < target:
            if value == 0 and trial > 64 * max(1, guess):
                return guess, guess
            low, low_value = trial, value
        else:
            high, high_value = trial, value
        if high is None:
            trial = trial * 2 if value == 0 else max(trial + 1, int(trial * target / value * 1.01))
            continue
        if high - low <= 1:
            break
        # By interpolation, and every third time by halving, so that no shape of the measure makes it crawl.
        share = 0.5 if number % 3 == 2 else (target - low_value) / (high_value - low_value)
        trial = min(high - 1, max(low + 1, low + round((high - low) * share)))
    return low, high if high is not None else low
