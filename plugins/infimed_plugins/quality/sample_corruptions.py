"""Damage that needs a whole sample or several: swapped captions, flipped sides, wrong keys, planted identity."""

from __future__ import annotations

import io
import random
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from infimed_core import Media, MediaLoader, Sample
from infimed_plugins.quality.corruptions import make_identity, png, with_answers
from infimed_plugins.quality.modalities import modality_of

Damaged = list[Sample | None]
"""One for each sample, in order; ``None`` where this damage cannot be done to it."""

_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
_NEGATION = re.compile(r"\b(?:no (?:evidence of )?|without )", re.IGNORECASE)
_FINDING = re.compile(
    r"\b(shows?|reveals?|demonstrates?|there is|there are|with|has|have) (?:an? |the )?", re.IGNORECASE
)


def _chance(sample: Sample, name: str) -> random.Random:
    """The same in every severity: only the degree differs."""
    return random.Random(zlib.crc32(f"{sample.id}|{name}".encode()))


def _answer(sample: Sample) -> str:
    return " ".join(turn.text for turn in sample.turns if turn.role == "assistant")


def other_caption(samples: Sequence[Sample], severity: int, media: MediaLoader) -> Damaged:
    """The answer of another sample: of the same modality at severities 1 and 2, of another one from 3 on."""
    out: Damaged = []
    for sample in samples:
        same = severity <= 2
        others = [
            other
            for other in samples
            if (modality_of(other) == modality_of(sample)) == same
            and _answer(other) != _answer(sample)
            and len(_answer(other).split()) >= 4
        ]
        if not sample.media or not modality_of(sample) or not others:
            out.append(None)
            continue
        text = _answer(_chance(sample, "other_caption").choice(others))
        out.append(with_answers(sample, lambda _, text=text: text))  # type: ignore[misc]
    return out


def other_side(samples: Sequence[Sample], severity: int, media: MediaLoader) -> Damaged:
    """Left for right and right for left, at up to ``severity`` places."""

    def flip(text: str) -> str:
        return _SIDE.sub(lambda match: _OTHER_SIDE.get(match[0], match[0]), text, count=severity)

    return [
        with_answers(sample, flip) if sample.media and _SIDE.search(_answer(sample)) else None for sample in samples
    ]


def negated(samples: Sequence[Sample], severity: int, media: MediaLoader) -> Damaged:
    """A finding denied, or a denial taken away, at up to ``severity`` places."""

    def turn(text: str) -> str:
        if _NEGATION.search(text):
            return _NEGATION.sub("", text, count=severity)
        return _FINDING.sub(lambda match: f"{match[1]} no evidence of ", text, count=severity)

    return [
        with_answers(sample, turn) if sample.media and turn(_answer(sample)) != _answer(sample) else None
        for sample in samples
    ]


def wrong_key(samples: Sequence[Sample], severity: int, media: MediaLoader) -> Damaged:
    """The answer to a multiple-choice question is another option than its key says; every severity alike."""
    out: Damaged = []
    for sample in samples:
        own = {reference.strip().lower() for reference in sample.references}
        others = [option for option in sample.options if option.strip().lower() not in own]
        if len(sample.options) < 2 or not own or not others:
            out.append(None)
            continue
        text = _chance(sample, "wrong_key").choice(others)
        out.append(with_answers(sample, lambda _, text=text: text))  # type: ignore[misc]
    return out


def identity_pixels(samples: Sequence[Sample], severity: int, media: MediaLoader) -> Damaged:
    """``severity`` lines of made-up identity burned into the first picture, enlarged to at least 512 pixels."""
    import cv2

    out: Damaged = []
    for sample in samples:
        if not sample.media:
            out.append(None)
            continue
        chance = _chance(sample, "identity_pixels")
        pixels: NDArray[Any] = media.load(sample.media[0])
        factor = max(1.0, 512 / max(pixels.shape[:2]))
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        for line in range(severity):
            cv2.putText(
                pixels, make_identity(chance), (10, 30 + 30 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2
            )
        out.append(sample.model_copy(update={"media": (png(pixels), *sample.media[1:])}))
    return out


def identity_header(samples: Sequence[Sample], severity: int, media: MediaLoader) -> Damaged:
    """``severity`` header fields of the first picture that name a person, a place or a device's owner."""
    from PIL import Image

    out: Damaged = []
    for sample in samples:
        if not sample.media:
            out.append(None)
            continue
        chance = _chance(sample, "identity_header")
        fields = {0x010E: f"Patient {make_identity(chance)}", 0x013B: "Dr. Anna Miller", 0x8298: "Anna Miller"}
        fields |= {0xA430: "Anna Miller", 0x9C9D: "Anna Miller"}
        file = io.BytesIO()
        image = Image.fromarray(media.load(sample.media[0]))
        exif: Any = image.getexif()
        for tag, value in list(fields.items())[:severity]:
            exif[tag] = value
        image.save(file, "PNG", exif=exif)
        out.append(sample.model_copy(update={"media": (Media(data=file.getvalue()), *sample.media[1:])}))
    return out


SAMPLE_CORRUPTIONS: dict[str, tuple[str, Callable[[Sequence[Sample], int, MediaLoader], Damaged]]] = {
    "other_caption": ("alignment", other_caption),
    "other_side": ("alignment", other_side),
    "negated": ("alignment", negated),
    "wrong_key": ("medical_validity", wrong_key),
    "identity_pixels": ("compliance", identity_pixels),
    "identity_header": ("compliance", identity_header),
}
"""The dimension that each must lower, and the function over all samples at once."""
