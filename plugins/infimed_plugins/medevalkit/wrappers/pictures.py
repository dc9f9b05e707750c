"""The benchmarks ``image-blind``, ``wrong-image`` and ``degraded-image``: the same questions, and other pictures."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Fault, Media, MediaLoader, Sample, load_plugins
from infimed_plugins.medevalkit.wrappers.wrapped import Wrapped

Pixels = NDArray[np.uint8]


class ImageBlind(Wrapped):
    """Every question with its images taken out and every word left as it is."""

    def altered(self, sample: Sample) -> Sample:
        """The question without its images."""
        if not sample.media:
            raise DataError("no_image", f"'{sample.id}' has no image to take out")
        turns = tuple(
            turn.model_copy(update={"content": tuple(part for part in turn.content if isinstance(part, str)) or ("",)})
            for turn in sample.turns
        )
        return sample.model_copy(update={"turns": turns, "media": ()})


class WrongImage(Wrapped):
    """Every question with the images of another one: a model that looks should fall to what it knows without looking.

    The other question is drawn by ``seed`` among those with as many images, of the same modality where there is one,
    and with other content.
    """

    seed: int = Field(default=0, ge=0, description="Draws whose images are shown.")

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question that has images, with others."""
        rows = list(self.inner.samples())
        groups: dict[tuple[int, str], list[tuple[Media, ...]]] = defaultdict(list)
        for row in rows:
            if isinstance(row, Sample):
                groups[len(row.media), row.tags.get("modality", "")].append(row.media)
        for row in rows:
            if isinstance(row, Fault):
                yield row
                continue
            own = _content(row.media)
            others = [media for media in groups[len(row.media), row.tags.get("modality", "")] if _content(media) != own]
            if not row.media or not others:
                told = "has no image" if not row.media else "has the only image of its modality"
                yield Fault(sample_id=row.id, code="no_other_image", detail=f"'{row.id}' {told}")
                continue
            shown = random.Random(f"{self.seed} {row.id}").choice(others)
            yield row.model_copy(update={"media": shown})


def _content(media: tuple[Media, ...]) -> tuple[Any, ...]:
    """What tells two sets of images apart."""
    return tuple((item.sha256 or item.uri or item.data, str(item.options)) for item in media)


Damage = Literal["blur", "noise", "jpeg", "resample", "darken", "brighten"]


class DegradedImage(Wrapped):
    """Every question with its images damaged by a known kind and degree, as in the corruption ladder of `quality`."""

    damage: Damage = Field(default="blur", description="The kind of damage.")
    severity: int = Field(default=3, ge=1, le=5, description="Its degree; 5 is the worst.")
    seed: int = Field(default=0, ge=0, description="Draws the noise.")

    @cached_property
    def _loader(self) -> MediaLoader:
        return load_plugins().media_loader()

    def altered(self, sample: Sample) -> Sample:
        """The question with damaged images."""
        if not sample.media:
            raise DataError("no_image", f"'{sample.id}' has no image to damage")
        return sample.model_copy(update={"media": tuple(self._damaged(item) for item in sample.media)})

    def _damaged(self, item: Media) -> Media:
        pixels: Pixels = self._loader.load(item)
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise DataError("no_image", f"a medium of kind '{item.kind}' is no image")
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {item.uri or item.sha256}".encode()).digest()[:4], "big")
        data = DAMAGES[self.damage](pixels, self.severity - 1, seed)
        return Media(data=data, sha256=hashlib.sha256(data).hexdigest())


def _encoded(pixels: Pixels, form: str = "PNG", **options: Any) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def _blur(pixels: Pixels, degree: int, seed: int) -> bytes:
    import cv2

    return _encoded(np.asarray(cv2.GaussianBlur(pixels, (0, 0), (0.8, 1.2, 1.8, 2.6, 4.0)[degree]), dtype=np.uint8))


def _noise(pixels: Pixels, degree: int, seed: int) -> bytes:
    is_grey = bool((pixels == pixels[..., :1]).all())
    shape = (*pixels.shape[:2], 1 if is_grey else 3)
    added = np.random.default_rng(seed).normal(0.0, (5.0, 10.0, 18.0, 30.0, 50.0)[degree], shape)
    return _encoded(np.clip(np.rint(pixels + added), 0, 255).astype(np.uint8))


def _jpeg(pixels: Pixels, degree: int, seed: int) -> bytes:
    return _encoded(pixels, "JPEG", quality=(40, 25, 15, 10, 5)[degree])


def _resample(pixels: Pixels, degree: int, seed: int) -> bytes:
    from PIL import Image

    factor, picture = (1.5, 2.0, 2.5, 4.0, 6.0)[degree], Image.fromarray(pixels)
    small = picture.resize(
        (max(2, int(picture.width / factor)), max(2, int(picture.height / factor))), Image.Resampling.BOX
    )
    return _encoded(np.asarray(small.resize(picture.size, Image.Resampling.BICUBIC)))


def _darken(pixels: Pixels, degree: int, seed: int) -> bytes:
    return _encoded((pixels * (0.6, 0.4, 0.25, 0.12, 0.05)[degree]).astype(np.uint8))


def _brighten(pixels: Pixels, degree: int, seed: int) -> bytes:
    return _encoded(np.clip(pixels * (1.5, 2.0, 3.0, 5.0, 8.0)[degree], 0, 255).astype(np.uint8))


DAMAGES: dict[str, Callable[[Pixels, int, int], bytes]] = {
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "resample": _resample,
    "darken": _darken,
    "brighten": _brighten,
}
"""Each takes pixels, a degree of 0 to 4 and a seed, and gives the bytes of a picture file."""
