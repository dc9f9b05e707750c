"""Models that vLLM runs in this process, without a server."""

from __future__ import annotations

from infimed_core import Model, hookimpl


@hookimpl
def infimed_models() -> dict[str, type[Model]]:
    """The model this plugin offers."""
    from infimed_plugins.vllm.model import Vllm

    return {"vllm": Vllm}
