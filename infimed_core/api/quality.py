"""Quality scores, and the parts that give them, select by them, and order training samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core.api.component import Component, Row
from infimed_core.api.data import MediaLoader, Sample, Score
from infimed_core.api.models import Ask


class Scorer(Component):
    """Scores the quality of samples."""

    dimensions: ClassVar[tuple[str, ...]] = ()
    """Names of the parts of every score, in display order."""
    identity_reasons: ClassVar[frozenset[str]] = frozenset()
    """Reason codes of this scorer that say a person may be identifiable in a sample; empty where it does not look."""
    identity_part: ClassVar[str] = ""
    """The part of a score that is ``None`` where identity could not be checked."""

    def given_dimensions(self) -> Sequence[str]:
        """``dimensions``, or those that the settings ask for in their place; empty: not known before it has scored."""
        return self.dimensions

    def fitted(self, samples: Sequence[Sample], media: MediaLoader, directory: Path) -> Scorer:
        """The scorer that scores this data set: itself, or a copy that knows a reference made from the data.

        Called once, before the first ``score``; what must outlive a kill is written to ``directory``, where an earlier
        call may have left it. The reference must not depend on the order of the samples.
        """
        return self

    @abstractmethod
    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        """One score per sample, in order. What cannot be scored is ``None`` with a reason, never dropped.

        A sample's score does not depend on the other samples of the call.
        """


class JudgingScorer(Scorer):
    """Scores by asking a model of the run file's ``models:`` section; runs in one process, the model does the work.

    Before it asks, every sample carries the tag ``identity``: ``flagged`` (an earlier scorer of the run gave one of
    its ``identity_reasons``), ``unchecked`` (none looked, or it could not) or ``clear``.
    """

    model: str = Field(default="judge", description="Which of the run file's models is asked.")

    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        """Not for this kind of scorer: ``judge`` is called instead."""
        raise TypeError(f"{type(self).__name__} scores by asking a model: call judge()")

    @abstractmethod
    def judge(self, samples: Sequence[Sample], media: MediaLoader, ask: Ask) -> list[Score]:
        """One score per sample, in order; a judgement that failed is ``None`` with a reason.

        ``ask`` asks ``model``; its answers are stored, and nothing is asked twice. A score with the status ``error``
        (the model could not be reached) is asked for again by the next run; ``unscored`` is final.
        """


class Selector(Component):
    """Chooses samples by their stored scores; never scores again."""

    def named_dimensions(self) -> Mapping[str, str]:
        """Every dimension that the settings name, with the setting that does; a run that lacks one does not start."""
        return {}

    @abstractmethod
    def select(self, candidates: Sequence[Candidate]) -> Selection:
        """Keep or reject every candidate, each reject with its reasons."""

    def select_rows(self, candidates: Sequence[Candidate]) -> RowSelection:
        """``select`` by place; override it where an id for every candidate would take too much memory.

        Raises:
            ValueError: ``select`` lost a candidate, or gave two verdicts on one.
        """
        selection = self.select(candidates)
        if not isinstance(selection, Selection):
            raise ValueError(f"it returned {type(selection).__name__}, not a Selection")
        return RowSelection.of(selection, candidates)


class Candidate(Row):
    """What a selector sees of a sample: its id, tags and quality score.

    The score is that of the run's first scorer; parts and reasons of the others are in it as ``scorer.part``.
    """

    id: str
    tags: dict[str, str]
    score: Score


class PlannedSample(Candidate):
    """What a curriculum sees of a sample: what a selector sees, and its length where images are as large as they get.

    ``score`` has no value where the run has no ``quality:`` section, or the sample was made after scoring.
    """

    num_tokens: int
    num_images: int


class Curriculum(Component):
    """The order in which a stage sees its samples: in bands, from the smallest difficulty to the greatest.

    Every epoch goes through all bands. Within a band samples come, and are packed, at random.
    """

    bands: int = Field(default=4, ge=2, le=1000, description="Parts of an epoch, each harder than the one before.")

    @abstractmethod
    def difficulties(self, samples: Iterable[PlannedSample]) -> Iterable[float | None]:
        """A finite number for each sample, in order, in any unit; ``None`` is not known, and comes last."""


class Selection(Row):
    """A selector's verdict: the ids kept, in input order, and for every other id why it was not."""

    kept: tuple[str, ...]
    rejected: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class RowSelection:
    """A selector's verdict by place among the candidates: a few bytes a row.

    Attributes:
        codes: int32 [n], ``KEPT`` or the position of the reject's reasons in ``reasons``.
        reasons: the distinct reasons of rejects.
    """

    KEPT: ClassVar[int] = -1

    codes: NDArray[np.int32]
    reasons: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, selection: Selection, candidates: Sequence[Candidate]) -> RowSelection:
        """The same verdict, given by ids."""
        table: dict[tuple[str, ...], int] = {}
        kept = set(selection.kept)
        codes = np.full(len(candidates), cls.KEPT, dtype=np.int32)
        for place, candidate in enumerate(candidates):
            reasons = selection.rejected.get(candidate.id)
            if (reasons is None) != (candidate.id in kept):
                raise ValueError(f"'{candidate.id}' is neither kept nor rejected, or both")
            if reasons is not None:
                codes[place] = table.setdefault(reasons, len(table))
        if len(selection.kept) + len(selection.rejected) != len(candidates):
            raise ValueError(
                f"kept {len(selection.kept)} and rejected {len(selection.rejected)} of {len(candidates)} candidates"
            )
        return cls(codes, tuple(table))

    def rejected(self, place: int) -> tuple[str, ...] | None:
        """Why the candidate at ``place`` is rejected; ``None`` where it is kept."""
        code = int(self.codes[place])
        return None if code == self.KEPT else self.reasons[code]
