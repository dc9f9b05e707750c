"""Vision-language models through transformers: encoders, packed attention, answers, checkpoints and baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infimed_core import Model, hookimpl


@hookimpl
def infimed_models() -> dict[str, type[Model]]:
    """The models this plugin offers."""
    from infimed_plugins.vlm.assemble import Assemble
    from infimed_plugins.vlm.baselines import Constant, Random
    from infimed_plugins.vlm.checkpoint import Transformers
    from infimed_plugins.vlm.tiny import TinyQwen3VL

    return {
        "tiny-qwen3-vl": TinyQwen3VL,
        "transformers": Transformers,
        "assemble": Assemble,
        "constant": Constant,
        "random": Random,
    }


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """``infimed doctor``."""
    from infimed_plugins.vlm.command import doctor_command

    return {"doctor": doctor_command}


def doctor(checkpoint: str, revision: str | None = None) -> dict[str, Any]:
    """Say what InfiMed knows of a checkpoint and whether its samples may share a row (see ``docs/models.md``)."""
    from infimed_plugins.vlm.diagnosis import diagnose

    return diagnose(checkpoint, revision)
