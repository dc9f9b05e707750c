"""Models that answer behind a URL: any server with the OpenAI chat completions interface."""

from __future__ import annotations

from infimed_core import Model, hookimpl


@hookimpl
def infimed_models() -> dict[str, type[Model]]:
    """The models this plugin offers."""
    from infimed_plugins.endpoint.model import OpenAICompatible

    return {"openai-compatible": OpenAICompatible}
