"""Ask once, as the benchmark words it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from infimed_core import Answer, Ask, Sample, Solver
from infimed_plugins.solvers.asking import question_of, request, settings_of, with_system


class Direct(Solver):
    """One call per question, with the sample's own turns."""

    system: str = Field(default="", description="System prompt put before the question; none where it is empty.")

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order."""
        settings = settings_of(generation)
        return ask([request(sample, with_system(question_of(sample), self.system), settings) for sample in samples])
