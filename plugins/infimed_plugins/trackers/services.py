"""TensorBoard, Weights & Biases and Trackio behind one small interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Takes the numbers of training steps."""

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step of a stage."""

    def close(self) -> None:
        """The run is over."""


class TensorBoard:
    """Event files in ``<run>/tensorboard``, read by ``tensorboard --logdir``."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(directory / "tensorboard"))

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """One scalar for each number, named ``stage/number``."""
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class Service:
    """W&B, or Trackio, which speaks the same words."""

    def __init__(self, package: Any, directory: Path, project: str | None, **settings: Any) -> None:
        self._package = package
        project = project or os.environ.get("INFIMED_TRACKERS_PROJECT", "infimed")
        package.init(project=project, name=directory.name, **settings)

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers named ``stage/number``; each stage counts its own steps."""
        self._package.log({f"{stage}/{name}": value for name, value in values.items()} | {f"{stage}/step": step})

    def close(self) -> None:
        """Finish the run there."""
        self._package.finish()


def _wandb(directory: Path, project: str | None = None) -> Tracker:
    import wandb

    return Service(wandb, directory, project, dir=str(directory))


def _trackio(directory: Path, project: str | None = None) -> Tracker:
    import trackio

    return Service(trackio, directory, project)


OPENERS: dict[str, Callable[..., Tracker]] = {"tensorboard": TensorBoard, "wandb": _wandb, "trackio": _trackio}
