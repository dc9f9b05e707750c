"""Selectors: stored scores in, kept ids and reasons out; nothing is scored again."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from infimed_core import Candidate, Selection, Selector
from infimed_plugins.quality.reasons import GATES, Reason

OnNull = Literal["keep", "reject"]


def tie_break(identity: str) -> str:
    """Orders samples of equal value, the same on every machine and unrelated to their place in the file."""
    return hashlib.sha256(identity.encode()).hexdigest()


def best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By value from high to low; samples without a value last; ties by a hash of the id."""

    def key(candidate: Candidate) -> tuple[float, str]:
        value = candidate.score.value
        return (math.inf if value is None else -value, tie_break(candidate.id))

    return sorted(candidates, key=key)


class GatedSelector(Selector):
    """Rejects first what cannot be used: errors, failed gates and, unless kept, samples without a value."""

    gates: bool = Field(default=True, description="Reject samples that fail a gate of the profile.")
    on_null: OnNull = Field(default="reject", description="What becomes of a sample or dimension without a value.")

    def _barred(self, candidate: Candidate) -> tuple[str, ...]:
        """Why a candidate is out before any comparison; empty where it is not."""
        score = candidate.score
        if score.status == "error":
            return score.reasons or (Reason.SCORE_MISSING.value,)
        if self.gates and GATES & set(score.reasons):
            return score.reasons
        if score.value is None and self.on_null == "reject":
            return (*score.reasons, Reason.SCORE_MISSING.value)
        return ()

    def _select(
        self, candidates: Sequence[Candidate], choose: Callable[[list[Candidate]], dict[str, tuple[str, ...]]]
    ) -> Selection:
        """Gate, let ``choose`` reject among the rest, and account for every candidate."""
        rejected = {candidate.id: reasons for candidate in candidates if (reasons := self._barred(candidate))}
        rejected |= choose([candidate for candidate in candidates if candidate.id not in rejected])
        kept = tuple(candidate.id for candidate in candidates if candidate.id not in rejected)
        return Selection(kept=kept, rejected=rejected)


class Threshold(GatedSelector):
    """Keeps samples whose value and dimensions reach their minima.

    ``on_null: keep`` passes a dimension without a value; ``reject`` turns it away, where a minimum names it.
    """

    minimum: float = Field(default=0.0, ge=0.0, le=1.0, description="Least composite value.")
    minima: dict[str, float] = Field(default_factory=dict, description="Least value by dimension.")

    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """Rejects carry ``below_minimum`` or ``score_missing``, followed by the score's own reasons."""
        return self._select(candidates, self._below)

    def _below(self, candidates: list[Candidate]) -> dict[str, tuple[str, ...]]:
        rejected = {}
        for candidate in candidates:
            wanted = [(candidate.score.value, self.minimum)] if self.minimum > 0 else []
            wanted += [(candidate.score.parts.get(name), least) for name, least in sorted(self.minima.items())]
            reasons = []
            if any(value is not None and value < least for value, least in wanted):
                reasons.append(Reason.BELOW_MINIMUM.value)
            if self.on_null == "reject" and any(value is None for value, _ in wanted):
                reasons.append(Reason.SCORE_MISSING.value)
            if reasons:
                rejected[candidate.id] = (*reasons, *candidate.score.reasons)
        return rejected


class TopShare(GatedSelector):
    """Keeps the best share of all candidates, or of the candidates with each value of a tag.

    The share is of every candidate that came in, gated ones too: ``keep: 0.8`` of 100 keeps 80 where 80 pass.
    """

    keep: float = Field(default=0.8, gt=0.0, le=1.0, description="Share to keep.")
    per_tag: str | None = Field(default=None, description="Keep the share of each value of this tag (modality ...).")

    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """Rejects carry ``below_share``, followed by the score's own reasons."""
        sizes = {group: len(members) for group, members in _grouped(candidates, self.per_tag).items()}

        def choose(passing: list[Candidate]) -> dict[str, tuple[str, ...]]:
            rejected = {}
            for group, members in _grouped(passing, self.per_tag).items():
                # Rounded first: 0.7 * 10 is a little over 7 in floating point, and 8 would be wrong.
                limit = math.ceil(round(self.keep * sizes[group], 9))
                for candidate in best_first(members)[limit:]:
                    rejected[candidate.id] = (Reason.BELOW_SHARE.value, *candidate.score.reasons)
            return rejected

        return self._select(candidates, choose)


