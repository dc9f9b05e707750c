"""What a model is called for people: ``base`` is no name where a run trains nothing."""

from __future__ import annotations

from infimed_core.records import IMAGE_BLIND, RunRecord
from infimed_plugins.reporting.page.figures import mapping

SETTINGS = ("model", "checkpoint")
"""Settings of a model component that name what it opens."""


NOT_LOOKING = ("constant", "random", "vlm/constant", "vlm/random")
"""Model components that answer without looking: whoever names one wants a floor for the others."""


def does_not_look(record: RunRecord, model: str) -> bool:
    """Whether a model of the run file is one that answers without looking, so that nobody expects it to be good."""
    plain = model.removesuffix(IMAGE_BLIND)
    named = record.config.get("model") if plain == "base" else mapping(record.config.get("models")).get(plain)
    return mapping(named).get("use") in NOT_LOOKING


def own_name(record: RunRecord, model: str) -> str:
    """``model``, or for the only model of a run without training what its server or checkpoint is called."""
    plain = model.removesuffix(IMAGE_BLIND)
    if plain != "base" or has_training(record):
        return model
    section = mapping(record.config.get("model"))
    settings = mapping(section.get("with"))
    named = next((settings[key] for key in SETTINGS if isinstance(settings.get(key), str)), "")
    name = named.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return name + model[len(plain) :] if name else model


def has_training(record: RunRecord) -> bool:
    """Whether the models of a run are stages of one."""
    return bool(record.config.get("training")) or any(step.kind == "train" for step in record.steps)
