"""The learning rate at each step of a stage."""

from __future__ import annotations

import math

from infimed_core import ComponentError, ComponentRef
from infimed_plugins.sft.named import schedule_of
from infimed_plugins.sft.stages import TrainingStage


def rate_factor(stage: TrainingStage, step: int, num_steps: int) -> float:
    """Learning rate of step ``step`` (from 0) of ``num_steps`` as a share of the peak, in (0, 1].

    The warm-up rises linearly and reaches 1 at its last step; ``min_learning_rate_ratio`` is reached at the
    stage's last step. A warm-up above zero takes at least one step.
    """
    num_warmup = math.ceil(stage.warmup * num_steps) if stage.warmup < 1.0 else min(int(stage.warmup), num_steps)
    if step < num_warmup:
        return (step + 1) / num_warmup
    lowest = stage.min_learning_rate_ratio
    if stage.schedule == "constant":
        return 1.0
    if stage.schedule != "warmup-stable-decay":
        progress = (step + 1 - num_warmup) / max(1, num_steps - num_warmup)
        # The last step itself must still move the weights where the lowest rate is 0.
        progress = min(progress, 1.0 - 0.5 / max(1, num_steps)) if lowest == 0.0 else progress
        return lowest + (1.0 - lowest) * _fall(stage, progress)
    start = max(num_warmup, num_steps - math.ceil(stage.decay * num_steps))
    if step < start:
        return 1.0
    length = num_steps - start
    progress = (step + 1 - start) / (length + (lowest == 0.0))
    return (1.0 - progress) + lowest * progress


def _fall(stage: TrainingStage, progress: float) -> float:
    """What is left of the way from peak to lowest rate, in [0, 1], after a share ``progress`` of the steps."""
    if isinstance(stage.schedule, ComponentRef):
        return _checked(stage, progress)
    if stage.schedule == "linear":
        return 1.0 - progress
    if stage.schedule == "polynomial":
        return float((1.0 - progress) ** stage.power)
    if stage.schedule == "cosine-with-restarts" and progress < 1.0:
        progress = (stage.cycles * progress) % 1.0
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _checked(stage: TrainingStage, progress: float) -> float:
    schedule = schedule_of(stage)
    assert schedule is not None
    share = schedule.factor(progress)
    if not isinstance(share, int | float) or not 0.0 <= share <= 1.0:  # NaN too
        raise ComponentError(
            f"stage '{stage.name}': {type(schedule).__name__}.factor({progress:.4f}) gave {share!r}; "
            "return a number from 0 to 1"
        )
    return float(share)
