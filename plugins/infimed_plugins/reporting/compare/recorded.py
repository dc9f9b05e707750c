"""A metric made again as a finished run recorded it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from infimed_core import InfimedError, Metric, Registry


def recorded_metric(details: Mapping[str, Any], name: str, registry: Registry) -> Metric:
    """The metric that a finished evaluation calls ``name``; ``details`` are those of its step in run.json.

    Raises:
        InfimedError: it is not installed, or takes other settings by now.
    """
    recorded = details.get("metrics")
    facts = recorded.get(name) if isinstance(recorded, dict) else None
    use, settings = (facts["use"], facts["with"]) if isinstance(facts, dict) else (name, {})
    try:
        return cast(Metric, registry.make("metric", use, settings))
    except ValidationError as error:
        raise InfimedError(
            f"the metric '{name}' cannot be made as it was recorded: {error.errors()[0]['msg']}"
        ) from None
