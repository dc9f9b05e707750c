"""Known defects put into a share of the training samples, each tagged, to test whether quality scoring finds them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from infimed_core import Media, Sample
from infimed_plugins.demo.pictures import encode, stable_hash

IMAGE_DEFECTS = ("blur", "noise")
TEXT_DEFECTS = ("garbled_text",)
DEFECTS = ("blur", "noise", "shuffled_answer", "garbled_text")


def _pixels(media: Media) -> NDArray[np.uint8]:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(media.data or b"")) as opened:
        return np.asarray(opened)


def blurred(media: Media) -> Media:
    """The image out of focus: Gaussian of a twentieth of its side."""
    from PIL import Image, ImageFilter

    pixels = _pixels(media)
    return encode(np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(max(pixels.shape[:2]) / 20))))


def noisy(media: Media, seed: int) -> Media:
    """The image under Gaussian noise of 70 grey levels."""
    pixels = _pixels(media)
    noise = np.random.default_rng(seed).normal(0.0, 70.0, size=pixels.shape)
    return encode(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def garbled(text: str, chance: random.Random) -> str:
    """The text with the letters of every word shuffled and marks of a broken encoding between them."""
    words = []
    for word in text.split():
        letters = list(word)
        chance.shuffle(letters)
        words.append("".join(letters))
    return " ".join(words).replace("e", "Ã©").replace("a", "ï¿½") + " �" * 2


def _with_answers(sample: Sample, change: Callable[[int, str], str]) -> Sample:
    turns = []
    for number, turn in enumerate(sample.turns):
        changed = {"content": (change(number, turn.text),)}
        turns.append(turn.model_copy(update=changed) if turn.role == "assistant" else turn)
    return sample.model_copy(update={"turns": tuple(turns)})


def _donor(samples: Sequence[Sample], index: int, chance: random.Random) -> Sample | None:
    """A sample of the same stage, kind and form about another picture with other answers."""

    def answers(sample: Sample) -> list[str]:
        return [turn.text for turn in sample.turns if turn.role == "assistant"]

    own = samples[index]
    for _ in range(200):
        other = samples[chance.randrange(len(samples))]
        alike = all(other.tags.get(tag) == own.tags.get(tag) for tag in ("stage", "kind", "form"))
        if alike and len(answers(other)) == len(answers(own)) and answers(other) != answers(own):
            return other
    return None


def inject(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """Put a defect into ``round(share * len(samples))`` samples, evenly over ``DEFECTS``; tag ``defect`` names it."""
    out = list(samples)
    chance = random.Random(stable_hash("defects", seed))
    chosen = chance.sample(range(len(out)), round(share * len(out)))
    for turn, index in enumerate(chosen):
        sample, defect = samples[index], DEFECTS[turn % len(DEFECTS)]
        if not sample.media and defect in IMAGE_DEFECTS:
            defect = "garbled_text"
        donor = _donor(samples, index, chance) if defect == "shuffled_answer" else None
        if defect == "shuffled_answer" and donor is None:
            defect = "garbled_text"
        if defect == "blur":
            damaged = sample.model_copy(update={"media": tuple(blurred(media) for media in sample.media)})
        elif defect == "noise":
            number = stable_hash("noise", seed, sample.id)
            damaged = sample.model_copy(update={"media": tuple(noisy(media, number) for media in sample.media)})
        elif donor is not None:
            texts = [turn.text for turn in donor.turns]
            damaged = _with_answers(sample, lambda number, _, texts=texts: texts[number])  # type: ignore[misc]
        else:
            damaged = _with_answers(sample, lambda _, text: garbled(text, chance))
        out[index] = damaged.model_copy(update={"tags": {**sample.tags, "defect": defect}})
    return out
