"""Selectors: stored scores in, kept ids and reasons out; nothing is scored again."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Candidate, InfimedError, RowSelection, Score, Selection, Selector
from infimed_plugins.quality.composite import composite
from infimed_plugins.quality.reasons import BELOW_MINIMUM, Reason

OnNull = Literal["keep", "reject"]
Reasons = tuple[str, ...]


def tie_break(identity: str, salt: str = "") -> int:
    """Orders samples of equal value, the same on every machine and unrelated to their place in the file."""
    return int.from_bytes(hashlib.blake2b(f"{salt}{identity}".encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Columns:
    """What a selector keeps of the candidates that may be chosen: thin columns, not the candidates.

    Attributes:
        places: int64 [n], the place of each among all candidates.
        values: float64 [n], ``nan`` where there is none.
        groups: int64 [n], the number of the candidate's group.
        ties: uint64 [n], a hash of the id that orders equal values.
        names: the groups.
        sizes: candidates by group, those barred before any comparison included.
        features: float32 [n, width], where the selector asks for any.
    """

    places: NDArray[np.int64]
    values: NDArray[np.float64]
    groups: NDArray[np.int64]
    ties: NDArray[np.uint64]
    names: list[str]
    sizes: list[int]
    features: NDArray[np.float32]

    def best_first(self) -> NDArray[np.int64]:
        """Places in the columns by value from high to low; without a value last; ties by a hash of the id."""
        return np.lexsort((self.ties, -np.nan_to_num(self.values, nan=-1.0)))


class _Codes:
    """Reasons by number, equal ones once."""

    def __init__(self) -> None:
        self.table: dict[Reasons, int] = {}

    def of(self, reasons: Reasons) -> int:
        return self.table.setdefault(reasons, len(self.table))


class GatedSelector(Selector):
    """Rejects first what cannot be used: errors, failed hard minimums and, unless kept, samples without a value.

    Dimensions of the run's first scorer go by their names, those of every other as ``scorer.dimension``
    (``quality-judge.alignment``). The value is the first scorer's, unless it is made again.
    """

    hard_minimums: bool = Field(default=True, description="Reject samples below a hard minimum of the profile.")
    on_null: OnNull = Field(default="reject", description="What becomes of a sample or dimension without a value.")
    without: tuple[str, ...] = Field(
        default=(),
        description="Dimensions that take no part: the value is made again from the others, without their minimums.",
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="Weights of dimensions for a value made again: by default 1 for the first scorer's, 0 for others'.",
    )

    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """``select_rows`` by ids."""
        listed = list(candidates)
        verdict = self.select_rows(listed)
        told = [(candidate.id, verdict.rejected(place)) for place, candidate in enumerate(listed)]
        kept = tuple(identity for identity, reasons in told if reasons is None)
        return Selection(kept=kept, rejected={name: reasons for name, reasons in told if reasons is not None})

    def select_rows(self, candidates: Sequence[Candidate]) -> RowSelection:
        """Go through the candidates once; every one is kept or rejected with its reasons.

        Raises:
            InfimedError: a dimension that the settings name is in no score, or a tag that they name on no sample.
        """
        known: dict[str, None] = {}
        numbers: dict[str, int] = {}
        sizes: list[int] = []
        codes = _Codes()
        verdict, own = array("i"), array("i")
        places, groups, ties, values, features = array("q"), array("q"), array("Q"), array("d"), array("f")
        for place, candidate in enumerate(candidates):
            parts = candidate.score.parts.keys()
            if not parts <= known.keys():
                known |= dict.fromkeys(parts)
            number = numbers.setdefault(self._group(candidate), len(numbers))
            if number == len(sizes):
                sizes.append(0)
            sizes[number] += 1
            value = self._value(candidate.score)
            barred = self._barred(candidate.score, value)
            verdict.append(codes.of(barred) if barred else RowSelection.KEPT)
            if barred:
                continue
            places.append(place)
            ties.append(tie_break(candidate.id, self._salt))
            values.append(float("nan") if value is None else value)
            groups.append(number)
            own.append(codes.of(candidate.score.reasons))
            vector = self._features(candidate)
            if vector is not None:
                features.frombytes(vector.tobytes())
        self._check_names(known, numbers)
        columns = Columns(
            np.frombuffer(places, dtype=np.int64),
            np.frombuffer(values, dtype=np.float64),
            np.frombuffer(groups, dtype=np.int64),
            np.frombuffer(ties, dtype=np.uint64),
            list(numbers),
            sizes,
            np.frombuffer(features, dtype=np.float32).reshape(len(places), -1 if features else 0),
        )
        result = np.frombuffer(verdict, dtype=np.int32)  # shares memory with the list that was filled
        before = list(codes.table)
        for index, reason in self._turned_away(columns):
            result[columns.places[index]] = codes.of((reason.value, *before[own[index]]))
        return RowSelection(result, tuple(codes.table))

    def _check_names(self, known: Mapping[str, None], numbers: Mapping[str, int]) -> None:
        named = self.named_dimensions().keys()
        if known and not named <= known.keys():
            missing, there = ", ".join(sorted(named - known.keys())), ", ".join(known)
            raise InfimedError(f"quality.select: no scorer of this run gave the dimension {missing}; there are {there}")
        if self._group_tag is not None and set(numbers) == {""}:
            raise InfimedError(f"quality.select: no sample has the tag '{self._group_tag}'; name one that samples have")

    def named_dimensions(self) -> Mapping[str, str]:
        """Those left out and those weighed."""
        return {**dict.fromkeys(self.without, "without"), **dict.fromkeys(self.weights, "weights")}

    def _value(self, score: Score) -> float | None:
        if not self.without and not self.weights:
            return score.value
        if score.status == "error":
            return None
        parts = {name: part for name, part in score.parts.items() if name not in self.without}
        return composite(parts, {name: self.weights.get(name, 0.0 if "." in name else 1.0) for name in parts})

    def _barred(self, score: Score, value: float | None) -> Reasons:
        """Why a candidate is out before any comparison; empty where it is not."""
        if score.status == "error":
            return score.reasons or (Reason.SCORE_MISSING.value,)
        if self.hard_minimums:
            failed = (BELOW_MINIMUM - {f"below_minimum_{name}" for name in self.without}) & set(score.reasons)
            if failed:  # the minimum first: it is what turned the sample away
                return (*sorted(failed), *(reason for reason in score.reasons if reason not in failed))
        if value is None and self.on_null == "reject":
            return (*score.reasons, Reason.SCORE_MISSING.value)
        return ()

    @property
    def _salt(self) -> str:
        """What is hashed with the id for the order of equal values."""
        return ""

    @property
    def _group_tag(self) -> str | None:
        """Candidates with one value of this tag compete with one another; ``None``: all do."""
        return None

    def _group(self, candidate: Candidate) -> str:
        return "" if self._group_tag is None else candidate.tags.get(self._group_tag, "")

    def _features(self, candidate: Candidate) -> NDArray[np.float32] | None:
        """Float32 [width], the same width for all, of a candidate that may be chosen; ``None``: none are needed."""
        return None

    @abstractmethod
    def _turned_away(self, columns: Columns) -> Iterable[tuple[int, Reason]]:
        """Places in the columns that are not kept, each with the reason."""


class Threshold(GatedSelector):
    """Keeps samples whose value and dimensions reach their minima.

    ``on_null: keep`` passes a dimension without a value; ``reject`` turns it away, where a minimum names it.
    Rejects carry ``below_minimum`` or ``score_missing``, followed by the score's own reasons.
    """

    minimum: float = Field(default=0.0, ge=0.0, le=1.0, description="Least composite value.")
    minima: dict[str, float] = Field(default_factory=dict, description="Least value by dimension.")

    def named_dimensions(self) -> Mapping[str, str]:
        """Those with a minimum too."""
        return {**super().named_dimensions(), **dict.fromkeys(self.minima, "minima")}

    def _barred(self, score: Score, value: float | None) -> Reasons:
        barred = super()._barred(score, value)
        if barred:
            return barred
        wanted = [(value, self.minimum)] if self.minimum > 0 else []
        wanted += [(score.parts.get(name), least) for name, least in sorted(self.minima.items())]
        reasons = []
        if any(found is not None and found < least for found, least in wanted):
            reasons.append(Reason.BELOW_MINIMUM.value)
        if self.on_null == "reject" and any(found is None for found, _ in wanted):
            reasons.append(Reason.SCORE_MISSING.value)
        return (*reasons, *score.reasons) if reasons else ()

    def _turned_away(self, columns: Columns) -> Iterable[tuple[int, Reason]]:
        return ()


class _Share(GatedSelector):
    keep: float = Field(default=0.8, gt=0.0, le=1.0, description="Share to keep.")
    per_tag: str | None = Field(default=None, description="Keep the share of each value of this tag (modality ...).")

    @property
    def _group_tag(self) -> str | None:
        return self.per_tag

    def _ordered(self, columns: Columns) -> tuple[NDArray[np.int64], Reason]:
        """Places, those to keep first, and why the others go."""
        return columns.best_first(), Reason.BELOW_SHARE

    def _turned_away(self, columns: Columns) -> Iterable[tuple[int, Reason]]:
        ordered, reason = self._ordered(columns)
        # Rounded first: 0.7 * 10 is a little over 7 in floating point, and 8 would be wrong.
        left = [int(np.ceil(round(self.keep * size, 9))) for size in columns.sizes]
        for place in ordered.tolist():
            group = int(columns.groups[place])
            left[group] -= 1
            if left[group] < 0:
                yield place, reason


class TopShare(_Share):
    """Keeps the best share of all candidates, or of the candidates with each value of a tag.

    The share is of every candidate, those below a minimum too: ``keep: 0.8`` of 100 keeps 80 where 80 pass.
    Rejects carry ``below_share``, followed by the score's own reasons.
    """


class BottomShare(_Share):
    """Keeps the worst share: the other half of an ablation, never a way to choose data.

    Rejects carry ``above_share``. Hard minimums are off unless they are asked for.
    """

    hard_minimums: bool = Field(default=False, description="Reject samples below a hard minimum of the profile.")

    def _ordered(self, columns: Columns) -> tuple[NDArray[np.int64], Reason]:
        return columns.best_first()[::-1], Reason.ABOVE_SHARE


class RandomShare(_Share):
    """Keeps a share drawn by a hash of seed and id, whatever the scores: what any selection has to beat.

    Rejects carry ``not_drawn``. Hard minimums are off unless they are asked for; samples in error cannot be drawn.
    """

    hard_minimums: bool = Field(default=False, description="Reject samples below a hard minimum of the profile.")
    on_null: OnNull = Field(default="keep", description="What becomes of a sample without a value.")
    seed: int = Field(default=0, description="Another seed draws others.")

    def _ordered(self, columns: Columns) -> tuple[NDArray[np.int64], Reason]:
        return np.argsort(columns.ties, kind="stable"), Reason.NOT_DRAWN

    @property
    def _salt(self) -> str:
        return f"{self.seed}|"


class Quota(GatedSelector):
    """Keeps at most so many samples of each value of a tag, the best first.

    Rejects carry ``over_quota``, followed by the score's own reasons.
    """

    tag: str = Field(default="modality", description="Tag whose values have quotas.")
    quotas: dict[str, int] = Field(default_factory=dict, description="Most samples by value of the tag.")
    otherwise: int | None = Field(
        default=None, ge=0, description="Most samples of every other value; no limit if empty."
    )

    @property
    def _group_tag(self) -> str:
        return self.tag

    def _turned_away(self, columns: Columns) -> Iterable[tuple[int, Reason]]:
        left = [self.quotas.get(name, self.otherwise) for name in columns.names]
        for place in columns.best_first().tolist():
            group = int(columns.groups[place])
            limit = left[group]
            if limit is not None:
                if limit <= 0:
                    yield place, Reason.OVER_QUOTA
                left[group] = limit - 1
