"""The components that a stage names: its objective, optimizer, schedule and augmentations."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from infimed_core import (
    Augmentation,
    Component,
    ComponentRef,
    InfimedError,
    Objective,
    Optimizer,
    Schedule,
    Stage,
    canonical_json,
    load_plugins,
)

CROSS_ENTROPY = "cross-entropy"


def makes_rows(name: str) -> bool:
    """Whether a name, with or without its plugin's, is that of an objective which makes its own rows."""
    found = _objectives().get(name)
    return found is not None and found.makes_rows


@functools.cache
def _objectives() -> dict[str, type[Objective]]:
    """The installed objectives, by their names with and without the plugin's."""
    found: dict[str, Any] = dict(load_plugins().components("objective"))
    return {name.rpartition("/")[2]: component for name, component in found.items()} | found


def _make(kind: str, name: str, settings: dict[str, Any]) -> Any:
    try:
        return load_plugins().make(kind, name, settings)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise InfimedError(f"{kind} '{name}': {'; '.join(told)}") from None


@functools.lru_cache(maxsize=64)
def _made(kind: str, name: str, settings: str) -> Any:
    return _make(kind, name, json.loads(settings))


def _component(kind: str, named: Any) -> Any:
    """What a setting of a stage names; ``None`` for one of the stage's own names, or none at all."""
    if not isinstance(named, ComponentRef):
        return None
    return _made(kind, named.use, canonical_json(named.settings))


def objective_of(stage: Stage) -> Objective | None:
    """The stage's objective; ``None`` for cross-entropy.

    Raises:
        InfimedError: it is not installed, or its settings are not those it takes; so below.
    """
    named: ComponentRef | None = getattr(stage, "objective", None)
    if named is None or named.use == CROSS_ENTROPY:
        return None
    made: Objective = _make("objective", named.use, named.settings)  # it may hold a state: one for each stage
    return made


def optimizer_of(stage: Stage) -> Optimizer | None:
    """The stage's optimizer where it is a component."""
    made: Optimizer | None = _component("optimizer", getattr(stage, "optimizer", None))
    return made


def schedule_of(stage: Stage) -> Schedule | None:
    """The stage's schedule where it is a component."""
    made: Schedule | None = _component("schedule", getattr(stage, "schedule", None))
    return made


def augmentations_of(stage: Stage) -> tuple[Augmentation, ...]:
    """What varies the images of the stage's samples, in order."""
    return tuple(_component("augmentation", named) for named in getattr(stage, "augmentations", ()))


def components_of(stage: Stage) -> Iterator[tuple[str, Component]]:
    """Every component that the stage names, with its setting.

    Raises:
        InfimedError: one is not installed, or its settings are not those it takes.
    """
    for setting, find in (("objective", objective_of), ("optimizer", optimizer_of), ("schedule", schedule_of)):
        if (found := find(stage)) is not None:
            yield setting, found
    for number, augmentation in enumerate(augmentations_of(stage)):
        yield f"augmentations.{number}", augmentation