class Quota(GatedSelector):
    """Keeps at most so many samples of each value of a tag, the best first."""

    tag: str = Field(default="modality", description="Tag whose values have quotas.")
    quotas: dict[str, int] = Field(default_factory=dict, description="Most samples by value of the tag.")
    otherwise: int | None = Field(
        default=None, ge=0, description="Most samples of every other value; no limit if empty."
    )

    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """Rejects carry ``over_quota``, followed by the score's own reasons."""
        return self._select(candidates, self._over)

    def _over(self, candidates: list[Candidate]) -> dict[str, tuple[str, ...]]:
        rejected = {}
        for group, members in _grouped(candidates, self.tag).items():
            limit = self.quotas.get(group, self.otherwise)
            if limit is not None:
                for candidate in best_first(members)[max(0, limit) :]:
                    rejected[candidate.id] = (Reason.OVER_QUOTA.value, *candidate.score.reasons)
        return rejected


class Budget(GatedSelector):
    """Keeps ``num_samples`` that are good and unlike one another: greedy k-centre weighted by quality.

    Each step takes the sample with the largest ``value * distance ** diversity`` to what is kept already (Gonzalez'
    k-centre for value 1). Features are the tags and the score's parts and raw measurements, hashed to ``width``
    numbers; they say nothing of meaning, so that diversity is one of kinds and of picture statistics.
    """

    num_samples: int = Field(ge=1, description="How many samples to keep.")
    diversity: float = Field(default=1.0, ge=0.0, description="0 is quality alone.")
    tags: tuple[str, ...] = Field(
        default=("modality", "task_type", "source", "image"), description="Tags to spread over."
    )
    width: int = Field(default=64, ge=8, le=1024, description="Numbers in a feature vector.")

    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """Rejects carry ``over_budget``, followed by the score's own reasons."""
        return self._select(candidates, self._over)

    def _over(self, candidates: list[Candidate]) -> dict[str, tuple[str, ...]]:
        if len(candidates) <= self.num_samples:
            return {}
        ordered = best_first(candidates)
        values = np.array([candidate.score.value or 0.0 for candidate in ordered])
        features = np.stack([self._features(candidate) for candidate in ordered])
        chosen = [0]
        nearest = np.linalg.norm(features - features[0], axis=1)
        taken = np.zeros(len(ordered), dtype=bool)
        taken[0] = True
        while len(chosen) < self.num_samples:
            gain = values * np.power(nearest + 1e-6, self.diversity)
            gain[taken] = -1.0
            best = int(np.argmax(gain))  # the first of equals: the better sample, then the hash of its id
            chosen.append(best)
            taken[best] = True
            np.minimum(nearest, np.linalg.norm(features - features[best], axis=1), out=nearest)
        return {
            candidate.id: (Reason.OVER_BUDGET.value, *candidate.score.reasons)
            for candidate, kept in zip(ordered, taken, strict=True)
            if not kept
        }

    def _features(self, candidate: Candidate) -> np.ndarray:  # type: ignore[type-arg]
        vector = np.zeros(self.width, dtype=np.float64)
        for tag in self.tags:
            place = int.from_bytes(hashlib.sha256(f"{tag}={candidate.tags.get(tag, '')}".encode()).digest()[:4], "big")
            vector[place % self.width] += 1.0
        numbers = {**candidate.score.parts, **candidate.score.raw}
        for name, number in sorted(numbers.items()):
            if number is not None:
                place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
                vector[place % self.width] += math.tanh(number) * 0.5
        return vector


def _grouped(candidates: Iterable[Candidate], tag: str | None) -> dict[str, list[Candidate]]:
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups["" if tag is None else candidate.tags.get(tag, "")].append(candidate)
    return groups
