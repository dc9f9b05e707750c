"""Which samples a stage draws, in which order, and how many of them make its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import canonical_json
from infimed_core.api.planning import Phase
from infimed_core.api.training import Stage
from infimed_core.errors import InfimedError
from infimed_core.plan.index import Index
from infimed_core.plan.lengths import Measure

_MOST_TRIALS = 40


def mix_sources(index: Index, stage: Stage, usable: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Rows of the usable samples that each entry of the mix matches; without a mix one source, of all.

    Raises:
        InfimedError: an entry matches none.
    """
    sources = [np.flatnonzero(usable & index.matching(mix)) for mix in stage.mix] or [np.flatnonzero(usable)]
    for number, source in enumerate(sources):
        if stage.mix and len(source) == 0:
            faults = index.told_faults()
            raise InfimedError(
                f"stage '{stage.name}': mix.{number} ({canonical_json(stage.mix[number].where)}) matches none of the "
                f"{int(usable.sum())} usable samples; compare it with the tags of the data, or remove it"
                + (f"; {faults}" if faults else "")
            )
    return sources


def num_distinct(sources: Sequence[NDArray[np.int64]]) -> int:
    """How many samples the sources hold; one in two sources counts once."""
    return len(sources[0]) if len(sources) == 1 else len(np.unique(np.concatenate(sources)))


def sample_shares(
    stage: Stage, sources: Sequence[NDArray[np.int64]], measure: Measure, phases: Sequence[Phase], most_tokens: int
) -> NDArray[np.float64]:
    """Share of the draws that each source gets, float64 [sources], adding up to 1.

    Where weights are shares of tokens, a source's weight is divided by the mean length of its samples over the
    phases' caps; a sample longer than ``most_tokens`` counts as that long.
    """
    weights = np.array([mix.weight for mix in stage.mix] or [1.0])
    if stage.mix_by == "tokens" and len(sources) > 1:
        spans = np.array([phase.stop - phase.start for phase in phases], dtype=np.float64)
        lengths = [np.minimum(measure.at(phase.max_visual_tokens).tokens, most_tokens) for phase in phases]
        means = np.array([[tokens[source].mean() for tokens in lengths] for source in sources]) @ spans / spans.sum()
        weights = weights / np.maximum(means, 1.0)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def draw(
    sources: Sequence[NDArray[np.int64]], shares: NDArray[np.float64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """``count`` rows in seeded random order: each source goes through all its samples before it repeats one."""
    counts = _apportion(count, shares)
    turns = generator.permutation(np.repeat(np.arange(len(sources)), counts))
    rows = np.empty(count, dtype=np.int64)
    for number, (source, share) in enumerate(zip(sources, counts, strict=True)):
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
