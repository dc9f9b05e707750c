"""What the objectives that learn from better and worse answers have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import Field

from infimed_core import Fault, MadeRows, Sample, StageAccess
from infimed_plugins.reinforcement.drawing import DrawingObjective, Group, WeightedReward, line_of
from infimed_plugins.reinforcement.figures import figures_of


class PreferenceObjective(DrawingObjective):
    """An objective of better and worse answers, measured from the model that the stage begins with."""

    rewards: tuple[WeightedReward, ...] = Field(
        default=(),
        description="Draw answers and judge them by rewards; none: answers, and which are good, are the data's.",
    )
    rollouts: int = Field(default=8, ge=2, description="Answers to each question, where they are drawn.")

    @property
    def weighted(self) -> tuple[WeightedReward, ...]:
        """The rewards with their weights."""
        return self.rewards

    @property
    def draws(self) -> bool:
        """Where rewards judge: given answers need none."""
        return bool(self.rewards)

    @property
    def sampling_temperature(self) -> float:
        """Preferences are of the model as it is."""
        return 1.0

    @property
    def uses_reference(self) -> bool:
        """Always."""
        return True

    def drawn(
        self,
        step: int,
        samples: Sequence[tuple[Sample, int | None]],
        stage: StageAccess,
        made: MadeRows,
        outcome: Callable[[Group], str],
    ) -> tuple[list[Group], list[Fault]]:
        """The step's groups of drawn answers, told in ``made`` with what ``outcome`` says of each, and the faults."""
        self.send_weights(step, stage)
        found = list(self.draw_groups(step, samples, 0, self.rollouts, stage))
        groups = [group for group in found if isinstance(group, Group)]
        made.facts.update(figures_of(groups, len(samples), self.is_accuracy, stage.gather))
        made.facts.update(self.server_difference(groups, stage))
        made.lines.extend(line_of(step, group, {}, outcome(group)) for group in groups)
        return groups, [fault for fault in found if isinstance(fault, Fault)]
