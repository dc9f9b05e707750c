"""the filter ``embedding-duplicates``: samples whose images and text lie close to those of an earlier sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from infimed_core import DataError, DatasetFilter, Executor, FilterResult, MediaLoader, Sample
from infimed_plugins.embedding.bank import text_of
from infimed_plugins.embedding.encoder import ImageTextEncoder, Vectors, content_of, open_encoder

BLOCK = 1024
"""Samples that are compared with all kept ones at once."""


class EmbeddingDuplicates(DatasetFilter):
    """Rejects a sample whose text and whose images are both near those of one kept before it.

    A sample without images is compared by its text alone, with those without images. Exact search: time grows with
    the square of the number of samples, memory with the number.
    """

    packages: ClassVar[Mapping[str, str]] = {"torch": "infimed[train]", "transformers": "infimed[train]"}

    model: str = Field(description="A CLIP or SigLIP checkpoint, or open_clip:NAME.")
    revision: str | None = Field(default=None, description="Revision of a hub checkpoint.")
    trust_remote_code: bool = Field(
        default=False, description="Run the code that the checkpoint brings. It can do anything."
    )
    text_similarity: float = Field(default=0.97, gt=0, le=1, description="Least cosine of near texts.")
    image_similarity: float = Field(default=0.99, gt=0, le=1, description="Least cosine of near images.")
    batch_size: int = Field(default=32, ge=1, description="Images or texts embedded at once.")
    device: str = Field(default="cpu", description="Where the model runs: cpu, cuda, mps.")
    remove: bool = Field(default=True, description="Keep near-duplicates out of training; false only reports them.")
    max_pairs: int = Field(default=200, ge=0, description="Most pairs listed in the record.")

    def identity(self) -> str:
        """Changes with the settings and with what is in the checkpoint."""
        return super().identity() + content_of(self.model)

    def check(
        self,
        samples: Sequence[Sample],
        benchmarks: Mapping[str, Sequence[Sample]],
        media: MediaLoader,
        executor: Executor,
    ) -> FilterResult:
        """Reject what is near an earlier, kept sample; the benchmarks play no part."""
        encoder = open_encoder(self.model, self.revision, self.batch_size, self.device, self.trust_remote_code)
        ids, texts, images, unreadable = self._embed(samples, media, encoder)
        kept: list[int] = []
        pairs: list[tuple[int, int, float]] = []
        for start in range(0, len(ids), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(ids)))
            others = np.array([*kept, *rows], dtype=np.int64)
            near = (texts[rows] @ texts[others].T >= self.text_similarity) & (
                images[rows] @ images[others].T >= self.image_similarity
            )
            alive = set(kept)
            for place, row in enumerate(rows):
                found = next((int(o) for o in others[near[place]] if o < row and int(o) in alive), None)
                if found is None:
                    kept.append(int(row))
                    alive.add(int(row))
                else:
                    pairs.append((int(row), found, float(texts[row] @ texts[found])))
        rejected = {ids[row]: ("near_duplicate_embedding",) for row, _, _ in pairs}
        details: dict[str, JsonValue] = {
            "num_samples": len(samples),
            "num_duplicates": len(pairs),
            "num_unreadable": unreadable,
            "removed": self.remove,
            "pairs": [
                {"id": ids[row], "kept": ids[other], "text_cosine": round(cosine, 4)}
                for row, other, cosine in pairs[: self.max_pairs]
            ],
        }
        return FilterResult(rejected=rejected if self.remove else {}, details=details)

    def _embed(
        self, samples: Sequence[Sample], media: MediaLoader, encoder: ImageTextEncoder
    ) -> tuple[list[str], Vectors, Vectors, int]:
        """Ids, unit vectors of the texts and of the mean of each sample's images (a vector of its own for none)."""
        ids: list[str] = []
        texts: list[Vectors] = []
        pictures: list[Vectors] = []
        unreadable = 0
        for start in range(0, len(samples), BLOCK):
            batch = [samples[row] for row in range(start, min(start + BLOCK, len(samples)))]
            loaded: list[NDArray[np.uint8]] = []
            owners: list[int] = []
            readable: list[Sample] = []
            for sample in batch:
                try:
                    own = [media.load(item) for item in sample.media]
                except DataError:
                    unreadable += 1  # told by the scorer; here it is compared with nothing
                    continue
                owners += [len(readable)] * len(own)
                readable.append(sample)
                loaded += own
            if not readable:
                continue
            ids += [sample.id for sample in readable]
            texts.append(encoder.texts([text_of(sample) or " " for sample in readable])[0])
            vectors = encoder.images(loaded) if loaded else np.zeros((0, texts[-1].shape[1]), dtype=np.float32)
            means = np.zeros((len(readable), texts[-1].shape[1] + 1), dtype=np.float32)
            np.add.at(means[:, :-1], owners, vectors)
            means[np.setdiff1d(np.arange(len(readable)), owners), -1] = 1.0  # no image: a direction of its own
            pictures.append(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12))
        if not ids:
            empty = np.zeros((0, 1), dtype=np.float32)
            return [], empty, empty, unreadable
        return ids, np.concatenate(texts), np.concatenate(pictures), unreadable
