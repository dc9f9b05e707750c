"""Trackers named in a run file: ``report: [{use: wandb, with: {project: chest}}]``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from infimed_core import Reporter

if TYPE_CHECKING:
    from infimed_core.records import Run


class FollowingReporter(Reporter):
    """A tracker that follows the run while it goes on: at its end there is nothing left to write."""

    def write(self, run: Run, directory: Path) -> Sequence[Path]:
        """Nothing: every number was handed over when it came."""
        return ()


class TensorBoardTracker(FollowingReporter):
    """The numbers of every training step as event files in the run's folder tensorboard."""

    packages: ClassVar[Mapping[str, str]] = {"tensorboard": "infimed[trackers]", "torch": "infimed[train]"}


class WandbTracker(FollowingReporter):
    """The numbers of every training step to Weights & Biases, which reads the rest from its own variables."""

    packages: ClassVar[Mapping[str, str]] = {"wandb": "infimed[wandb]"}

    project: str | None = Field(
        default=None, min_length=1, description="The project there; by default as INFIMED_TRACKERS_PROJECT says."
    )


class TrackioTracker(FollowingReporter):
    """The numbers of every training step to Trackio, which reads the rest from its own variables."""

    packages: ClassVar[Mapping[str, str]] = {"trackio": "trackio"}

    project: str | None = Field(
        default=None, min_length=1, description="The project there; by default as INFIMED_TRACKERS_PROJECT says."
    )


REPORTERS: dict[str, type[FollowingReporter]] = {
    "tensorboard": TensorBoardTracker, "wandb": WandbTracker, "trackio": TrackioTracker,
}  # fmt: skip


def trackers_of_run(directory: Path) -> dict[str, dict[str, Any]]:
    """The trackers that a run's file names, with their settings; ``run.json`` holds it from the start on."""
    try:
        config = json.loads((directory / "run.json").read_text(encoding="utf-8")).get("config") or {}
    except (OSError, ValueError, RecursionError):
        return {}
    named = {str(entry["use"]).rpartition("/")[2]: dict(entry.get("with") or {}) for entry in config.get("report", ())}
    return {name: settings for name, settings in named.items() if name in REPORTERS}
