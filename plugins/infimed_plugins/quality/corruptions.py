"""Damage of known kind and degree, for asking whether a scorer notices it."""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import Media, Sample

SEVERITIES = (1, 2, 3, 4, 5)


def png(pixels: NDArray[Any]) -> Media:
    """A lossless picture (uint8) in memory."""
    return _encoded(pixels, "PNG")


def _encoded(pixels: NDArray[Any], form: str, **options: Any) -> Media:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return Media(kind="image", data=file.getvalue())


def blur(pixels: NDArray[np.uint8], severity: int, seed: int) -> Media:
    """Gaussian blur, sigma 0.8 to 4 pixels."""
    import cv2

    sigma = (0.8, 1.2, 1.8, 2.6, 4.0)[severity - 1]
    return png(cv2.GaussianBlur(pixels, (0, 0), sigma))


def noise(pixels: NDArray[np.uint8], severity: int, seed: int) -> Media:
    """Gaussian noise, sigma 5 to 50 grey levels, the same in every channel of a grey picture."""
    sigma = (5.0, 10.0, 18.0, 30.0, 50.0)[severity - 1]
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    shape = (*pixels.shape[:2], 1 if grey else 3)
    added = np.random.default_rng(seed).normal(0.0, sigma, shape)
    return png(np.clip(np.rint(pixels + added), 0, 255).astype(np.uint8))


def jpeg(pixels: NDArray[np.uint8], severity: int, seed: int) -> Media:
    """JPEG at quality 40 down to 5."""
    return _encoded(pixels, "JPEG", quality=(40, 25, 15, 10, 5)[severity - 1])


