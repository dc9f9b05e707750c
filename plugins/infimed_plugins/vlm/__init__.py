"""Vision-language models through transformers: encoders, packed attention, answers, checkpoints and baselines."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_models() -> dict[str, str]:
    """The models this plugin offers."""
    return {
        "tiny-qwen3-vl": "infimed_plugins.vlm.tiny:TinyQwen3VL",
        "transformers": "infimed_plugins.vlm.checkpoint:Transformers",
        "assemble": "infimed_plugins.vlm.assemble:Assemble",
        "constant": "infimed_plugins.vlm.baselines:Constant",
        "random": "infimed_plugins.vlm.baselines:Random",
    }


@hookimpl
def infimed_commands() -> dict[str, str]:
    """``infimed doctor``."""
    return {"doctor": "infimed_plugins.vlm.command:doctor_command"}
