"""The schedule ``inverse-square-root``."""

from __future__ import annotations

import math

from pydantic import Field

from infimed_core import Schedule


class InverseSquareRoot(Schedule):
    """Falls as ``1 / sqrt(1 + progress / timescale)``; at a progress of ``timescale`` it is at 0.71 of the peak."""

    timescale: float = Field(default=0.1, gt=0.0, description="Share of the steps after which it is at 0.71.")

    def factor(self, progress: float) -> float:
        """In (0, 1]."""
        return 1.0 / math.sqrt(1.0 + progress / self.timescale)
