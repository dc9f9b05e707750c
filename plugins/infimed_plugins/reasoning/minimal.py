"""The selector ``minimal-sample``: few samples that are good, neither too easy nor too hard, and of many kinds."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from pydantic import Field, model_validator

from infimed_core import Candidate, Selection, Selector


class MinimalSample(Selector):
    """Keeps ``budget`` samples: the kinds that ``spread`` names in turn, of each kind the best first.

    How good a sample is, is its composite quality; where it has a difficulty (``difficulty`` names a part of the score:
    a model's share of right answers, pass@K / K), samples outside ``band`` come after all others of their kind: what
    is always right teaches little, and what is never right cannot be learned yet. Near to each other are samples of
    one ``group`` (a study, a patient): of those the second comes after the first of every other group.
    """

    budget: int | None = Field(default=None, ge=1, description="How many samples are kept; this or 'share'.")
    share: float | None = Field(default=None, gt=0.0, le=1.0, description="Share of the samples that is kept.")
    spread: tuple[str, ...] = Field(
        default=("modality", "task_type"), description="Tags whose values together make a kind; kinds share alike."
    )
    group: str = Field(default="study", description="Tag of what samples share; one of each group comes first.")
    difficulty: str | None = Field(default=None, description="Part of the score that is the share of right answers.")
    band: tuple[float, float] = Field(
        default=(0.25, 0.75), description="Shares of right answers that teach most (InfiMed2: 3 to 5 of 8)."
    )
    minimum: float = Field(default=0.0, ge=0.0, le=1.0, description="Composite under which none is kept.")
    seed: int = Field(default=0, description="Seed of the order among equals.")

    @model_validator(mode="after")
    def _one_size(self) -> MinimalSample:
        if (self.budget is None) == (self.share is None):
            raise ValueError("set either budget or share")
        return self

    def named_dimensions(self) -> dict[str, str]:
        """The part that is the difficulty."""
        return {} if self.difficulty is None else {self.difficulty: "difficulty"}

    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """Kinds in turn; rejects are unscored, under the minimum, or over the budget."""
        rejected: dict[str, tuple[str, ...]] = {}
        kinds: dict[tuple[str, ...], list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            value = candidate.score.value
            if value is None:
                rejected[candidate.id] = ("unscored",)
            elif value < self.minimum:
                rejected[candidate.id] = ("below_minimum",)
            else:
                kinds[tuple(candidate.tags.get(tag, "") for tag in self.spread)].append(candidate)
        budget = self.budget if self.budget is not None else round((self.share or 0.0) * len(candidates))
        queues = [iter(self._in_order(kinds[kind])) for kind in sorted(kinds)]
        kept: set[str] = set()
        while queues and len(kept) < budget:
            for queue in tuple(queues):
                found = next(queue, None)
                if found is None:
                    queues.remove(queue)
                elif len(kept) < budget:
                    kept.add(found.id)
        rejected |= {c.id: ("over_budget",) for c in candidates if c.id not in kept and c.id not in rejected}
        return Selection(kept=tuple(c.id for c in candidates if c.id in kept), rejected=rejected)

    def _in_order(self, members: Sequence[Candidate]) -> list[Candidate]:
        """The samples of a kind, best first: the first of every group, then the second of every group, and so on."""
        best = sorted(members, key=lambda c: (*self._worth(c), self._chance(c.id)))
        turns: dict[str, int] = defaultdict(int)
        rounds = []
        for place, candidate in enumerate(best):
            group = candidate.tags.get(self.group) or candidate.id
            rounds.append((self._is_outside(candidate), turns[group], place))
            turns[group] += 1
        return [best[place] for _, _, place in sorted(rounds)]

    def _worth(self, candidate: Candidate) -> tuple[bool, float]:
        return self._is_outside(candidate), -(candidate.score.value or 0.0)

    def _is_outside(self, candidate: Candidate) -> bool:
        """Whether a sample is known to be too easy or too hard."""
        share = candidate.score.parts.get(self.difficulty) if self.difficulty is not None else None
        return share is not None and not self.band[0] <= share <= self.band[1]

    def _chance(self, identity: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}|{identity}".encode()).digest()[:8], "big")
