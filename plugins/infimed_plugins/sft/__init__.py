"""The staged trainer: continual pre-training and supervised fine-tuning over packed rows."""

from infimed_core import Trainer, hookimpl


@hookimpl
def infimed_trainers() -> dict[str, type[Trainer]]:
    """Offer ``staged``."""
    from infimed_plugins.sft.trainer import StagedTrainer

    return {"staged": StagedTrainer}
