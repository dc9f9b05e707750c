"""The staged trainer: continual pre-training and supervised fine-tuning over packed rows."""

from infimed_core import hookimpl


@hookimpl
def infimed_trainers() -> dict[str, str]:
    """Offer ``staged``."""
    return {"staged": "infimed_plugins.sft.trainer:StagedTrainer"}
