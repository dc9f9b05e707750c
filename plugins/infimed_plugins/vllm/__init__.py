"""Models that vLLM runs in this process, without a server."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_models() -> dict[str, str]:
    """The model this plugin offers."""
    return {"vllm": "infimed_plugins.vllm.model:Vllm"}
