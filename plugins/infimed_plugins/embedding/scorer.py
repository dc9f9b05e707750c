"""The scorer ``embedding``: where a sample's own text ranks for its image among other texts of the same modality."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Component, DataError, MediaLoader, Sample, Score, Scorer
from infimed_plugins.embedding.bank import Bank, load_bank, make_bank, modality_of, text_of
from infimed_plugins.embedding.encoder import ImageTextEncoder, Vectors, content_of, open_encoder

NEGATION = re.compile(r"\b(?:no|not|without|absent|negative for|denies|free of|rule[sd]? out)\b|无|未见", re.IGNORECASE)
LEAST_SPECIFIC = 0.1
"""Texts among this share of the least specific ones lower ``completeness``."""
TIE = 1e-5
"""Similarities nearer than this are equal: a batch of another size moves them by less."""


class EmbeddingScorer(Scorer):
    """Alignment and specificity by an image-text embedding model.

    ``alignment`` is the share of other texts of the same modality that fit the image worse than its own text does (of
    several images the best counts): 1 is best, 0.5 is chance. It is a rank, so that no constant of one model's
    similarities is carried to another. ``completeness`` falls below 1 for texts among the tenth that is nearest to
    the mean of all texts, that is, those that would fit anything. Embedding models hardly see negation; a text with
    one has the raw value ``negation_unchecked``.
    """

    packages: ClassVar[Mapping[str, str]] = dict.fromkeys(("torch", "transformers", "pyarrow"), "infimed[train]")

    dimensions: ClassVar[tuple[str, ...]] = ("alignment", "completeness")

    model: str = Field(
        description="A CLIP or SigLIP checkpoint: hub id or directory; open_clip:NAME@WEIGHTS or open_clip:hf-hub:NAME."
    )
    revision: str | None = Field(default=None, description="Revision of a hub checkpoint.")
    negatives: int = Field(default=256, ge=8, description="Texts of each modality that a text is ranked against.")
    least_negatives: int = Field(default=8, ge=1, description="With fewer, alignment is null.")
    trust_remote_code: bool = Field(
        default=False, description="Run the code that the checkpoint brings. It can do anything."
    )
    batch_size: int = Field(default=32, ge=1, description="Images or texts embedded at once.")
    device: str = Field(default="cpu", description="Where the model runs: cpu, cuda, mps.")
    seed: int = Field(default=0, description="Seed of the draw of the negatives.")
    bank: Path | None = Field(default=None, description="A bank made before; by default one is made from the data.")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A model's directory or a bank that is not there."""
        found = {}
        if self.model.startswith((".", "/", "~")) and not os.path.isdir(self.model):
            found["model"] = f"{self.model}: no such directory; a checkpoint on the hub is named OWNER/NAME"
        if self.bank is not None and not (self.bank / "bank.json").is_file():
            found["bank"] = f"{self.bank}: holds no bank.json; leave 'bank' out, and the run makes one from its data"
        return found

    def identity(self) -> str:
        """As for every component, without what changes no score."""
        return self.model_copy(update={"batch_size": 1, "device": "cpu", "bank": None})._own_identity()

    def _own_identity(self) -> str:
        return super().identity() + content_of(self.model)

    def fitted(self, samples: Sequence[Sample], media: MediaLoader, directory: Path) -> Scorer:
        """With a bank of the data's own texts, made once in ``directory``."""
        if self.bank is not None:
            return self
        path = directory / "bank"
        if not (path / "bank.json").exists():
            make_bank(samples, self._encoder, self.negatives, self.seed, path)
        return self.model_copy(update={"bank": path})

    @cached_property
    def _encoder(self) -> ImageTextEncoder:
        return open_encoder(self.model, self.revision, self.batch_size, self.device, self.trust_remote_code)

    @cached_property
    def _bank(self) -> Bank:
        if self.bank is None or not (self.bank / "bank.json").exists():
            raise DataError(
                "no_bank", f"embedding: no bank of texts at {self.bank}; a run makes one, elsewhere call fitted() first"
            )
        return load_bank(self.bank)

    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        """One score per sample, in order."""
        texts = [text_of(sample) for sample in samples]
        faults: dict[int, DataError] = {}
        images: list[NDArray[np.uint8]] = []
        owners: list[int] = []
        for number, sample in enumerate(samples):
            try:
                own = [media.load(item) for item in sample.media]
            except DataError as error:
                faults[number] = error
                continue
            if texts[number]:
                images += own
                owners += [number] * len(own)
        asked = [number for number, text in enumerate(texts) if text and number not in faults]
        text_vectors: dict[int, Vectors] = {}
        cut: dict[int, bool] = {}
        if asked:
            vectors, longer = self._encoder.texts([texts[number] for number in asked])
            text_vectors = dict(zip(asked, vectors, strict=True))
            cut = dict(zip(asked, longer.tolist(), strict=True))
        image_vectors = self._encoder.images(images) if images else np.zeros((0, 1), dtype=np.float32)
        scores = []
        for number, sample in enumerate(samples):
            if number in faults:
                note = str(faults[number])
                scores.append(self._nothing("error", "media_unreadable", note))
            elif not texts[number]:
                scores.append(self._nothing("unscored", "no_text", ""))
            else:
                own_images = image_vectors[[place for place, owner in enumerate(owners) if owner == number]]
                scores.append(self._score_one(sample, texts[number], text_vectors[number], own_images, cut[number]))
        return scores

    def _score_one(self, sample: Sample, text: str, vector: Vectors, images: Vectors, cut: bool) -> Score:
        parts: dict[str, float | None] = dict.fromkeys(self.dimensions)
        reasons = []
        raw: dict[str, float | None] = {"text_cut": float(cut)}
        if NEGATION.search(text):
            raw["negation_unchecked"] = 1.0
        if len(images):
            negatives = self._bank.negatives(modality_of(sample), text)
            raw["num_negatives"] = float(len(negatives))
            raw["cosine"] = round(float((images @ vector).max()), 4)
            if len(negatives) < self.least_negatives:
                reasons.append("too_few_negatives")
            else:
                parts["alignment"] = rank = round(max(_rank(image, vector, negatives) for image in images), 4)
                if rank < 0.5:
                    reasons.append("text_fits_other_images_better")
        if len(self._bank.distances):
            distance = 1.0 - float(vector @ self._bank.mean)
            place = float(np.searchsorted(self._bank.distances, distance + TIE, side="right")) / len(
                self._bank.distances
            )
            raw["specificity"] = round(distance, 4)
            parts["completeness"] = specific = round(min(1.0, place / LEAST_SPECIFIC), 4)
            if specific < 0.5:
                reasons.append("text_unspecific")
        known = [part for part in parts.values() if part is not None]
        value = float(np.exp(np.mean(np.log(np.maximum(known, 1e-3))))) if known else None
        return Score(
            value=None if value is None else round(min(1.0, value), 6),
            status="ok" if value is not None else "unscored",
            parts=parts,
            reasons=tuple(reasons),
            raw=raw,
        )

    def _nothing(self, status: str, reason: str, note: str) -> Score:
        parts: dict[str, float | None] = dict.fromkeys(self.dimensions)
        return Score.model_validate(
            {"value": None, "status": status, "parts": parts, "reasons": (reason,), "note": note}
        )


def _rank(image: Vectors, text: Vectors, negatives: Vectors) -> float:
    """Share of ``negatives`` [n, d] that fit ``image`` [d] worse than ``text`` [d] does; a tie counts half."""
    own, others = float(image @ text), negatives @ image
    return float(((others < own - TIE).sum() + 0.5 * (np.abs(others - own) <= TIE).sum()) / len(others))
