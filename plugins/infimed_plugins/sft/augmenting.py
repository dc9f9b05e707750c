"""Images of training samples that vary from draw to draw, and the augmentation ``intensity``."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Augmentation, Batches, ComponentError, Media, MediaLoader


class Intensity(Augmentation):
    """Brightness and contrast, a little off: another exposure or window, without a change of shape or side."""

    brightness: float = Field(default=0.1, ge=0.0, le=1.0, description="Most that is added, as a share of white.")
    contrast: float = Field(default=0.1, ge=0.0, lt=1.0, description="Most by which differences grow or shrink.")

    def augment(self, image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
        """The image about its mean, stretched and shifted."""
        stretch = 1.0 + self.contrast * generator.uniform(-1.0, 1.0)
        shift = 255.0 * self.brightness * generator.uniform(-1.0, 1.0)
        mean = float(image.mean())
        table = np.clip(np.rint((np.arange(256) - mean) * stretch + mean + shift), 0, 255).astype(np.uint8)
        varied: NDArray[np.uint8] = table[image]
        return varied


class AugmentingLoader(MediaLoader):
    """Opens media as the loader that it wraps does; those of a sample that is drawn for training vary.

    The generator depends on ``seed`` and the number of the draw alone: neither ranks, workers nor a resume change it.
    """

    def __init__(self, loader: MediaLoader, augmentations: Sequence[Augmentation], seed: int) -> None:
        vars(self).update(vars(loader))
        self._augmentations, self._seed = tuple(augmentations), seed
        self._draw: int | None = None

    def for_draw(self, draw: int) -> MediaLoader:
        """What opens the media of the sample that is drawn ``draw``-th."""
        drawn = copy.copy(self)
        drawn._draw = draw
        return drawn

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The image, varied.

        Raises:
            ComponentError: an augmentation gave something of another shape or type.
        """
        image = super().load(media, at_most)
        for number, augmentation in enumerate(self._augmentations if self._draw is not None else ()):
            generator = np.random.default_rng([self._seed, self._draw or 0, number])
            varied = augmentation.augment(image.copy(), generator)
            if not isinstance(varied, np.ndarray) or varied.dtype != np.uint8 or varied.shape != image.shape:
                found = f"{varied.dtype} {varied.shape}" if isinstance(varied, np.ndarray) else type(varied).__name__
                raise ComponentError(
                    f"{type(augmentation).__name__}.augment: gave {found}; return uint8 of shape {image.shape}"
                )
            image = varied
        return image


def augmented(batches: Batches, augmentations: Sequence[Augmentation], seed: int) -> Batches:
    """The same rows with images that vary; lengths are those that were planned."""
    if not augmentations:
        return batches
    varied = copy.copy(batches)
    varied.media = AugmentingLoader(batches.media, augmentations, seed)
    return varied
