"""Resolution schedulers: one cap, no cap, or caps that rise through a stage."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from infimed_core import Phase, ResolutionScheduler, Row


class Fixed(ResolutionScheduler):
    """One cap for the whole stage."""

    max_visual_tokens: int = Field(ge=1, description="Most visual tokens an image.")

    def plan(self, num_samples: int) -> list[Phase]:
        """One phase."""
        return [Phase(0, num_samples, self.max_visual_tokens)]


class Native(ResolutionScheduler):
    """Every image at its own size, within what the model's processor allows."""

    def plan(self, num_samples: int) -> list[Phase]:
        """One phase without a cap."""
        return [Phase(0, num_samples, None)]


class Share(Row):
    """A part of a stage and the cap in it."""

    share: float = Field(gt=0.0, le=1.0, description="Part of the stage's samples.")
    max_visual_tokens: int | None = Field(ge=1, description="Most visual tokens an image; null is native resolution.")


class LowToHigh(ResolutionScheduler):
    """Small images first, large ones last.

    By default half of the samples at 256 tokens an image, a fifth at 1024 and the last three tenths at native
    resolution: a model needs a long enough last phase to use what the larger images show.
    """

    phases: tuple[Share, ...] = Field(
        default=(
            Share(share=0.5, max_visual_tokens=256),
            Share(share=0.2, max_visual_tokens=1024),
            Share(share=0.3, max_visual_tokens=None),
        ),
        min_length=1,
        description="Phases in order; the shares add up to 1 and the caps never fall.",
    )

    @model_validator(mode="after")
    def _shares_and_caps(self) -> LowToHigh:
        total = math.fsum(phase.share for phase in self.phases)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the shares of the phases add up to {total:g}; they must add up to 1")
        caps = [math.inf if phase.max_visual_tokens is None else phase.max_visual_tokens for phase in self.phases]
        if caps != sorted(caps):
            raise ValueError(
                f"max_visual_tokens goes {', '.join('native' if math.isinf(cap) else str(cap) for cap in caps)}; "
                "from phase to phase it may rise or stay, not fall"
            )
        return self

    def plan(self, num_samples: int) -> list[Phase]:
        """Phases at the nearest whole sample; the last ends at ``num_samples``."""
        ends = [round(num_samples * math.fsum(p.share for p in self.phases[: n + 1])) for n in range(len(self.phases))]
        ends[-1] = num_samples
        return [
            Phase(start, stop, phase.max_visual_tokens)
            for start, stop, phase in zip([0, *ends[:-1]], ends, self.phases, strict=True)
        ]
