"""Texts of the data set, by modality, that a sample's own text is ranked against."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infimed_core import Sample, read_named
from infimed_plugins.embedding.encoder import ImageTextEncoder

UNLABELLED = "unlabelled"


def modality_of(sample: Sample) -> str:
    """The tag ``modality`` in lower case."""
    return sample.tags.get("modality", "").strip().lower() or UNLABELLED


def text_of(sample: Sample) -> str:
    """What the sample says of its images: the assistant's turns; the references where there is none."""
    answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
    questions = [turn.text for turn in sample.turns if turn.role == "user"]
    said = " ".join(answers) or " ".join(sample.references)
    # a bare "yes" says nothing without its question
    return said if len(said.split()) > 4 else " ".join([*questions, said]).strip()


@dataclass(frozen=True)
class Bank:
    """Vectors of texts by modality, float32 [n, d] each; their mean over all, and the distances of all from it.

    ``texts`` holds a digest of every text, so that a sample is not ranked against its own words.
    """

    vectors: dict[str, NDArray[np.float32]]
    texts: dict[str, list[str]]
    mean: NDArray[np.float32]
    distances: NDArray[np.float32]

    def negatives(self, modality: str, text: str) -> NDArray[np.float32]:
        """Vectors of the other texts of a modality."""
        if modality not in self.vectors:
            return np.empty((0, len(self.mean)), dtype=np.float32)
        own = text_digest(text)
        others = np.array([digest != own for digest in self.texts[modality]], dtype=bool)
        return self.vectors[modality][others]


def text_digest(text: str) -> str:
    """Equal for texts that differ in case and spaces alone."""
    return hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()[:16]


def make_bank(samples: Sequence[Sample], encoder: ImageTextEncoder, per_modality: int, seed: int, path: Path) -> None:
    """Draw up to ``per_modality`` different texts of every modality and store their vectors.

    The draw is by digest, so it does not depend on the order of the samples.
    """
    drawn: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        text = text_of(sample)
        if not text or not sample.media:
            continue
        chosen = drawn[modality_of(sample)]
        chosen[hashlib.sha256(f"{seed}{text_digest(text)}".encode()).hexdigest()] = text
        if len(chosen) > 2 * per_modality:  # memory stays flat: only the least digests can be drawn in the end
            for key in sorted(chosen)[per_modality:]:
                del chosen[key]
    arrays: dict[str, NDArray[np.float32]] = {}
    texts: dict[str, list[str]] = {}
    for modality, chosen in sorted(drawn.items()):
        own = [chosen[key] for key in sorted(chosen)[:per_modality]]
        arrays[modality] = encoder.texts(own)[0]
        texts[modality] = [text_digest(text) for text in own]
    path.mkdir(parents=True, exist_ok=True)
    names = list(arrays)
    temporary = path / ".bank.npz"
    with temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{str(number): arrays[name] for number, name in enumerate(names)})
    temporary.replace(path / "bank.npz")
    described = json.dumps({"modalities": names, "texts": texts})
    temporary = path / ".bank.json"
    temporary.write_text(described, encoding="utf-8")
    temporary.replace(path / "bank.json")


def load_bank(path: Path) -> Bank:
    """Read what ``make_bank`` wrote."""
    described = json.loads(read_named(path / "bank.json"))
    with np.load(path / "bank.npz", allow_pickle=False) as arrays:
        vectors = {name: arrays[str(number)] for number, name in enumerate(described["modalities"])}
    if not vectors:
        empty = np.zeros((0, 1), dtype=np.float32)
        return Bank({}, {}, np.zeros(1, dtype=np.float32), empty[:, 0])
    every = np.concatenate(list(vectors.values()))
    mean = every.mean(axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-12)
    return Bank(vectors, described["texts"], mean, np.sort(1.0 - every @ mean))
