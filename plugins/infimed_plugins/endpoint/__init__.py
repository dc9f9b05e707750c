"""Models that answer behind a URL: any server with the OpenAI chat completions interface."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_models() -> dict[str, str]:
    """The models this plugin offers."""
    return {"openai-compatible": "infimed_plugins.endpoint.model:OpenAICompatible"}
