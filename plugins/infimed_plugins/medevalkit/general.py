"""General sets beside the medical ones, so that a training's forgetting is seen where it happens.

They are read and asked as the medical sets are, and graded strictly; MedEvalKit has none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import JsonValue

from infimed_core import Answer, Sample
from infimed_plugins.medevalkit.benchmark import KitBenchmark
from infimed_plugins.medevalkit.card_names import FOLDER
from infimed_plugins.medevalkit.cards import Card, read_card


class _General(KitBenchmark):
    """A set whose data card lies in ``tasks/general``."""

    @property
    def card(self) -> Card:
        """The data card, with the run file's revision of the data where it names one."""
        card = read_card(FOLDER / "general" / f"{self.card_name}.yaml")
        if self.revision is None:
            return card
        return card.model_copy(update={"source": card.source.model_copy(update={"revision": self.revision})})

    @property
    def scorings(self) -> tuple[str, ...]:  # type: ignore[override]
        """Strict alone."""
        return ("strict",)

    def summarise(
        self, samples: Sequence[Sample], answers: Sequence[Answer], scoring: str
    ) -> dict[str, JsonValue] | None:
        """Nothing in MedEvalKit's shape."""
        return None


class ArcChallenge(_General):
    """ARC's challenge set: grade-school science as text; its card is tasks/general/arc-challenge.yaml."""

    card_name: ClassVar[str] = "arc-challenge"


class MMBench(_General):
    """MMBench's English dev set: everyday pictures; its card is tasks/general/mmbench.yaml."""

    card_name: ClassVar[str] = "mmbench"