def resample(pixels: NDArray[np.uint8], severity: int, seed: int) -> Media:
    """Down by 1.5 to 6 and up again to the old size."""
    import cv2

    factor = (1.5, 2.0, 2.5, 4.0, 6.0)[severity - 1]
    height, width = pixels.shape[:2]
    small = cv2.resize(
        pixels, (max(2, int(width / factor)), max(2, int(height / factor))), interpolation=cv2.INTER_AREA
    )
    return png(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def darken(pixels: NDArray[np.uint8], severity: int, seed: int) -> Media:
    """Under-exposure: values times 0.6 down to 0.05."""
    return png((pixels * (0.6, 0.4, 0.25, 0.12, 0.05)[severity - 1]).astype(np.uint8))


def brighten(pixels: NDArray[np.uint8], severity: int, seed: int) -> Media:
    """Over-exposure: values times 1.5 up to 8, cut at white."""
    return png(np.clip(pixels * (1.5, 2.0, 3.0, 5.0, 8.0)[severity - 1], 0, 255).astype(np.uint8))


def cut_file(pixels: NDArray[np.uint8], severity: int, seed: int) -> Media:
    """A JPEG file that ends after 95% down to 20% of its bytes."""
    data = _encoded(pixels, "JPEG", quality=90).data or b""
    return Media(kind="image", data=data[: int(len(data) * (0.95, 0.8, 0.6, 0.4, 0.2)[severity - 1])])


IMAGE_CORRUPTIONS: dict[str, Callable[[NDArray[np.uint8], int, int], Media]] = {
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "resample": resample,
    "darken": darken,
    "brighten": brighten,
    "cut_file": cut_file,
}


def cut_text(text: str, severity: int, chance: random.Random) -> str:
    """The first 95% down to 30% of the characters, the closing mark gone in any case."""
    share = (0.95, 0.85, 0.7, 0.5, 0.3)[severity - 1]
    return text.rstrip().rstrip(".!?")[: max(1, int(len(text) * share))].rstrip()


def garble_text(text: str, severity: int, chance: random.Random) -> str:
    """The letters of 10% to 90% of the words shuffled; one word at the least."""
    share = (0.1, 0.25, 0.5, 0.7, 0.9)[severity - 1]
    words = text.split()
    long = [i for i, word in enumerate(words) if len(word) > 3]
    for i in chance.sample(long, min(len(long), max(1, round(share * len(long))))):
        letters = list(words[i])
        chance.shuffle(letters)
        words[i] = "".join(letters)
    return " ".join(words)


def mojibake_text(text: str, severity: int, chance: random.Random) -> str:
    """UTF-8 read as Latin-1, at one to sixteen places."""
    marks = ("Ã©", "â€™", "Â°", "â€“", "Ã¼", "�")
    out = list(text)
    for _ in range((1, 2, 4, 8, 16)[severity - 1]):
        out.insert(chance.randrange(len(out) + 1), chance.choice(marks))
    return "".join(out)


def repeat_text(text: str, severity: int, chance: random.Random) -> str:
    """The text two to six times."""
    return " ".join([text] * (severity + 1))


def markup_text(text: str, severity: int, chance: random.Random) -> str:
    """Leftovers of HTML and LaTeX, one to five."""
    marks = ("<b>", "</p>", "&nbsp;", "\\cite{a12}", "<br/>", "[[1]]")
    words = text.split()
    for _ in range(severity):
        words.insert(chance.randrange(len(words) + 1), chance.choice(marks))
    return " ".join(words)


def non_medical_text(text: str, severity: int, chance: random.Random) -> str:
    """A caption of something else altogether; every severity alike."""
    return chance.choice(
        (
            "A brown dog runs along the beach near the water on a sunny day.",
            "Two people are drinking coffee at a small wooden table in the street.",
            "A red car is parked in front of an old brick house with a garden.",
            "The football team celebrates together after the last game of the year.",
        )
    )


def other_modality_text(text: str, severity: int, chance: random.Random, modality: str = "") -> str:
    """The text with a claim that the picture comes from another machine."""
    names = {"CT": "CT", "MR": "MRI", "US": "ultrasound", "CR": "radiograph", "fundus": "fundus photograph"}
    others = [name for key, name in names.items() if key != modality]
    return f"{text.rstrip()} This is a {chance.choice(others)}."


def identity_text(text: str, severity: int, chance: random.Random) -> str:
    """``severity`` pieces of made-up structured identity, before or behind the text."""
    pieces = [f"{make_identity(chance)}." for _ in range(severity)]
    return " ".join([text, *pieces] if chance.random() < 0.5 else [*pieces, text])


def make_identity(chance: random.Random) -> str:
    """One piece of made-up structured identity, in one of the ways it is written."""

    def digits(count: int) -> str:
        return "".join(chance.choice("0123456789") for _ in range(count))

    first = chance.choice(("anna", "john", "maria", "wei", "omar"))
    last = chance.choice(("Miller", "Rossi", "Kim", "Okafor", "Larsen"))
    year, month, day = chance.randint(1920, 2015), chance.randint(1, 12), chance.randint(1, 28)
    area, rest = f"{chance.randint(200, 899)}", f"{chance.randint(200, 999)}-{digits(4)}"
    return chance.choice(
        (
            f"MRN: {digits(8)}",
            f"MRN {digits(7)}",
            f"Patient ID: {chance.choice('ABCP')}{digits(6)}",
            f"Accession number {digits(9)}",
            f"Medical record number {digits(7)}",
            f"SSN {chance.randint(100, 665)}-{chance.randint(10, 99)}-{chance.randint(1000, 9999)}",
            f"({area}) {rest}",
            f"phone {area}-{rest}",
            f"+1 {area} {rest}",
            f"Tel: {area}.{rest.replace('-', '.')}",
            f"{first}.{last.lower()}@example.org",
            f"{first}{digits(2)}@mail.example.com",
            f"DOB: {month:02d}/{day:02d}/{year}",
            f"DOB {year}-{month:02d}-{day:02d}",
            f"Date of birth: {day} March {year}",
            f"born on {month}/{day}/{year}",
            f"{chance.randint(1, 9999)} {last} Street",
            f"{chance.randint(1, 999)} North {last} Avenue",
        )
    )


TEXT_CORRUPTIONS: dict[str, tuple[str, Callable[[str, int, random.Random], str]]] = {
    "cut_text": ("completeness", cut_text),
    "garble_text": ("completeness", garble_text),
    "mojibake_text": ("completeness", mojibake_text),
    "repeat_text": ("completeness", repeat_text),
    "markup_text": ("completeness", markup_text),
    "non_medical_text": ("medical_validity", non_medical_text),
    "other_modality_text": ("alignment", other_modality_text),
    "identity_text": ("compliance", identity_text),
}
"""The dimension that each must lower, and the function."""


def with_answers(sample: Sample, change: Callable[[str], str]) -> Sample:
    """The sample with every answer's text changed; media in an answer are kept in front of it."""
    turns = []
    for turn in sample.turns:
        if turn.role == "assistant":
            turn = turn.model_copy(update={"content": (*turn.media_indices, change(turn.text))})
        turns.append(turn)
    return sample.model_copy(update={"turns": tuple(turns)})
