"""What moves the weights in a stage, at which rate, and how training images vary."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import Component


class Optimizer(Component):
    """What moves the weights of a stage."""

    @abstractmethod
    def build(self, groups: list[dict[str, Any]]) -> Any:
        """A ``torch.optim.Optimizer`` over groups of parameters, each with ``params``, ``lr``, ``weight_decay`` and
        ``name``; its ``param_groups`` keep every key, and its state is tensors, so that a stage can go on from it."""


class Schedule(Component):
    """The course of the learning rate after the warm-up."""

    @abstractmethod
    def factor(self, progress: float) -> float:
        """Share of the way from lowest to peak rate, in [0, 1], after a share ``progress`` of the steps, in (0, 1]."""


class Augmentation(Component):
    """How the images of training samples vary each time that they are drawn; never those of questions."""

    @abstractmethod
    def augment(self, image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
        """An image of the same shape (height, width, 3). The images of one sample are given equal generators, so that
        the slices of a volume stay alike."""
