"""What the rows of a stage are planned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.models import Encoder
from infimed_core.api.planning import Packer, ResolutionScheduler
from infimed_core.plan.index import Index


@dataclass(frozen=True)
class PlanInputs:
    """The index, the rows that may be drawn (bool [n]), and the parts that draw and pack them."""

    index: Index
    index_hash: str
    allowed: NDArray[np.bool_]
    scheduler: ResolutionScheduler
    packer: Packer
    encoder: Encoder
    seed: int
