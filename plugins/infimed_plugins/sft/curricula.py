"""The curricula ``by-length`` and ``by-score``: which samples of a stage come first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from infimed_core import Curriculum, InfimedError, PlannedSample


class ByLength(Curriculum):
    """Short samples before long ones, by tokens, or by images and then by tokens."""

    by: Literal["tokens", "images"] = Field(
        default="tokens", description="tokens: with those of images; images: few images first, then by tokens."
    )
    longest_first: bool = Field(default=False, description="The other way round.")

    def difficulties(self, samples: Iterable[PlannedSample]) -> Iterator[float]:
        """Tokens, or images with the tokens as a fraction."""
        sign = -1.0 if self.longest_first else 1.0
        for sample in samples:
            length = float(sample.num_tokens)
            yield sign * (length if self.by == "tokens" else sample.num_images + length / (1.0 + length))


class ByScore(Curriculum):
    """By the quality score that a sample got, or by one of its dimensions; samples without one come last."""

    dimension: str | None = Field(
        default=None, description="A dimension of the first scorer, or scorer.dimension of another; null: the score."
    )
    first: Literal["high", "low"] = Field(default="high", description="Which scores come first.")

    def difficulties(self, samples: Iterable[PlannedSample]) -> Iterator[float | None]:
        """The score, with its sign changed where high scores come first.

        Raises:
            InfimedError: no sample has such a score.
        """
        sign = -1.0 if self.first == "high" else 1.0
        known, names = 0, dict[str, None]()
        for sample in samples:
            parts = sample.score.parts
            names |= dict.fromkeys(parts)
            value = sample.score.value if self.dimension is None else parts.get(self.dimension)
            known += value is not None
            yield None if value is None else sign * value
        if not known:
            what = "a score" if self.dimension is None else f"the dimension '{self.dimension}'"
            raise InfimedError(
                f"curriculum 'by-score': no sample of the stage has {what}; "
                + (f"it may be one of: {', '.join(names)}" if names else "the run needs scorers in quality.scorers")
            )
